using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Host;

namespace Introspect.Hypervisor.Tests.Recovery;

/// <summary>
/// A monitor's whole life in a process of its own: it attaches, answers a number of events and detaches. At the step
/// that it was told it stands still for ever, for its parent to kill it there.
/// </summary>
internal static class DoomedMonitor
{
    /// <summary>First argument of the process.</summary>
    public const string Verb = "doomed-monitor";

    /// <summary>What it prints when it stands at its step, and when it came to its end without.</summary>
    public const string Standing = "standing at", Finished = "finished";

    private const int Events = 3;

    /// <summary>Arguments: the socket; the watched frame. The step, and with it the word to begin, comes on standard input.</summary>
    public static int Run(string socket, ulong watchedFrame)
    {
        var seam = typeof(CoreMonitor).Assembly.GetName().Name; // loaded before the word comes
        if (Console.In.ReadLine() is not { } line || seam is null)
        {
            return 1;
        }

        var last = int.Parse(line);
        var steps = 0;
        using var hypervisor = new CoreHypervisor(new SteppedToolstack(new HostClient(socket), Step));
        using var domain = hypervisor.Open(DomainRef.Parse("1"));
        using (var monitor = domain.EnableMonitor())
        {
            monitor.Enable(new MonitorEvent.GuestRequest(Sync: true));
            monitor.Enable(new MonitorEvent.Cpuid());
            monitor.SetMemoryAccess(new Gfn(watchedFrame), 1, MemoryAccess.R);
            for (var n = 0; n < Events;)
            {
                monitor.Wait(TimeSpan.FromSeconds(1), CancellationToken.None);
                while (monitor.TryTake(out var request))
                {
                    Step($"took {request.Reason}");
                    Answer(monitor, request);
                    Step("put");
                    monitor.Notify();
                    n++;
                }
            }
        }

        Console.Out.WriteLine(Finished);
        return 0;

        void Step(string what)
        {
            if (++steps == last)
            {
                Console.Out.WriteLine($"{Standing} {steps}: {what}");
                Thread.Sleep(Timeout.Infinite);
            }
        }
    }

    private static void Answer(IMonitor monitor, VmEvent request)
    {
        if (request.Reason == VmEventReason.Cpuid)
        {
            request.Flags |= VmEventFlags.SetRegisters;
            request.Registers.Rip += request.Cpuid.InsnLength;
        }
        else if (request.Reason == VmEventReason.MemAccess)
        {
            request.Flags |= VmEventFlags.Emulate;
        }

        monitor.Respond(in request);
    }
}
