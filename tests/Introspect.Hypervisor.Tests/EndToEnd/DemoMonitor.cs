using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Hypervisor.Tests.EndToEnd;

/// <summary>A monitor written against the seam alone: watches all that the demo does, answers everything, keeps the events.</summary>
internal sealed class DemoMonitor(IDomain domain, DemoGuest demo, bool vmexits = false)
{
    private const uint StepTriggerLeaf = 0x80000000;
    private const ulong CpuidLength = 2;

    private readonly List<VmEvent> _events = [];
    private bool _stepping;
    private bool _rearm;

    public bool DenyCr4Clears { get; init; }

    /// <summary>A step that only puts the rights of the watched page back; the recorder marks it with a flag that the core never sets.</summary>
    public static bool IsRearm(in VmEvent e) => (e.Flags & VmEventFlags.Foreign) != 0;

    /// <summary>A vmexit that the monitor causes: a step, or an access to be tried again.</summary>
    public static bool IsMonitorsOwn(in VmEvent e) => e.VmExit.ExitReason is 37;

    public List<VmEvent> Run(LabGuest guest)
    {
        var watched = new GuestPhysical(DemoLayout.WatchedPage).Gfn;
        using var monitor = domain.EnableMonitor();
        monitor.ControlRegisters();
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0));
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3));
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4));
        foreach (var msr in demo.ExpectedEvents().Where(a => a.Reason == VmEventReason.MovToMsr).Select(a => a.Msr).Distinct())
        {
            monitor.Enable(new MonitorEvent.Msr(msr));
        }

        monitor.Enable(new MonitorEvent.Cpuid());
        monitor.Enable(new MonitorEvent.SoftwareBreakpoint());
        monitor.Enable(new MonitorEvent.SingleStep());
        monitor.Enable(new MonitorEvent.GuestRequest());
        monitor.Enable(new MonitorEvent.DescriptorAccess());
        if (vmexits)
        {
            monitor.Enable(new MonitorEvent.VmExit(Sync: false));
        }

        monitor.SetMemoryAccess(watched, 1, MemoryAccess.N);
        guest.Start();
        while (!guest.HasEnded || monitor.UnconsumedRequests > 0)
        {
            monitor.Wait(TimeSpan.FromMilliseconds(50), CancellationToken.None);
            while (monitor.TryTake(out var request))
            {
                var response = Answer(monitor, ref request, watched);
                _events.Add(request);
                monitor.Respond(in response);
                monitor.Notify();
            }
        }

        return _events;
    }

    private VmEvent Answer(IMonitor monitor, ref VmEvent request, Gfn watched)
    {
        var response = request;
        switch (request.Reason)
        {
            case VmEventReason.Cpuid:
                response.Flags |= VmEventFlags.SetRegisters;
                response.Registers.Rip += CpuidLength;
                if (request.Cpuid.Leaf == StepTriggerLeaf)
                {
                    response.Flags |= VmEventFlags.ToggleSinglestep;
                    _stepping = true;
                }

                break;
            case VmEventReason.SoftwareBreakpoint:
                domain.InjectTrap(new VcpuId(request.VcpuId), TrapInjection.Breakpoint((byte)request.Debug.InsnLength));
                break;
            case VmEventReason.DescriptorAccess:
                response.Flags |= VmEventFlags.Emulate;
                break;
            case VmEventReason.MemAccess:
                monitor.SetMemoryAccess(watched, 1, MemoryAccess.Rwx);
                response.Flags |= VmEventFlags.ToggleSinglestep;
                _rearm = true;
                break;
            case VmEventReason.Singlestep when _rearm:
                monitor.SetMemoryAccess(watched, 1, MemoryAccess.N);
                response.Flags |= VmEventFlags.ToggleSinglestep;
                request.Flags |= VmEventFlags.Foreign;
                _rearm = false;
                break;
            case VmEventReason.Singlestep when _stepping && request.Registers.Rip == demo.StepAddresses[^1]:
                response.Flags |= VmEventFlags.ToggleSinglestep;
                _stepping = false;
                break;
            case VmEventReason.WriteCtrlreg when DenyCr4Clears && request.WriteCtrlreg.Index == ControlRegisterIndex.Cr4
                && (request.WriteCtrlreg.OldValue & ~request.WriteCtrlreg.NewValue & (Cr4.SMEP | Cr4.SMAP)) != 0:
                response.Flags |= VmEventFlags.Deny;
                break;
            default:
                break;
        }

        return response;
    }
}
