using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>A vCPU that is copied into another one, or from it. Both stand still.</summary>
internal sealed partial class VcpuRunner
{
    /// <inheritdoc/>
    public bool TryFindPage(ulong gfn, bool write) => _domain.Pages.Find(gfn, write).IsPresent;

    /// <summary>Takes the state out. What a monitor set up (steps, emulation, writes that wait for it) is the monitor's, and not in it.</summary>
    public void Save(out VcpuSaved saved)
    {
        saved = default;
        CpuRecords.Save(ref _cpu.Registers, _cpu.Rflags, Tsc, out saved.Record);
        CpuRest.Save(ref _cpu.Registers, out saved.Rest);
        saved.Msrs = _msrs;
        saved.Times = _runstate.Save();
        saved.TimeArea = _guest.TimeArea;
        (saved.PauseDistance, saved.Pauses) = _cpu.PauseLoop;
        saved.UpcallVector = UpcallVector;
        saved.HasNmi = Flag(HasNmi);
        saved.IsInitialised = Flag(_vcpu.IsInitialised);
        saved.IsBlocked = Flag((_vcpu.Flags & VcpuPauseFlags.Blocked) != 0);
        saved.TimeIsStale = Flag(_timeIsStale);
        saved.HasYielded = Flag(_yielded);
    }

    /// <summary>Whether a state is one that a vCPU of this domain can have; what it would do with another is nobody's to know.</summary>
    public bool CanLoad(in VcpuSaved saved)
    {
        const uint MxcsrKnown = 0xFFFF;
        const ulong PriorityMask = 15;
        const CpuShadow Shadows = CpuShadow.Sti | CpuShadow.MovSs | CpuShadow.Nmi;
        ref readonly var rest = ref saved.Rest;
        return IsLoadable(in saved.Record)
            && (rest.Mxcsr & ~MxcsrKnown) == 0
            && rest.Cr8 <= PriorityMask
            && (rest.Xcr0 == ExtendedState.Initial || ExtendedState.IsValid(rest.Xcr0, SupportedXcr0))
            && (rest.Shadow & ~Shadows) == 0
            && (!rest.Pending.Valid || Enum.IsDefined(rest.Pending.Type))
            && saved.Msrs.Xss == 0
            && saved.Times.State is >= RunstateKind.Running and <= RunstateKind.Offline;
    }

    /// <summary>Takes a state over. Whether the vCPU is up is not in it: that is told by the hvm context.</summary>
    public void Load(in VcpuSaved saved)
    {
        CpuRecords.Load(ref _cpu.Registers, in saved.Record);
        _cpu.Rflags = (uint)saved.Record.Rflags;
        StateReplaced();

        // Only now, since the step before takes shadows for gone.
        CpuRest.Load(ref _cpu.Registers, in saved.Rest);
        _cpu.StateChanged();
        _msrs = saved.Msrs;
        _runstate.Load(in saved.Times);
        _guest.TimeArea = saved.TimeArea;
        _cpu.PauseLoop = (saved.PauseDistance, saved.Pauses);
        UpcallVector = saved.UpcallVector;
        TakeNmi();
        if (saved.HasNmi != 0)
        {
            RaiseNmi();
        }

        _vcpu.IsInitialised = saved.IsInitialised != 0;
        _timeIsStale = saved.TimeIsStale != 0;
        _yielded = saved.HasYielded != 0;
        if (saved.IsBlocked != 0)
        {
            _vcpu.SetFlag(VcpuPauseFlags.Blocked);
        }
        else
        {
            _vcpu.ClearFlag(VcpuPauseFlags.Blocked);
        }
    }

    private static byte Flag(bool value) => value ? (byte)1 : (byte)0;
}
