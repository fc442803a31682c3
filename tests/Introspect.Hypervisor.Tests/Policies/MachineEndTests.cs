using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Policies;
using Introspect.Hypervisor.Tests.Domains;

namespace Introspect.Hypervisor.Tests.Policies;

/// <summary>The shutdown of the hardware domain is the machine's.</summary>
public sealed class MachineEndTests
{
    [Fact]
    public async Task Every_other_domain_is_stopped_in_order_and_the_reason_is_told()
    {
        using var lab = new TestMachine();
        var running = lab.CreateRunning(vcpus: 2);
        var hardware = lab.CreateRunning(roles: DomainRoles.Hardware);
        var paused = lab.Create();
        var gone = lab.CreateRunning();
        gone.Shutdown(ShutdownReason.Crash);

        // As a guest does it, on a vCPU's own thread.
        TestMachine.Runner(hardware).Do(static vcpu => vcpu.Domain.Shutdown(ShutdownReason.Poweroff));
        var end = await lab.Machine.Ended.WaitAsync(TimeSpan.FromSeconds(30));

        Assert.Equal(hardware.Id, end.Domain);
        Assert.Equal(ShutdownReason.Poweroff, end.Reason);
        Assert.Equal(MachineEndKind.Halt, end.Kind);
        Assert.Equal([running.Id, paused.Id], end.Stopped);
        Assert.All(lab.Machine.Domains, static domain => Assert.True(domain.IsShutDown));
        Assert.All(lab.Machine.Domains.SelectMany(static domain => domain.Vcpus), static vcpu => Assert.False(vcpu.IsRunning));
        Assert.Equal(ShutdownReason.Poweroff, running.ShutdownReason);
        Assert.Equal(ShutdownReason.Crash, gone.ShutdownReason);
        Assert.Equal($"hardware domain {hardware.Id} halted: the machine halts; stopped before it: {running.Id}, {paused.Id}", end.ToString());
    }

    [Theory]
    [InlineData(ShutdownReason.Poweroff, MachineEndKind.Halt, "halted: the machine halts")]
    [InlineData(ShutdownReason.Reboot, MachineEndKind.Reboot, "shut down: the machine reboots")]
    [InlineData(ShutdownReason.SoftReset, MachineEndKind.Reboot, "asked for a soft reset")]
    [InlineData(ShutdownReason.Crash, MachineEndKind.RebootAfterFailure, "crashed: the machine reboots")]
    [InlineData(ShutdownReason.Watchdog, MachineEndKind.RebootAfterFailure, "by its watchdog")]
    [InlineData((ShutdownReason)77, MachineEndKind.RebootAfterFailure, "not known (77)")]
    internal async Task The_reason_decides_what_becomes_of_the_machine(ShutdownReason reason, MachineEndKind kind, string told)
    {
        using var lab = new TestMachine();
        lab.CreateRunning(roles: DomainRoles.Hardware).Shutdown(reason);
        var end = await lab.Machine.Ended.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(kind, end.Kind);
        Assert.Contains(told, end.ToString(), StringComparison.Ordinal);
        Assert.EndsWith("no other domain ran", end.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(DomainRoles.None)]
    [InlineData(DomainRoles.Control)]
    internal void The_shutdown_of_another_domain_is_its_own(DomainRoles roles)
    {
        using var lab = new TestMachine();
        var other = lab.CreateRunning();
        lab.CreateRunning(roles: roles).Shutdown(ShutdownReason.Poweroff);
        Assert.False(lab.Machine.IsEnding);
        Assert.False(other.IsShutDown);
        lab.Create();
    }

    [Fact]
    public async Task Nothing_starts_on_a_machine_that_has_ended()
    {
        using var lab = new TestMachine();
        var other = lab.CreateRunning();
        lab.CreateRunning(roles: DomainRoles.Hardware).Shutdown(ShutdownReason.Reboot);
        await lab.Machine.Ended.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal(Errno.ENODEV, Assert.Throws<HypervisorException>(() => lab.Create()).Error);
        Assert.Equal(Errno.ENODEV, Assert.Throws<HypervisorException>(other.Resume).Error);
        Assert.True(other.IsShutDown);

        // It can be looked at, and taken away.
        lab.Machine.DestroyDomain(other);
        Assert.Single(lab.Machine.Domains);
    }

    [Fact]
    public void Who_hears_of_the_hardware_domains_shutdown_finds_that_the_machine_ends()
    {
        using var lab = new TestMachine();
        var found = new List<Errno>();
        var hardware = lab.CreateRunning(roles: DomainRoles.Hardware);
        lab.Machine.DomainEnded += ended =>
        {
            // As one would who builds an ended domain anew.
            if (ended == hardware)
            {
                found.Add(Assert.Throws<HypervisorException>(lab.Machine.CheckRuns).Error);
            }
        };
        hardware.Shutdown(ShutdownReason.Reboot);
        Assert.Equal([Errno.ENODEV], found);
    }

    [Fact]
    public async Task The_destruction_of_the_hardware_domain_ends_nothing()
    {
        using var lab = new TestMachine();
        var other = lab.CreateRunning();
        lab.Machine.DestroyDomain(lab.CreateRunning(roles: DomainRoles.Hardware));
        Assert.False(lab.Machine.IsEnding);
        other.Shutdown(ShutdownReason.Poweroff);
        await Task.Yield();
        Assert.False(lab.Machine.Ended.IsCompleted);
    }

    [Fact]
    public void A_machine_can_be_disposed_of_while_it_ends()
    {
        var lab = new TestMachine();
        for (var i = 0; i < 4; i++)
        {
            lab.CreateRunning(vcpus: 2);
        }

        lab.CreateRunning(roles: DomainRoles.Hardware).Shutdown(ShutdownReason.Crash);
        lab.Dispose();
        Assert.True(lab.Machine.Ended.IsCompletedSuccessfully);
    }
}
