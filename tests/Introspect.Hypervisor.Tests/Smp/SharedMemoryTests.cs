using Introspect.Hypervisor.Tests.Building;

namespace Introspect.Hypervisor.Tests.Smp;

/// <summary>
/// vCPUs on threads of their own share memory as processors do: the guest counts, exchanges, rewrites its code and
/// its page tables from all of them at once, and knows what must come of it.
/// </summary>
public sealed class SharedMemoryTests
{
    [TheoryWithTools(CGuestBuilder.Compiler)]
    [InlineData("spinlock", 2, 20_000)]
    [InlineData("spinlock", 4, 2_000)]
    [InlineData("ticket", 2, 5_000)]
    [InlineData("ticket", 4, 300)]
    [InlineData("bits", 4, 5_000)]
    [InlineData("misaligned", 2, 2_000)]
    [InlineData("misaligned", 4, 300)]
    [InlineData("stack", 2, 30_000)]
    [InlineData("stack", 4, 10_000)]
    [InlineData("code", 2, 200)]
    [InlineData("code", 4, 50)]
    [InlineData("shootdown", 2, 200)]
    [InlineData("shootdown", 4, 50)]
    [InlineData("marks", 2, 600)]
    [InlineData("marks", 3, 200)]
    public void The_vcpus_agree_on_what_memory_holds(string act, uint vcpus, long rounds)
    {
        using var guest = SmpGuest.Create(act, vcpus, rounds);
        guest.Start();

        Assert.True(guest.WaitForEnd(), $"it did not end; console:\n{guest.Console()}");
        Assert.Equal($"{act}: ok\n", guest.Console());
        Assert.Equal(DomainState.PowerOff, guest.Domain.GetInfo().State);
        Assert.All(guest.Inside.Vcpus, static vcpu => Assert.Null(vcpu.Failure));
    }
}
