using Introspect.Daemon.Cli;
using Introspect.Daemon.Hypervisors;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tracing;

/// <summary>What is watched when the user names no event.</summary>
internal static class EventPresets
{
    // Where Xen's CPUID leaves begin at their usual place: a guest writes it once, when it boots.
    private const uint HypercallPageMsr = 0x4000_0000;

    /// <summary>
    /// The demo guest: everything that it does, with the page that it touches for the watcher's sake. Any other:
    /// what tells much and slows little, which leaves out vmexits and single steps.
    /// </summary>
    public static EventChoice For(DemoPlan? demo)
    {
        var selection = new EventSelection
        {
            Events =
            [
                .. SelectionParser.UsualControlRegisters.Select(r => new MonitorEvent.ControlRegister(r)),
                .. MsrNames.Usual.Select(m => new MonitorEvent.Msr(m)),
                new MonitorEvent.Cpuid(),
                new MonitorEvent.SoftwareBreakpoint(),
                new MonitorEvent.GuestRequest(),
                new MonitorEvent.DebugException(),
                new MonitorEvent.DescriptorAccess(),
            ],
        };
        if (demo is null)
        {
            return new(selection, Steps: 0, Everything: true);
        }

        const MemAccessFlags Everything = MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute;
        return new(
            selection with
            {
                Events = [.. selection.Events, new MonitorEvent.Msr(HypercallPageMsr), new MonitorEvent.SingleStep(), new MonitorEvent.VmExit(), new MonitorEvent.IoInstruction()],
                Memory = [new(demo.WatchedPage.Gfn, 1, Everything)],
            },
            EventOptions.DefaultSteps,
            Everything: true);
    }
}
