using Introspect.Hypervisor.Core.Cpu.VectorUnit;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>A CPU's extended state as an XSAVE area in the standard form (Intel SDM vol. 1, 13.4), for those who are not the guest.</summary>
internal static unsafe class ExtendedState
{
    /// <summary>XCR0 after reset: x87 alone.</summary>
    public const ulong Initial = X87;

    /// <summary>Bytes of the area: legacy region and header, which have x87 and SSE.</summary>
    public const int AreaBytes = 576;

    private const ulong X87 = 1;
    private const ulong Sse = 2;
    private const int HeaderOffset = 512;

    /// <summary>True for a value that XSETBV would take: x87 always, and of the rest what the CPU has.</summary>
    public static bool IsValid(ulong xcr0, ulong supported) => (xcr0 & X87) != 0 && (xcr0 & ~supported) == 0;

    /// <summary>Writes the area. The components of XCR0 are all in it.</summary>
    public static void Save(ref CpuState state, Span<byte> area)
    {
        // SAFETY: the caller's span is long enough (checked), and the state lives in native memory.
        fixed (CpuState* s = &state)
        fixed (byte* image = area[..AreaBytes])
        {
            FxImage.StoreX87(s, image, wide: true);
            *(uint*)(image + FxImage.MxcsrOffset) = s->Mxcsr;
            *(uint*)(image + FxImage.MxcsrOffset + 4) = FxImage.MxcsrMask;
            FxImage.StoreXmm(s, image, 16);
            *(ulong*)(image + HeaderOffset) = s->Xcr0 & (X87 | Sse);
        }
    }

    /// <summary>Takes an area over; a component that is not in it gets its initial state. False when it cannot be: nothing changed.</summary>
    public static bool TryLoad(ref CpuState state, ReadOnlySpan<byte> area, ulong xcr0, ulong accumulated)
    {
        // SAFETY: as in Save.
        fixed (CpuState* s = &state)
        fixed (byte* image = area[..AreaBytes])
        {
            var present = *(ulong*)(image + HeaderOffset);
            var mxcsr = *(uint*)(image + FxImage.MxcsrOffset);
            if ((present & ~accumulated) != 0 || area[(HeaderOffset + 8)..AreaBytes].ContainsAnyExcept((byte)0) || (mxcsr & ~FxImage.MxcsrMask) != 0)
            {
                return false;
            }

            s->Xcr0 = xcr0;
            if ((present & X87) != 0)
            {
                FxImage.LoadX87(s, image, wide: true);
            }
            else
            {
                X87Status.Initialize(s);
                new Span<ulong>(s->X87, 16).Clear();
            }

            s->Mxcsr = mxcsr;
            if ((present & Sse) != 0)
            {
                FxImage.LoadXmm(s, image, 16);
            }
            else
            {
                new Span<ulong>(s->Ymm, 16 * 4).Clear();
            }

            return true;
        }
    }
}
