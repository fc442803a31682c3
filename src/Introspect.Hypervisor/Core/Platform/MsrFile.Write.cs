using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>WRMSR.</summary>
internal sealed partial class MsrFile
{
    private const ulong DebugCtlLbr = 1;
    private const ulong DebugCtlBtf = 2;
    private const ulong DebugCtlRtm = 1 << 15;
    private const ulong DebugCtlAmdMask = 0x3F;
    private const ulong SpecCtrlIbrsStibp = 3;
    private const ulong SpecCtrlSsbd = 4;
    private const ulong McControl2Mask = (1UL << 30) | 0x7FFF;
    private const ulong MtrrDefTypeMask = 0xCFF;
    private const ulong TscRatioReserved = 0xFFFF_FF00_0000_0000;
    private const ulong EferKnown = Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE | Efer.SVME | Efer.FFXSE;
    private const ulong HsaveLimit = 0xFD_0000_0000;

    /// <summary>WRMSR.</summary>
    public MsrResult Write(uint msr, ulong value, ref MsrState state, IMsrCpu cpu)
    {
        if (msr == policy.HypercallPageMsr)
        {
            return (value & 0xFFF) == 0 ? MsrResult.WriteHypercallPage : MsrResult.Fault;
        }

        return TryWriteCommon(msr, value, ref state, cpu) is { } common
            ? Result(common)
            : Result(IsIntel ? WriteIntel(msr, value) : WriteAmd(msr, value, ref state));
    }

    private static MsrResult Result(bool ok) => ok ? MsrResult.Ok : MsrResult.Fault;

    /// <summary>Registers of both vendors: true or false for done or #GP, null when the number is none of them.</summary>
    private bool? TryWriteCommon(uint msr, ulong value, ref MsrState state, IMsrCpu cpu)
    {
        switch (msr)
        {
            case Msr.Efer:
                return WriteEfer(value, cpu);
            case Msr.Star:
                return Keep(cpu, CpuMsr.Star, value);
            case Msr.SyscallMask:
                return Keep(cpu, CpuMsr.SyscallMask, value);
            case Msr.SysenterCs:
                return Keep(cpu, CpuMsr.SysenterCs, value);
            case Msr.Lstar:
                return KeepAddress(cpu, CpuMsr.Lstar, value);
            case Msr.Cstar:
                return KeepAddress(cpu, CpuMsr.Cstar, value);
            case Msr.FsBase:
                return KeepAddress(cpu, CpuMsr.FsBase, value);
            case Msr.GsBase:
                return KeepAddress(cpu, CpuMsr.GsBase, value);
            case Msr.KernelGsBase:
                return KeepAddress(cpu, CpuMsr.KernelGsBase, value);
            case Msr.SysenterEsp:
                return KeepAddress(cpu, CpuMsr.SysenterEsp, value);
            case Msr.SysenterEip:
                return KeepAddress(cpu, CpuMsr.SysenterEip, value);
            case Msr.Pat:
                return IsValidPat(value) && Keep(cpu, CpuMsr.Pat, value);
            case Msr.TscAux:
                return HasTscAux && value <= uint.MaxValue && Keep(cpu, CpuMsr.TscAux, value);
            case Msr.Tsc:
                // The adjustment follows, as the manual has it: it is what software added in sum.
                state.TscAdjust += value - cpu.Timestamp;
                cpu.Timestamp = value;
                return true;
            case Msr.TscAdjust:
                cpu.Timestamp += value - state.TscAdjust;
                state.TscAdjust = value;
                return true;
            case Msr.ApicBase:
                return WriteApicBase(value, ref state, cpu);
            case Msr.TscDeadline:
                return policy.Has(CpuFeature.TscDeadline) && cpu.WriteApic(msr, value);
            case >= Msr.X2ApicFirst and <= Msr.X2ApicLast:
                return IsX2Apic(state) && cpu.WriteApic(msr, value);
            case Msr.DebugCtl:
                return WriteDebugCtl(value, ref state);
            case Msr.SpecCtrl:
                return WriteSpecCtrl(value, ref state);
            case Msr.PredCmd:
                return (policy.Has(CpuFeature.IbrsIbpb) || policy.Has(CpuFeature.AmdIbpb)) && value <= 1;
            case Msr.FlushCmd:
                return policy.Has(CpuFeature.L1dFlush) && value <= 1;
            case Msr.MiscFeaturesEnables:
                var highest = OffersCpuidFaulting ? 1UL : 0;
                state.MiscFeaturesEnables = value <= highest ? value : state.MiscFeaturesEnables;
                return value <= highest;
            case Msr.Xss:
                return policy.Has(CpuFeature.Xsaves) && value == 0;
            case Msr.BiosSignId:
                return IsIntel && value == 0;
            case MsrIndex.UcodeWrite:
                return IsIntel;
            case MsrIndex.PatchLoader:
                return !IsIntel;
            case MsrIndex.NbCfg:
                return true;
            case Msr.PlatformInfo or Msr.ArchCapabilities or Msr.MtrrCap:
            case >= Msr.HypervisorFirst and <= Msr.HypervisorLast:
                return false;
            default:
                return TryWriteMtrr(msr, value, ref state) ?? TryWriteMachineCheck(msr, value, ref state);
        }
    }

    private static bool Keep(IMsrCpu cpu, CpuMsr register, ulong value)
    {
        cpu.WriteRegister(register, value);
        return true;
    }

    private static bool KeepAddress(IMsrCpu cpu, CpuMsr register, ulong value) =>
        IsCanonical(value, cpu.FiveLevelPaging) && Keep(cpu, register, value);

    private static bool IsCanonical(ulong address, bool fiveLevel)
    {
        var unused = fiveLevel ? 7 : 16;
        return (ulong)((long)(address << unused) >> unused) == address;
    }

    private bool WriteEfer(ulong value, IMsrCpu cpu)
    {
        var old = cpu.ReadRegister(CpuMsr.Efer);
        value &= ~Efer.LMA;
        if ((value & ~EferKnown) != 0
            || ((value & Efer.SCE) != 0 && !policy.Has(CpuFeature.Syscall))
            || ((value & Efer.LME) != 0 && !policy.Has(CpuFeature.Lm))
            || ((value & Efer.NXE) != 0 && !policy.Has(CpuFeature.Nx))
            || ((value & Efer.SVME) != 0 && !policy.Has(CpuFeature.Svm))
            || ((value & Efer.FFXSE) != 0 && !policy.Has(CpuFeature.Ffxsr))
            || (((value ^ old) & Efer.LME) != 0 && cpu.PagingEnabled))
        {
            return false;
        }

        return Keep(cpu, CpuMsr.Efer, value | (old & Efer.LMA));
    }

    private bool WriteApicBase(ulong value, ref MsrState state, IMsrCpu cpu)
    {
        var addressMask = ((1UL << policy.PhysicalAddressBits) - 1) & ~0xFFFUL;
        var allowed = addressMask | MsrIndex.ApicBaseEnable | MsrIndex.ApicBaseBsp
            | (policy.Has(CpuFeature.X2Apic) ? MsrIndex.ApicBaseX2 : 0);
        var old = state.ApicBase;
        var enabled = (value & MsrIndex.ApicBaseEnable) != 0;
        var x2 = (value & MsrIndex.ApicBaseX2) != 0;
        var changed = old ^ value;
        if (!policy.Has(CpuFeature.Apic) || (value & ~allowed) != 0 || (x2 && !enabled))
        {
            return false;
        }

        // In xAPIC mode the window cannot be moved; disabled goes to x2APIC only over xAPIC, x2APIC back only over disabled.
        if ((enabled && !x2 && (value & addressMask) != MsrIndex.ApicDefaultAddress)
            || ((changed & MsrIndex.ApicBaseEnable) != 0 && x2)
            || ((changed & MsrIndex.ApicBaseEnable) == 0 && (changed & MsrIndex.ApicBaseX2) != 0 && !x2))
        {
            return false;
        }

        state.ApicBase = value;
        cpu.OnApicBaseChanged(old, value);
        return true;
    }

    private bool WriteDebugCtl(ulong value, ref MsrState state)
    {
        if (!IsIntel)
        {
            state.DebugCtl = value & DebugCtlAmdMask;
            return true;
        }

        var allowed = DebugCtlLbr | DebugCtlBtf | (policy.Has(CpuFeature.Rtm) ? DebugCtlRtm : 0);
        if ((value & ~allowed) != 0)
        {
            return false;
        }

        // There are no last branch records: the bit is accepted and stays clear, as on processors without them.
        state.DebugCtl = value & ~DebugCtlLbr;
        return true;
    }

    private bool WriteSpecCtrl(ulong value, ref MsrState state)
    {
        var ssbd = policy.Has(CpuFeature.Ssbd) || policy.Has(CpuFeature.AmdSsbd);
        if (!HasSpecCtrl || (value & ~(SpecCtrlIbrsStibp | (ssbd ? SpecCtrlSsbd : 0))) != 0)
        {
            return false;
        }

        state.SpecCtrl = value;
        return true;
    }

    private static bool IsValidPat(ulong value)
    {
        for (var i = 0; i < 64; i += 8)
        {
            var type = (byte)(value >> i);
            if (type is > 7 or 2 or 3)
            {
                return false;
            }
        }

        return true;
    }

    private static bool IsValidMtrrType(byte type) => type is 0 or 1 or 4 or 5 or 6;

    private bool? TryWriteMtrr(uint msr, ulong value, ref MsrState state)
    {
        if (msr == Msr.MtrrDefType)
        {
            if (!policy.Has(CpuFeature.Mtrr) || !IsValidMtrrType((byte)value) || (value & ~MtrrDefTypeMask) != 0)
            {
                return false;
            }

            state.MtrrDefType = value;
            return true;
        }

        if (msr is >= Msr.MtrrPhysBase0 and <= Msr.MtrrPhysMask7)
        {
            var isMask = (msr & 1) != 0;
            var reserved = ~((1UL << policy.PhysicalAddressBits) - 1) | (isMask ? 0x7FFUL : 0xF00UL);

            // A mask register has no type: its low byte is all reserved, so the type test does not harm it.
            if (!policy.Has(CpuFeature.Mtrr) || !IsValidMtrrType((byte)value) || (value & reserved) != 0)
            {
                return false;
            }

            state.MtrrVariable[(int)(msr - Msr.MtrrPhysBase0)] = value;
            return true;
        }

        if (FixedMtrrIndex(msr) is not { } index)
        {
            return null;
        }

        var valid = policy.Has(CpuFeature.Mtrr);
        for (var i = 0; i < 64; i += 8)
        {
            valid &= IsValidMtrrType((byte)(value >> i));
        }

        if (valid)
        {
            state.MtrrFixed[index] = value;
        }

        return valid;
    }

    private bool? TryWriteMachineCheck(uint msr, ulong value, ref MsrState state)
    {
        switch (msr)
        {
            case Msr.McgCap or Msr.McgCtl:
                return true;
            case Msr.McgStatus:
                state.McgStatus = value;
                return true;
            case >= MsrIndex.Mc0Ctl2 and <= MsrIndex.Mc31Ctl2:
                var bank = (int)(msr - MsrIndex.Mc0Ctl2);
                if (IsIntel && bank < MachineCheckBanks)
                {
                    state.McControl2[bank] = value & McControl2Mask;
                }

                return true;
            case >= Msr.Mc0Ctl and <= MsrIndex.Mc31Misc:
                var implemented = (msr - Msr.Mc0Ctl) / 4 < MachineCheckBanks;
                return !implemented || (msr & 3) == 0 || value == 0;
            default:
                return null;
        }
    }

    private static bool WriteIntel(uint msr, ulong value) => msr switch
    {
        Msr.MiscEnable => value == MiscEnableValue,
        MsrIndex.PerfCtl => true,
        >= Msr.LastBranchFromIp and <= Msr.LastIntToIp => true,
        _ => IsIntelCounter(msr, MsrIndex.PerfEventSelect7),
    };

    private bool WriteAmd(uint msr, ulong value, ref MsrState state)
    {
        switch (msr)
        {
            case Msr.K8Syscfg or MsrIndex.TopMem1 or MsrIndex.TopMem2 or Msr.VmCr or MsrIndex.ExCfg
                or MsrIndex.DeCfg or MsrIndex.BuCfg or MsrIndex.BuCfg2:
            case >= MsrIndex.Mc4Misc1 and <= MsrIndex.Mc4Misc3:
            case var _ when IsAmdCounter(msr):
                return true;
            case Msr.VmHsavePa:
                if ((value & 0xFFF) != 0 || value > HsaveLimit)
                {
                    return false;
                }

                state.VmHsavePa = value;
                return true;
            case MsrIndex.TscRatio:
                if ((value & TscRatioReserved) != 0)
                {
                    return false;
                }

                state.TscRatio = value;
                return true;
            case >= Msr.LastBranchFromIp and <= Msr.LastIntToIp:
                state.LastBranch[(int)(msr - Msr.LastBranchFromIp)] = value;
                return true;
            case Msr.VirtSpecCtrl when policy.Has(CpuFeature.VirtSsbd):
                state.VirtSpecCtrl = value & SpecCtrlSsbd;
                return true;
            case MsrIndex.OsvwIdLength or MsrIndex.OsvwStatus:
                return policy.Has(CpuFeature.Osvw);
            default:
                if (DebugMaskIndex(msr) is not { } mask || !policy.Has(CpuFeature.Dbext) || value > uint.MaxValue)
                {
                    return false;
                }

                state.DebugMasks[mask] = value;
                return true;
        }
    }
}
