using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>Model-specific registers of a vCPU that the interpreter does not hold itself: plain state.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct MsrState
{
    /// <summary>Fixed-range MTRRs: 64K, two 16K, eight 4K.</summary>
    public const int FixedMtrrs = 11;

    /// <summary>Variable-range MTRRs: base and mask each.</summary>
    public const int VariableMtrrs = 8;

    public ulong ApicBase;
    public ulong TscAdjust;
    public ulong DebugCtl;
    public ulong MiscFeaturesEnables;
    public ulong SpecCtrl;
    public ulong VirtSpecCtrl;
    public ulong Xss;
    public ulong MtrrDefType;
    public ulong McgStatus;
    public ulong VmHsavePa;
    public ulong TscRatio;
    public FixedMtrrArray MtrrFixed;
    public VariableMtrrArray MtrrVariable;
    public FourArray DebugMasks;

    /// <summary>SVM's last branch and last interrupt, from and to.</summary>
    public FourArray LastBranch;
    public MachineCheckArray McControl2;

    /// <summary>Set by INTEL_MISC_FEATURES_ENABLES: CPUID above CPL 0 gives #GP(0).</summary>
    public readonly bool CpuidFaulting => (MiscFeaturesEnables & 1) != 0;

    /// <summary>APIC_BASE.EN.</summary>
    public readonly bool ApicEnabled => (ApicBase & MsrIndex.ApicBaseEnable) != 0;

    /// <summary>The state after power-on.</summary>
    public static MsrState AtReset(CpuidPolicy policy, uint vcpuId)
    {
        var state = default(MsrState);
        if (policy.Has(CpuFeature.Apic))
        {
            state.ApicBase = MsrIndex.ApicDefaultAddress | MsrIndex.ApicBaseEnable
                | (vcpuId == 0 ? MsrIndex.ApicBaseBsp : 0);
        }

        state.TscRatio = 1UL << 32;
        return state;
    }

    [InlineArray(FixedMtrrs)]
    public struct FixedMtrrArray
    {
        private ulong _element0;
    }

    [InlineArray(VariableMtrrs * 2)]
    public struct VariableMtrrArray
    {
        private ulong _element0;
    }

    [InlineArray(4)]
    public struct FourArray
    {
        private ulong _element0;
    }

    [InlineArray(2)]
    public struct MachineCheckArray
    {
        private ulong _element0;
    }
}
