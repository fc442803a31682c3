namespace Introspect.Hypervisor.Core.Domains;

/// <summary>A vCPU that waits for something in the middle of an exit.</summary>
internal sealed partial class Vcpu
{
    private bool _isDescheduled;

    /// <summary>
    /// Called by the vCPU's own thread in the middle of an exit that must wait for something (a ring slot): it
    /// counts as stopped until <see cref="Reschedule"/>, so that pausing the domain does not wait for it.
    /// </summary>
    public void Deschedule()
    {
        Volatile.Write(ref _isDescheduled, true);
        LeaveGuest();
    }

    /// <summary>Between <see cref="Deschedule"/> and the end of <see cref="Reschedule"/>.</summary>
    public bool IsDescheduled => Volatile.Read(ref _isDescheduled);

    /// <summary>Ends <see cref="Deschedule"/>: returns when the vCPU may run.</summary>
    /// <returns>False when the domain is being destroyed.</returns>
    public bool Reschedule()
    {
        var runs = EnterGuest();
        Volatile.Write(ref _isDescheduled, false);
        return runs;
    }
}
