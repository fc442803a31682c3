using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Tests.Domains;

public sealed class VcpuTests : IDisposable
{
    private readonly TestMachine _machine = new();

    [Fact]
    public void A_new_domain_is_paused_until_it_is_unpaused()
    {
        var domain = _machine.Create();
        Assert.Equal(1, domain.ControllerPauseCount);
        Assert.False(domain.Vcpus[0].IsRunnable);
        Assert.Equal(Errno.None, domain.ControllerUnpause());
        TestMachine.Eventually(() => domain.Vcpus[0].IsRunning);
        Assert.Equal(Errno.EINVAL, domain.ControllerUnpause());
    }

    [Fact]
    public void Pauses_nest_and_return_when_nothing_runs()
    {
        var domain = _machine.CreateRunning(vcpus: 2);
        TestMachine.Eventually(() => domain.Vcpus.All(static vcpu => vcpu.IsRunning));
        Assert.Equal(Errno.None, domain.ControllerPause());
        Assert.All(domain.Vcpus, static vcpu => Assert.False(vcpu.IsRunning));
        Assert.Equal(Errno.None, domain.ControllerPause());
        Assert.Equal(Errno.None, domain.ControllerUnpause());
        Assert.All(domain.Vcpus, static vcpu => Assert.False(vcpu.IsRunnable));
        Assert.Equal(Errno.None, domain.ControllerUnpause());
        TestMachine.Eventually(() => domain.Vcpus.All(static vcpu => vcpu.IsRunning));
    }

    [Fact]
    public void More_pauses_than_Xen_counts_overflow()
    {
        var domain = _machine.Create();
        for (var i = 1; i < 255; i++)
        {
            Assert.Equal(Errno.None, domain.ControllerPause());
        }

        Assert.Equal(Errno.EOVERFLOW, domain.ControllerPause());
    }

    [Fact]
    public void A_vcpu_is_paused_apart_from_its_domain()
    {
        var domain = _machine.CreateRunning(vcpus: 2);
        domain.Vcpus[0].Pause();
        Assert.False(domain.Vcpus[0].IsRunning);
        TestMachine.Eventually(() => domain.Vcpus[1].IsRunning);
        domain.Vcpus[0].Unpause();
        TestMachine.Eventually(() => domain.Vcpus[0].IsRunning);
    }

    [Fact]
    public void Unpausing_for_vm_event_without_a_pause_changes_nothing()
    {
        var vcpu = _machine.CreateRunning().Vcpus[0];
        vcpu.Pause();
        vcpu.VmEventUnpause();
        Assert.Equal(1, vcpu.PauseCount);
        vcpu.VmEventPause();
        vcpu.VmEventPause();
        Assert.Equal(2, vcpu.VmEventPauseCount);
        vcpu.VmEventUnpause();
        vcpu.VmEventUnpause();
        vcpu.VmEventUnpause();
        Assert.Equal(0, vcpu.VmEventPauseCount);
        Assert.Equal(1, vcpu.PauseCount);
    }

    [Fact]
    public void A_blocked_vcpu_goes_on_when_it_is_woken()
    {
        var domain = _machine.CreateRunning();
        var vcpu = domain.Vcpus[0];
        TestMachine.Runner(domain).DoAndWait(static self => self.SetFlag(VcpuPauseFlags.Blocked));
        TestMachine.Eventually(() => !vcpu.IsRunning);
        Assert.True(vcpu.ClearFlag(VcpuPauseFlags.Blocked));
        Assert.False(vcpu.ClearFlag(VcpuPauseFlags.Blocked));
        TestMachine.Eventually(() => vcpu.IsRunning);
    }

    [Fact]
    public void Two_vcpus_that_flush_each_other_do_not_wait_for_ever()
    {
        var domain = _machine.CreateRunning(vcpus: 2);
        using var both = new Barrier(2);
        using var done = new CountdownEvent(2);
        for (var vcpu = 0; vcpu < 2; vcpu++)
        {
            TestMachine.Runner(domain, vcpu).Do(_ =>
            {
                both.SignalAndWait(TimeSpan.FromSeconds(30));
                domain.FlushTlbs();
                done.Signal();
            });
        }

        Assert.True(done.Wait(TimeSpan.FromSeconds(30)));
    }

    [Fact]
    public void A_flush_is_seen_before_the_guest_goes_on()
    {
        var domain = _machine.CreateRunning();
        TestMachine.Eventually(() => domain.Vcpus[0].IsRunning);
        var before = TestMachine.Runner(domain).FlushesSeen;
        domain.FlushTlbs();
        TestMachine.Eventually(() => TestMachine.Runner(domain).FlushesSeen > before);
    }

    [Fact]
    public void The_first_reason_of_a_shutdown_stays_until_the_domain_is_resumed()
    {
        var domain = _machine.CreateRunning();
        TestMachine.Runner(domain).DoAndWait(static vcpu => vcpu.Domain.Shutdown(ShutdownReason.Suspend));
        domain.Shutdown(ShutdownReason.Crash);
        Assert.Equal(ShutdownReason.Suspend, domain.ShutdownReason);
        TestMachine.Eventually(() => !domain.Vcpus[0].IsRunning);
        domain.Resume();
        TestMachine.Eventually(() => domain.Vcpus[0].IsRunning);
        Assert.Equal(ShutdownReason.None, domain.ShutdownReason);
    }

    [Fact]
    public void A_fault_of_the_core_crashes_the_domain_and_not_the_process()
    {
        var domain = _machine.CreateRunning();
        TestMachine.Runner(domain).Do(static _ => throw new InvalidOperationException("on purpose"));
        TestMachine.Eventually(() => domain.IsShutDown);
        Assert.Equal(ShutdownReason.Crash, domain.ShutdownReason);
        TestMachine.Eventually(() => domain.Vcpus[0].Failure is not null);
        domain.Pause();
        domain.Unpause();
    }

    [Fact]
    public void Time_runs_while_a_vcpu_runs()
    {
        var domain = _machine.CreateRunning();
        var before = domain.Vcpus[0].NanosecondsRunning;
        TestMachine.Runner(domain).DoAndWait(static _ => { });
        TestMachine.Eventually(() => domain.Vcpus[0].NanosecondsRunning > before);
    }

    [Fact]
    public void A_destroyed_domain_leaves_no_memory_and_no_thread()
    {
        var domain = _machine.CreateRunning(vcpus: 2);
        var platform = FakePlatform.All[domain];
        _machine.Machine.DestroyDomain(domain);
        Assert.True(platform.Stopped);
        Assert.Equal(0, _machine.Machine.Memory.ExtentCount);
        Assert.Null(_machine.Machine.Find(domain.Id.Value));
    }

    public void Dispose() => _machine.Dispose();
}
