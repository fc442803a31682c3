using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Hypervisor.Tests.EndToEnd;

/// <summary>What happens to a guest when its monitor goes without a word.</summary>
public sealed class KillAndRecoverTests
{
    [Fact]
    public void A_monitor_that_vanishes_leaves_its_vcpu_paused_and_recover_lets_it_go_on()
    {
        var demo = DemoGuest.Build(new DemoGuestOptions { Forever = true });
        using var guest = new LabGuest(demo.Image, overSocket: true);
        var counter = demo.Symbols["counter"];
        guest.Start();
        Assert.True(guest.CounterGoesOn(counter));

        // The client's socket is closed under its monitor, as the kernel does for a process that is killed.
        var client = guest.Connect();
        var victim = client.Open(guest.Domain.Id);
        var monitor = victim.EnableMonitor();
        monitor.Enable(new MonitorEvent.Cpuid());
        Assert.True(SpinWait.SpinUntil(() => monitor.UnconsumedRequests > 0, TimeSpan.FromSeconds(30)));
        client.Dispose();
        Assert.True(SpinWait.SpinUntil(() => guest.Inside.Vcpus[0].VmEventPauseCount == 1, TimeSpan.FromSeconds(30)));

        var stuck = guest.ReadCounter(counter);
        Thread.Sleep(50);
        Assert.Equal(stuck, guest.ReadCounter(counter));
        var refused = Assert.Throws<HypervisorException>(guest.Domain.EnableMonitor);
        Assert.Equal(Errno.EBUSY, refused.Error);

        var report = guest.Domain.Recover();

        Assert.True(report.WasEnabled);
        Assert.Equal(1, report.ReleasedVcpus);
        Assert.Equal(1, report.UnansweredRequests);
        Assert.True(guest.CounterGoesOn(counter));
        Assert.Equal(0, guest.Inside.Vcpus[0].VmEventPauseCount);

        // And the domain can be monitored again.
        using (var again = guest.Domain.EnableMonitor())
        {
            again.Enable(new MonitorEvent.Cpuid());
        }

        Assert.True(guest.CounterGoesOn(counter));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Disposing_a_monitor_under_load_leaves_nothing_paused(bool overSocket)
    {
        var demo = DemoGuest.Build(new DemoGuestOptions { Forever = true, WorkPerRound = 1 });
        using var guest = new LabGuest(demo.Image, overSocket: overSocket);
        guest.Start();
        for (var n = 0; n < 5; n++)
        {
            using (var monitor = guest.Domain.EnableMonitor())
            {
                monitor.Enable(new MonitorEvent.Cpuid());
                monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3, Sync: false));
                monitor.Enable(new MonitorEvent.SoftwareBreakpoint());

                // Some requests are taken and never answered: the monitor owes their answers.
                Assert.True(SpinWait.SpinUntil(() => monitor.UnconsumedRequests > 0, TimeSpan.FromSeconds(30)));
                monitor.TryTake(out _);
            }

            Assert.Equal(0, guest.Inside.Vcpus[0].VmEventPauseCount);
            Assert.Equal(0, guest.Domain.GetInfo().PauseCount);
            Assert.True(guest.CounterGoesOn(demo.Symbols["counter"]));
        }
    }
}
