using System.Runtime.Intrinsics.X86;
using Introspect.Hypervisor.Core.Cpu.VectorUnit;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>
/// What of x87, MMX and SSE the interpreter implements.
/// <list type="bullet">
/// <item>On every host: FXSAVE, FXRSTOR, XSAVE and XRSTOR (standard form; x87, SSE and AVX state), LDMXCSR and
/// STMXCSR, the x87 control instructions and environments, EMMS, the plain moves of XMM registers, MASKMOVDQU and
/// MASKMOVQ, MOVNTI, CLFLUSH and the fences.</item>
/// <item>On x86-64 hosts that allow executable shared memory, by the host's own instructions: all of x87 with
/// unmasked exceptions, MMX with the integer extensions that came with SSE, SSE, SSE2 and SSE3 with unmasked
/// exceptions, and SSSE3, SSE4.1 and SSE4.2 (CRC32 too) where the host has them. Approximations (RCPPS, RSQRTPS)
/// and transcendental results are the host's, so they can differ between hosts.</item>
/// <item>On other hosts the instructions of the second kind are #UD and their features are not told, and so no
/// long mode, which needs SSE2.</item>
/// <item>Nowhere: AVX and later, AES, PCLMULQDQ, SHA, SSE4A, 3DNow!, XSAVEOPT, XSAVEC, XSAVES.</item>
/// </list>
/// </summary>
internal static class VectorFeatures
{
    /// <summary>Features that CPUID may tell.</summary>
    public static CpuFeatureSet Implemented
    {
        get
        {
            var features = CpuFeatureSet.Of(CpuFeature.Fxsr, CpuFeature.Clflush);
            if (!NativeCode.IsAvailable)
            {
                return features;
            }

            features = features.With(CpuFeature.Fpu, CpuFeature.Mmx, CpuFeature.Sse, CpuFeature.Sse2, CpuFeature.Xsave);
            features = Sse3.IsSupported ? features.With(CpuFeature.Sse3) : features;
            features = Ssse3.IsSupported ? features.With(CpuFeature.Ssse3) : features;
            features = Sse41.IsSupported ? features.With(CpuFeature.Sse41) : features;
            return Sse42.IsSupported ? features.With(CpuFeature.Sse42) : features;
        }
    }
}
