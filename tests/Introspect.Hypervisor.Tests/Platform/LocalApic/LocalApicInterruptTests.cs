using Introspect.Hypervisor.Core.Platform.Apic;
using Introspect.Hypervisor.Tests.House;

namespace Introspect.Hypervisor.Tests.Platform.Apic;

public sealed class LocalApicInterruptTests
{
    [Fact]
    public void An_interrupt_goes_from_request_to_service_to_its_end()
    {
        var bench = new ApicBench();
        Assert.False(bench.Apic.HasRequests);
        bench.Apic.Request(0x61);
        Assert.Equal(1, bench.Host.Wakes);
        Assert.True(bench.Apic.HasRequests);
        Assert.True(bench.IsRequested(0x61));

        Assert.Equal((byte)0x61, bench.Take());
        Assert.False(bench.IsRequested(0x61));
        Assert.True(bench.IsInService(0x61));
        Assert.False(bench.Apic.HasRequests);

        bench.Write(ApicRegister.Eoi, 0);
        Assert.False(bench.IsInService(0x61));
        bench.Write(ApicRegister.Eoi, 0); // one too many does nothing
    }

    [Fact]
    public void A_request_that_is_there_already_wakes_nobody()
    {
        var bench = new ApicBench();
        bench.Apic.Request(0x61);
        bench.Apic.Request(0x61);
        Assert.Equal(1, bench.Host.Wakes);
        Assert.Equal((byte)0x61, bench.Take());
        bench.Apic.Request(0x61); // while it is in service: once more afterwards
        Assert.Equal(2, bench.Host.Wakes);
        Assert.Null(bench.Take());
        bench.Write(ApicRegister.Eoi, 0);
        Assert.Equal((byte)0x61, bench.Take());
    }

    [Fact]
    public void The_highest_comes_first_and_only_a_higher_class_interrupts_a_handler()
    {
        var bench = new ApicBench();
        bench.Apic.Request(0x31);
        bench.Apic.Request(0x52);
        bench.Apic.Request(0x5F);
        Assert.Equal((byte)0x5F, bench.Take());
        Assert.Null(bench.Take()); // 0x52 is of the same class
        bench.Apic.Request(0x60);
        Assert.Equal((byte)0x60, bench.Take());
        Assert.Equal(0x60u, bench.Read(ApicRegister.ProcessorPriority));
        bench.Write(ApicRegister.Eoi, 0);
        Assert.Equal(0x50u, bench.Read(ApicRegister.ProcessorPriority));
        Assert.Null(bench.Take());
        bench.Write(ApicRegister.Eoi, 0);
        Assert.Equal((byte)0x52, bench.Take());
        bench.Write(ApicRegister.Eoi, 0);
        Assert.Equal((byte)0x31, bench.Take());
    }

    [Theory]
    [InlineData(0x4F, true)]
    [InlineData(0x50, false)]
    [InlineData(0x5F, false)]
    [InlineData(0xFF, false)]
    public void The_task_priority_holds_back_its_class_and_those_below(uint priority, bool taken)
    {
        var bench = new ApicBench();
        bench.Write(ApicRegister.TaskPriority, priority);
        bench.Apic.Request(0x5F);
        Assert.Equal(taken, bench.Take() == 0x5F);
        Assert.Equal(!taken, bench.Apic.HasRequests);
    }

    [Theory]
    [InlineData(0x20, 0x00, 0x20)]
    [InlineData(0x2A, 0x00, 0x2A)]
    [InlineData(0x2A, 0x2F, 0x2A)]
    [InlineData(0x2A, 0x35, 0x30)]
    public void The_processor_priority_is_the_higher_of_task_and_service(uint task, byte inService, uint expected)
    {
        var bench = new ApicBench();
        if (inService != 0)
        {
            bench.Apic.Request(inService);
            Assert.Equal(inService, bench.Take());
        }

        bench.Write(ApicRegister.TaskPriority, task);
        Assert.Equal(expected, bench.Read(ApicRegister.ProcessorPriority));
    }

    [Fact]
    public void A_disabled_APIC_keeps_its_requests_and_delivers_none()
    {
        var bench = new ApicBench();
        bench.Apic.Request(0x61);
        bench.Write(ApicRegister.SpuriousVector, 0xFF);
        Assert.Null(bench.Take());
        bench.Write(ApicRegister.SpuriousVector, 0x1FF);
        Assert.Equal((byte)0x61, bench.Take());
    }

    [Fact]
    public void A_request_tells_edge_from_level()
    {
        var bench = new ApicBench();
        bench.Apic.Request(0x61, level: true);
        Assert.Equal(2u, bench.Read(ApicRegister.TriggerMode + 0x30));
        Assert.Equal((byte)0x61, bench.Take());
        bench.Apic.Request(0x61);
        Assert.Equal(0u, bench.Read(ApicRegister.TriggerMode + 0x30));
    }

    [Fact]
    public void No_request_of_many_threads_is_lost()
    {
        const int Threads = 4, Rounds = 2000;
        var bench = new ApicBench();
        var taken = new int[256];
        var open = Threads;
        var threads = Enumerable.Range(0, Threads).Select(n => new Thread(() =>
        {
            // Each has vectors of its own, and asks again only when the last request was taken.
            for (var round = 1; round <= Rounds; round++)
            {
                var vector = (byte)(0x20 + (n * 0x21));
                bench.Apic.Request(vector);
                SpinWait.SpinUntil(() => Volatile.Read(ref taken[vector]) == round);
            }

            Interlocked.Decrement(ref open);
        })).ToArray();
        Array.ForEach(threads, static thread => thread.Start());
        while (Volatile.Read(ref open) != 0)
        {
            if (bench.Apic.HasRequests && bench.Take() is { } vector)
            {
                bench.Write(ApicRegister.Eoi, 0);
                Interlocked.Increment(ref taken[vector]);
            }
        }

        Array.ForEach(threads, static thread => thread.Join());
        Assert.Equal(Threads * Rounds, taken.Sum());
        Assert.False(bench.Apic.HasRequests);
    }

    [Fact]
    public void Neither_an_interrupt_nor_an_access_allocates()
    {
        var bench = new ApicBench(2);
        Assert.Equal(0, Allocation.LeastOf(() =>
        {
            for (var n = 0; n < 100; n++)
            {
                Run();
            }
        }));

        void Run()
        {
            var page = ApicBench.Page;
            var (apic, other) = (bench.Apics[0], bench.Apics[1]);
            apic.WriteMemory(page + ApicRegister.CommandHigh, 4, 2u << 24);
            apic.WriteMemory(page + ApicRegister.CommandLow, 4, 0x41);
            apic.WriteMemory(page + ApicRegister.CommandLow, 4, 0x0008_0142);
            while (other.HasRequests && other.TryFindPending(out var vector))
            {
                other.Acknowledge(vector);
                other.WriteMemory(page + ApicRegister.Eoi, 4, 0);
            }

            apic.WriteMemory(page + ApicRegister.LvtTimer, 4, 0x43);
            apic.WriteMemory(page + ApicRegister.InitialCount, 4, 10);
            bench.Host.Nanoseconds += 1000;
            bench.Bus.Expire(bench.Host.Nanoseconds);
            _ = apic.ReadMemory(page + ApicRegister.CurrentCount, 4);
            while (apic.HasRequests && apic.TryFindPending(out var vector))
            {
                apic.Acknowledge(vector);
                apic.WriteMemory(page + ApicRegister.Eoi, 4, 0);
            }
        }
    }
}
