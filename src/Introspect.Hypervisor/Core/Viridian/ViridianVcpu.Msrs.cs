using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>RDMSR and WRMSR of 0x40000000 to 0x400001ff. What is behind an absent feature is #GP(0).</summary>
internal sealed partial class ViridianVcpu
{
    private const ulong SynicVersion = 1;
    private const ulong CrashNotify = 1UL << 63;
    private const ulong ApicFrequency = CpuidPolicy.ApicBusMhz * 1_000_000UL;

    /// <summary>RDMSR; false is #GP(0).</summary>
    public bool TryRead(uint msr, out ulong value)
    {
        value = 0;
        if (!ViridianMsrRange.IsPresent(msr, _domain.Features, _domain.Options))
        {
            return false;
        }

        switch (msr)
        {
            case Msr.HvGuestOsId:
                value = _domain.GuestOsId;
                return true;
            case Msr.HvHypercall:
                value = _domain.HypercallPage;
                return true;
            case Msr.HvVpIndex:
                value = VcpuId;
                return true;
            case Msr.HvTimeRefCount:
                value = _domain.Time.At(_host.Cycles);
                return true;
            case Msr.HvReferenceTsc:
                value = _domain.ReferenceTsc;
                return true;
            case Msr.HvTscFrequency:
                value = _domain.Host.TscFrequency;
                return true;
            case Msr.HvApicFrequency:
                value = ApicFrequency;
                return true;
            case Msr.HvIcr:
                value = _host.Apic?.InterruptCommand ?? 0;
                return _host.Apic is not null;
            case Msr.HvTpr:
                value = _host.Apic?.TaskPriority ?? 0;
                return _host.Apic is not null;
            case Msr.HvVpAssistPage:
                value = _assistPage;
                return true;
            case >= Msr.HvScontrol and <= Msr.HvSint15:
                value = ReadSynic(msr);
                return true;
            case >= Msr.HvStimer0Config and <= Msr.HvStimer3Count:
                value = ReadTimer((int)(msr - Msr.HvStimer0Config) / 2, isCount: IsCount(msr));
                return true;
            case >= Msr.HvCrashP0 and <= Msr.HvCrashP4:
                value = _crash[(int)(msr - Msr.HvCrashP0)];
                return true;
            case Msr.HvCrashCtl:
                value = CrashNotify; // what the guest may ask for
                return true;
            default:
                return false; // EOI, which is only written
        }
    }

    /// <summary>WRMSR; false is #GP(0).</summary>
    public bool TryWrite(uint msr, ulong value)
    {
        if (!ViridianMsrRange.IsPresent(msr, _domain.Features, _domain.Options))
        {
            return false;
        }

        switch (msr)
        {
            case Msr.HvGuestOsId:
                _domain.GuestOsId = value;
                return true;
            case Msr.HvHypercall:
                _domain.HypercallPage = value;
                return true;
            case Msr.HvVpIndex:
                return true; // as on Xen it goes nowhere
            case Msr.HvReferenceTsc:
                _domain.SetReferenceTsc(value);
                return true;
            case Msr.HvEoi or Msr.HvIcr or Msr.HvTpr:
                return TryWriteApic(msr, value);
            case Msr.HvVpAssistPage:
                SetAssistPage(value);
                return true;
            case >= Msr.HvScontrol and <= Msr.HvSint15:
                return TryWriteSynic(msr, value);
            case >= Msr.HvStimer0Config and <= Msr.HvStimer3Count:
                WriteTimer((int)(msr - Msr.HvStimer0Config) / 2, isCount: IsCount(msr), value);
                return true;
            case >= Msr.HvCrashP0 and <= Msr.HvCrashP4:
                _crash[(int)(msr - Msr.HvCrashP0)] = value;
                return true;
            case Msr.HvCrashCtl:
                if ((value & CrashNotify) != 0)
                {
                    _domain.Crashed(_crash);
                }

                return true;
            default:
                return false; // frequencies and the reference counter
        }
    }

    // Configuration and count alternate.
    private static bool IsCount(uint msr) => ((msr - Msr.HvStimer0Config) & 1) != 0;

    private bool TryWriteApic(uint msr, ulong value)
    {
        if (_host.Apic is not { } apic)
        {
            return false;
        }

        switch (msr)
        {
            case Msr.HvEoi:
                apic.EndOfInterrupt();
                break;
            case Msr.HvIcr:
                apic.InterruptCommand = value;
                break;
            default:
                apic.TaskPriority = (uint)value;
                break;
        }

        return true;
    }

    private ulong ReadSynic(uint msr) => msr switch
    {
        Msr.HvScontrol => _control,
        Msr.HvSversion => SynicVersion,
        Msr.HvSiefp => _eventPage,
        Msr.HvSimp => _messagePage,
        >= Msr.HvSint0 => _sints[(int)(msr - Msr.HvSint0)],
        _ => 0, // EOM
    };

    private bool TryWriteSynic(uint msr, ulong value)
    {
        switch (msr)
        {
            case Msr.HvScontrol:
                _control = value;
                return true;
            case Msr.HvSiefp:
                _eventPage = value;
                return true;
            case Msr.HvSimp:
                SetMessagePage(value);
                return true;
            case Msr.HvEom:
                return true; // what waits for a place is tried before the next entry
            case >= Msr.HvSint0:
                return TrySetSint((int)(msr - Msr.HvSint0), value);
            default:
                return false; // SVERSION
        }
    }
}
