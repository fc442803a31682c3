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

    [TheoryWithTools(CGuestBuilder.Compiler)]
    [InlineData(1, 200)]
    [InlineData(2, 200)]
    [InlineData(4, 50)]
    public void What_is_written_to_code_from_outside_is_run_by_every_vcpu(uint vcpus, int rounds)
    {
        using var guest = SmpGuest.Create("patched", vcpus, 0);
        guest.Start();
        var memory = guest.Domain.Memory;
        for (var n = 1; n <= rounds; n++)
        {
            // The first write is decoded while the second comes.
            Write(n - 1);
            Write(n);
            for (var vcpu = 0u; vcpu < vcpus; vcpu++)
            {
                Assert.True(SpinWait.SpinUntil(() => Seen(vcpu) == (ulong)n, TimeSpan.FromSeconds(30)), $"vCPU {vcpu} runs {Seen(vcpu)} where {n} was written");
            }
        }

        Write(-1);
        Assert.True(guest.WaitForEnd());

        void Write(int value) => memory.WritePhysical(new(SmpGuest.Code + 1), BitConverter.GetBytes(value));

        ulong Seen(uint vcpu)
        {
            Span<byte> word = stackalloc byte[8];
            memory.ReadPhysical(new(SmpGuest.Counters + (8 * vcpu)), word);
            return BitConverter.ToUInt64(word);
        }
    }
}
