using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>How RDMSR or WRMSR ended.</summary>
internal enum MsrResult
{
    /// <summary>Done.</summary>
    Ok,

    /// <summary>#GP(0): nothing changed.</summary>
    Fault,

    /// <summary>
    /// Done but for the hypercall page: the caller writes it (<see cref="HypercallPage"/>) at the guest-physical
    /// address that is the value written, and raises #GP(0) where no writable page of the guest is there.
    /// </summary>
    WriteHypercallPage,
}

/// <summary>
/// RDMSR and WRMSR of an HVM guest: which registers there are for the vendor and the CPUID policy, and which
/// values they take. What is not here is #GP(0), as on Xen.
/// </summary>
internal sealed partial class MsrFile(CpuidPolicy policy)
{
    // What the guest reads: branch trace store and PEBS are not there.
    private const ulong MiscEnableValue = (1 << 0) | (1 << 11) | (1 << 12);
    private const ulong CpuidFaultingAvailable = 1UL << 31;
    private const ulong FeatureControlLock = 1;
    private const ulong FeatureControlVmxOutsideSmx = 4;
    private const ulong LfenceSerialising = 2;
    private const ulong McMiscLocked = 1UL << 61;
    private const ulong McgCapIntel = (1 << 24) | (1 << 11) | 2;
    private const ulong McgCapAmd = 2;

    // Eight variable ranges, fixed ranges, write combining.
    private const ulong MtrrCapValue = (1 << 10) | (1 << 8) | MsrState.VariableMtrrs;

    private const ulong MicrocodeRevision = 1UL << 32;

    /// <summary>CPUID can be made to fault in user space (PLATFORM_INFO and MISC_FEATURES_ENABLES tell of it and do it).</summary>
    public bool OffersCpuidFaulting { get; init; } = true;

    private bool IsIntel => policy.Vendor == CpuVendor.Vmx;

    /// <summary>RDMSR.</summary>
    public MsrResult Read(uint msr, in MsrState state, IMsrCpu cpu, out ulong value)
    {
        if (TryReadCommon(msr, state, cpu, out value, out var result))
        {
            return result;
        }

        return IsIntel ? ReadIntel(msr, out value) : ReadAmd(msr, state, out value);
    }

    /// <summary>Registers of both vendors; false when the number is none of them.</summary>
    private bool TryReadCommon(uint msr, in MsrState state, IMsrCpu cpu, out ulong value, out MsrResult result)
    {
        value = 0;
        bool present;
        switch (msr)
        {
            case Msr.Efer:
                (present, value) = (true, cpu.ReadRegister(CpuMsr.Efer));
                break;
            case Msr.Star:
                (present, value) = (true, cpu.ReadRegister(CpuMsr.Star));
                break;
            case Msr.Lstar:
                (present, value) = (true, cpu.ReadRegister(CpuMsr.Lstar));
                break;
            case Msr.Cstar:
                (present, value) = (true, cpu.ReadRegister(CpuMsr.Cstar));
                break;
            case Msr.SyscallMask:
                (present, value) = (true, cpu.ReadRegister(CpuMsr.SyscallMask));
                break;
            case Msr.FsBase:
                (present, value) = (true, cpu.ReadRegister(CpuMsr.FsBase));
                break;
            case Msr.GsBase:
                (present, value) = (true, cpu.ReadRegister(CpuMsr.GsBase));
                break;
            case Msr.KernelGsBase:
                (present, value) = (true, cpu.ReadRegister(CpuMsr.KernelGsBase));
                break;
            case Msr.SysenterCs:
                (present, value) = (true, cpu.ReadRegister(CpuMsr.SysenterCs));
                break;
            case Msr.SysenterEsp:
                (present, value) = (true, cpu.ReadRegister(CpuMsr.SysenterEsp));
                break;
            case Msr.SysenterEip:
                (present, value) = (true, cpu.ReadRegister(CpuMsr.SysenterEip));
                break;
            case Msr.Pat:
                (present, value) = (true, cpu.ReadRegister(CpuMsr.Pat));
                break;
            case Msr.TscAux:
                (present, value) = (HasTscAux, cpu.ReadRegister(CpuMsr.TscAux));
                break;
            case Msr.Tsc:
                (present, value) = (true, cpu.Timestamp);
                break;
            case Msr.TscAdjust:
                (present, value) = (true, state.TscAdjust);
                break;
            case Msr.ApicBase:
                (present, value) = (policy.Has(CpuFeature.Apic), state.ApicBase);
                break;
            case Msr.TscDeadline:
                present = policy.Has(CpuFeature.TscDeadline) && cpu.ReadApic(msr, out value);
                break;
            case >= Msr.X2ApicFirst and <= Msr.X2ApicLast:
                present = IsX2Apic(state) && cpu.ReadApic(msr, out value);
                break;
            case Msr.DebugCtl:
                (present, value) = (true, state.DebugCtl);
                break;
            case Msr.SpecCtrl:
                (present, value) = (HasSpecCtrl, state.SpecCtrl);
                break;
            case Msr.PlatformInfo:
                (present, value) = (true, OffersCpuidFaulting ? CpuidFaultingAvailable : 0);
                break;
            case Msr.MiscFeaturesEnables:
                (present, value) = (true, state.MiscFeaturesEnables);
                break;
            case Msr.ArchCapabilities:
                present = policy.Has(CpuFeature.ArchCapabilities);
                break;
            case Msr.Xss:
                (present, value) = (policy.Has(CpuFeature.Xsaves), state.Xss);
                break;
            case Msr.BiosSignId:
                (present, value) = (true, MicrocodeRevision);
                break;
            case >= Msr.HypervisorFirst and <= Msr.HypervisorLast:
                present = msr == policy.HypercallPageMsr;
                break;
            case MsrIndex.EnableC1E or MsrIndex.NbCfg:
                present = true;
                break;
            default:
                if (TryReadMtrr(msr, state, out value, out present) || TryReadMachineCheck(msr, state, out value, out present))
                {
                    break;
                }

                result = default;
                return false;
        }

        result = present ? MsrResult.Ok : MsrResult.Fault;
        value = present ? value : 0;
        return true;
    }

    private bool TryReadMtrr(uint msr, in MsrState state, out ulong value, out bool present)
    {
        present = policy.Has(CpuFeature.Mtrr);
        switch (msr)
        {
            case Msr.MtrrCap:
                value = MtrrCapValue;
                return true;
            case Msr.MtrrDefType:
                value = state.MtrrDefType;
                return true;
            case >= Msr.MtrrPhysBase0 and <= Msr.MtrrPhysMask7:
                value = state.MtrrVariable[(int)(msr - Msr.MtrrPhysBase0)];
                return true;
            default:
                value = 0;
                if (FixedMtrrIndex(msr) is { } index)
                {
                    value = state.MtrrFixed[index];
                    return true;
                }

                return false;
        }
    }

    /// <summary>Machine-check banks: two, always in order; higher ones read as zero and ignore writes.</summary>
    private bool TryReadMachineCheck(uint msr, in MsrState state, out ulong value, out bool present)
    {
        (value, present) = (0, true);
        switch (msr)
        {
            case MsrIndex.P5McAddr or MsrIndex.P5McType or Msr.McgCtl:
                return true;
            case Msr.McgCap:
                value = IsIntel ? McgCapIntel : McgCapAmd;
                return true;
            case Msr.McgStatus:
                value = state.McgStatus;
                return true;
            case >= MsrIndex.Mc0Ctl2 and <= MsrIndex.Mc31Ctl2:
                var bank = (int)(msr - MsrIndex.Mc0Ctl2);
                value = IsIntel && bank < MachineCheckBanks ? state.McControl2[bank] : 0;
                return true;
            case >= Msr.Mc0Ctl and <= MsrIndex.Mc31Misc:
                var isControl = (msr & 3) == 0 && (msr - Msr.Mc0Ctl) / 4 < MachineCheckBanks;
                value = isControl ? ~0UL : 0;
                return true;
            default:
                return false;
        }
    }

    private MsrResult ReadIntel(uint msr, out ulong value)
    {
        value = 0;
        switch (msr)
        {
            case Msr.FeatureControl:
                value = FeatureControlLock | (policy.Has(CpuFeature.Vmx) ? FeatureControlVmxOutsideSmx : 0);
                return MsrResult.Ok;
            case Msr.MiscEnable:
                value = MiscEnableValue;
                return MsrResult.Ok;
            case Msr.PlatformId or MsrIndex.PerfStatus or MsrIndex.PerfCtl or MsrIndex.ThermStatus:
            case >= Msr.LastBranchFromIp and <= Msr.LastIntToIp:
                return MsrResult.Ok;
            default:
                return IsIntelCounter(msr, MsrIndex.PerfEventSelect3) ? MsrResult.Ok : MsrResult.Fault;
        }
    }

    private MsrResult ReadAmd(uint msr, in MsrState state, out ulong value)
    {
        value = 0;
        switch (msr)
        {
            case Msr.K8Hwcr or Msr.K8Syscfg or MsrIndex.TopMem1 or MsrIndex.TopMem2 or Msr.VmCr
                or MsrIndex.ExCfg or MsrIndex.BuCfg or MsrIndex.BuCfg2 or MsrIndex.EbcFrequencyId:
            case var _ when IsAmdCounter(msr):
                return MsrResult.Ok;
            case MsrIndex.DeCfg:
                value = LfenceSerialising;
                return MsrResult.Ok;
            case Msr.VmHsavePa:
                value = state.VmHsavePa;
                return MsrResult.Ok;
            case MsrIndex.TscRatio:
                value = state.TscRatio;
                return MsrResult.Ok;
            case >= MsrIndex.Mc4Misc1 and <= MsrIndex.Mc4Misc3:
                value = McMiscLocked;
                return MsrResult.Ok;
            case >= Msr.LastBranchFromIp and <= Msr.LastIntToIp:
                value = state.LastBranch[(int)(msr - Msr.LastBranchFromIp)];
                return MsrResult.Ok;
            case Msr.VirtSpecCtrl when policy.Has(CpuFeature.VirtSsbd):
                value = state.VirtSpecCtrl;
                return MsrResult.Ok;
            case MsrIndex.OsvwIdLength or MsrIndex.OsvwStatus when policy.Has(CpuFeature.Osvw):
                return MsrResult.Ok;
            default:
                if (DebugMaskIndex(msr) is { } mask && policy.Has(CpuFeature.Dbext))
                {
                    value = state.DebugMasks[mask];
                    return MsrResult.Ok;
                }

                return MsrResult.Fault;
        }
    }

    private const int MachineCheckBanks = 2;

    private bool HasTscAux => policy.Has(CpuFeature.Rdtscp) || policy.Has(CpuFeature.Rdpid);

    private bool HasSpecCtrl => policy.Has(CpuFeature.IbrsIbpb) || policy.Has(CpuFeature.AmdIbrs);

    private static bool IsX2Apic(in MsrState state)
    {
        const ulong Both = MsrIndex.ApicBaseEnable | MsrIndex.ApicBaseX2;
        return (state.ApicBase & Both) == Both;
    }

    private static int? FixedMtrrIndex(uint msr) => msr switch
    {
        Msr.MtrrFix64K00000 => 0,
        Msr.MtrrFix16K80000 or Msr.MtrrFix16KA0000 => (int)(msr - Msr.MtrrFix16K80000) + 1,
        >= Msr.MtrrFix4KC0000 and <= Msr.MtrrFix4KF8000 => (int)(msr - Msr.MtrrFix4KC0000) + 3,
        _ => null,
    };

    private static int? DebugMaskIndex(uint msr) => msr switch
    {
        Msr.Amd64DrAddressMask0 => 0,
        >= MsrIndex.Dr1Mask and <= MsrIndex.Dr3Mask => (int)(msr - MsrIndex.Dr1Mask) + 1,
        _ => null,
    };

    /// <summary>Performance counters, of which there are none: they read as zero and ignore writes.</summary>
    private static bool IsIntelCounter(uint msr, uint lastEventSelect) => msr switch
    {
        >= MsrIndex.PerfCounter0 and <= MsrIndex.PerfCounter7 => true,
        >= MsrIndex.PerfEventSelect0 => msr <= lastEventSelect
            || msr is >= MsrIndex.FixedCounter0 and <= MsrIndex.FixedCounter2
                or >= MsrIndex.FixedCounterCtrl and <= MsrIndex.PerfGlobalOverflowCtrl
                or MsrIndex.PebsEnable or Msr.DsArea,
        _ => false,
    };

    private static bool IsAmdCounter(uint msr) => msr is >= MsrIndex.K7EventSelect0 and <= MsrIndex.K7Counter3
        or >= MsrIndex.Fam15EventSelect0 and <= MsrIndex.Fam15Counter5;
}
