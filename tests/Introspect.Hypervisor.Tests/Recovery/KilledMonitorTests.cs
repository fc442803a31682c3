using System.Diagnostics;
using Introspect.Hypervisor.Tests.Building;
using Introspect.Hypervisor.Tests.EndToEnd;
using Introspect.Hypervisor.Tests.Smp;

namespace Introspect.Hypervisor.Tests.Recovery;

/// <summary>A monitor's process is killed at each step of its life in turn; the guest with three vCPUs goes on after every one.</summary>
public sealed class KilledMonitorTests
{
    private const uint Vcpus = 3;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    [FactWithTool(CGuestBuilder.Compiler)]
    public void Recover_gets_every_vcpu_going_wherever_its_monitor_was_killed()
    {
        using var guest = SmpGuest.Create("counters", Vcpus, rounds: 0, overSocket: true);
        guest.Start();
        Assert.Null(StandsStill(guest));
        var held = 0;
        var places = new List<string>();
        var child = new Child(guest);
        for (var step = 1; ; step++)
        {
            // The next one starts up while this one is looked at.
            var after = new Child(guest);
            var said = child.RunTo(step);
            if (said == DoomedMonitor.Finished)
            {
                after.Dispose();
                break;
            }

            places.Add(said);
            var report = guest.Domain.Recover();
            held += report.ReleasedVcpus;
            Assert.InRange(report.ReleasedVcpus, 0, (int)Vcpus);
            Assert.InRange(report.UnansweredRequests, report.ReleasedVcpus, 2 * report.ReleasedVcpus);
            Assert.True(StandsStill(guest) is not { } still, $"vCPU {StandsStill(guest)} stands still after {said}; {report}");
            Assert.All(guest.Inside.Vcpus, v => Assert.True(v is { VmEventPauseCount: 0, PauseCount: 0 }, $"vCPU {v.Id} is paused after {said}"));
            Assert.Equal(0, guest.Inside.PauseCount);
            Assert.Null(guest.Inside.MonitorRing);

            // And it can be monitored as if nothing had been.
            using (var monitor = guest.Domain.EnableMonitor())
            {
                monitor.Enable(new MonitorEvent.GuestRequest(Sync: false));
                Assert.True(SpinWait.SpinUntil(() => monitor.UnconsumedRequests > 0, Patience), $"no events after {said}");
            }

            child = after;
        }

        // Attach, run and detach were all there, and in some of them a vCPU was held.
        Assert.True(places.Count >= 30, string.Join('\n', places));
        Assert.Contains(places, static p => p.Contains("took", StringComparison.Ordinal));
        Assert.Contains(places, static p => p.Contains("bind", StringComparison.Ordinal));
        Assert.True(held > 0);
        Assert.Null(StandsStill(guest));
    }

    /// <summary>The first vCPU whose counter does not go on, or null.</summary>
    private static uint? StandsStill(LabGuest guest)
    {
        for (var vcpu = 0u; vcpu < Vcpus; vcpu++)
        {
            if (!guest.CounterGoesOn(SmpGuest.Counters + (vcpu * 8)))
            {
                return vcpu;
            }
        }

        return null;
    }

    private sealed class Child : IDisposable
    {
        private readonly Process _process;

        public Child(LabGuest guest)
        {
            var start = new ProcessStartInfo("dotnet",
                [typeof(Child).Assembly.Location, DoomedMonitor.Verb, guest.Socket, $"{SmpGuest.Counters >> 12}"])
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
            };
            _process = Process.Start(start)!;
        }

        /// <summary>Lets it go to a step, and kills it there (SIGKILL).</summary>
        public string RunTo(int step)
        {
            _process.StandardInput.WriteLine(step);
            var line = _process.StandardOutput.ReadLine();
            Assert.True(line is not null, $"the monitor died by itself on its way to step {step}");
            Dispose();
            return line;
        }

        public void Dispose()
        {
            _process.Kill();
            _process.WaitForExit();
            _process.Dispose();
        }
    }
}
