using Introspect.Hypervisor.Core.Platform.Apic;

namespace Introspect.Hypervisor.Tests.Platform.Apic;

public sealed class LocalApicTimerTests
{
    private const uint OneShot = 0x50, Periodic = 0x2_0050, TscDeadline = 0x4_0050, Masked = 0x1_0000;
    private const uint Divide1 = 0xB, Divide2 = 0, Divide16 = 3;

    private static ApicBench Bench(uint entry, uint divide = Divide1)
    {
        var bench = new ApicBench();
        bench.Write(ApicRegister.Divide, divide);
        bench.Write(ApicRegister.LvtTimer, entry);
        return bench;
    }

    [Theory]
    [InlineData(0x0, 2)]
    [InlineData(0x1, 4)]
    [InlineData(0x2, 8)]
    [InlineData(0x3, 16)]
    [InlineData(0x8, 32)]
    [InlineData(0x9, 64)]
    [InlineData(0xA, 128)]
    [InlineData(0xB, 1)]
    public void A_count_is_ten_nanoseconds_times_the_divisor(uint divide, ulong divisor)
    {
        var bench = Bench(OneShot, divide);
        bench.Write(ApicRegister.InitialCount, 1000);
        Assert.Equal(bench.Host.Nanoseconds + (10_000 * divisor), bench.Bus.NextDeadline);
        bench.PassTime((10_000 * divisor) - 1);
        Assert.Null(bench.Take());
        Assert.Equal(1u, bench.Read(ApicRegister.CurrentCount));
        bench.PassTime(1);
        Assert.Equal((byte)0x50, bench.Take());
    }

    [Fact]
    public void One_shot_counts_down_once()
    {
        var bench = Bench(OneShot);
        Assert.Equal(0u, bench.Read(ApicRegister.CurrentCount));
        bench.Write(ApicRegister.InitialCount, 1000);
        Assert.True(bench.Host.DeadlineChanges > 0);
        Assert.Equal(1000u, bench.Read(ApicRegister.CurrentCount));
        bench.PassTime(4000);
        Assert.Equal(600u, bench.Read(ApicRegister.CurrentCount));
        bench.PassTime(6000);
        Assert.Equal(0u, bench.Read(ApicRegister.CurrentCount));
        Assert.Equal(1000u, bench.Read(ApicRegister.InitialCount));
        Assert.Equal((byte)0x50, bench.Take());
        bench.Write(ApicRegister.Eoi, 0);
        bench.PassTime(100_000);
        Assert.Null(bench.Take());
        Assert.Equal(ulong.MaxValue, bench.Bus.NextDeadline);
    }

    [Fact]
    public void Periodic_goes_on_keeps_its_phase_and_does_not_make_up_for_missed_ticks()
    {
        var bench = Bench(Periodic);
        var start = bench.Host.Nanoseconds;
        bench.Write(ApicRegister.InitialCount, 100_000); // 1 ms
        bench.PassTime(1_000_000);
        Assert.Equal((byte)0x50, bench.Take());
        bench.Write(ApicRegister.Eoi, 0);
        Assert.Equal(start + 2_000_000, bench.Bus.NextDeadline);
        bench.PassTime(3_400_000);
        Assert.Equal(start + 5_000_000, bench.Bus.NextDeadline);
        Assert.Equal(60_000u, bench.Read(ApicRegister.CurrentCount));
        Assert.Equal((byte)0x50, bench.Take());
        bench.Write(ApicRegister.Eoi, 0);
        Assert.Null(bench.Take());
    }

    [Fact]
    public void Periodic_ticks_at_most_ten_thousand_times_a_second()
    {
        var bench = Bench(Periodic);
        bench.Write(ApicRegister.InitialCount, 1);
        bench.PassTime(10);
        Assert.Equal(bench.Host.Nanoseconds + 100_000, bench.Bus.NextDeadline);
    }

    [Fact]
    public void An_initial_count_of_zero_stops_it()
    {
        var bench = Bench(Periodic);
        bench.Write(ApicRegister.InitialCount, 100_000);
        bench.Write(ApicRegister.InitialCount, 0);
        Assert.Equal(ulong.MaxValue, bench.Bus.NextDeadline);
        Assert.Equal(0u, bench.Read(ApicRegister.CurrentCount));
    }

    [Theory]
    [InlineData(OneShot | Masked)]
    [InlineData(Periodic | Masked)]
    public void A_masked_timer_counts_and_does_not_interrupt(uint entry)
    {
        var bench = Bench(entry);
        bench.Write(ApicRegister.InitialCount, 100_000);
        bench.PassTime(500_000);
        Assert.Equal(50_000u, bench.Read(ApicRegister.CurrentCount));
        bench.PassTime(500_000);
        Assert.False(bench.Apic.HasRequests);
    }

    [Fact]
    public void A_timer_of_a_disabled_APIC_does_not_interrupt()
    {
        var bench = Bench(Periodic);
        bench.Write(ApicRegister.InitialCount, 100_000);
        bench.Write(ApicRegister.SpuriousVector, 0xFF);
        bench.PassTime(1_000_000);
        Assert.False(bench.Apic.HasRequests);
    }

    [Fact]
    public void An_illegal_vector_is_an_error()
    {
        var bench = Bench(0x05);
        bench.Write(ApicRegister.InitialCount, 1);
        bench.PassTime(10);
        Assert.False(bench.Apic.HasRequests);
        bench.Write(ApicRegister.ErrorStatus, 0);
        Assert.Equal(0x40u, bench.Read(ApicRegister.ErrorStatus));
    }

    [Fact]
    public void Another_divisor_applies_to_the_count_that_is_left()
    {
        var bench = Bench(OneShot, Divide16);
        bench.Write(ApicRegister.InitialCount, 1000); // 160 µs
        bench.PassTime(80_000);
        Assert.Equal(500u, bench.Read(ApicRegister.CurrentCount));
        bench.Write(ApicRegister.Divide, Divide2);
        Assert.Equal(500u, bench.Read(ApicRegister.CurrentCount));
        Assert.Equal(bench.Host.Nanoseconds + 10_000, bench.Bus.NextDeadline);
    }

    [Fact]
    public void One_shot_becomes_periodic_in_the_middle_of_its_count()
    {
        var bench = Bench(OneShot);
        bench.Write(ApicRegister.InitialCount, 100_000);
        bench.PassTime(400_000);
        bench.Write(ApicRegister.LvtTimer, Periodic);
        Assert.Equal(bench.Host.Nanoseconds + 600_000, bench.Bus.NextDeadline);
        bench.PassTime(600_000);
        Assert.Equal(bench.Host.Nanoseconds + 1_000_000, bench.Bus.NextDeadline);
    }

    [Fact]
    public void A_count_that_ended_does_not_come_back_with_another_mode()
    {
        var bench = Bench(OneShot);
        bench.Write(ApicRegister.InitialCount, 1000);
        bench.PassTime(10_000);
        bench.Write(ApicRegister.LvtTimer, Periodic);
        Assert.Equal(ulong.MaxValue, bench.Bus.NextDeadline);
        Assert.Equal(0u, bench.Read(ApicRegister.CurrentCount));
    }

    [Fact]
    public void A_TSC_deadline_interrupts_when_the_TSC_reaches_it()
    {
        var bench = Bench(TscDeadline);
        var deadline = bench.Host.Timestamp + 2000;
        bench.Apic.TscDeadline = deadline;
        Assert.Equal(deadline, bench.Apic.TscDeadline);
        Assert.Equal(bench.Host.Nanoseconds + 1000, bench.Bus.NextDeadline);
        bench.PassTime(999);
        Assert.Null(bench.Take());
        bench.PassTime(1);
        Assert.Equal((byte)0x50, bench.Take());
        Assert.Equal(0UL, bench.Apic.TscDeadline);
        Assert.Equal(ulong.MaxValue, bench.Bus.NextDeadline);
    }

    [Fact]
    public void A_TSC_deadline_in_the_past_interrupts_at_once_and_zero_never()
    {
        var bench = Bench(TscDeadline);
        bench.Apic.TscDeadline = 1;
        Assert.Equal((byte)0x50, bench.Take());
        bench.Write(ApicRegister.Eoi, 0);
        Assert.Equal(0UL, bench.Apic.TscDeadline);

        bench.Apic.TscDeadline = bench.Host.Timestamp + 2000;
        bench.Apic.TscDeadline = 0;
        Assert.Equal(ulong.MaxValue, bench.Bus.NextDeadline);
        Assert.False(bench.Apic.HasRequests);
    }

    [Theory]
    [InlineData(OneShot)]
    [InlineData(0x6_0050u)]
    public void Without_the_mode_there_is_no_TSC_deadline(uint entry)
    {
        var bench = Bench(entry);
        bench.Apic.TscDeadline = bench.Host.Timestamp + 2000;
        Assert.Equal(0UL, bench.Apic.TscDeadline);
        Assert.Equal(ulong.MaxValue, bench.Bus.NextDeadline);
    }

    [Fact]
    public void In_TSC_deadline_mode_there_are_no_counts()
    {
        var bench = Bench(TscDeadline);
        bench.Write(ApicRegister.InitialCount, 1000);
        Assert.Equal(0u, bench.Read(ApicRegister.InitialCount));
        Assert.Equal(0u, bench.Read(ApicRegister.CurrentCount));
        Assert.Equal(ulong.MaxValue, bench.Bus.NextDeadline);
    }

    [Fact]
    public void Changing_between_counting_and_deadline_disarms()
    {
        var bench = Bench(OneShot);
        bench.Write(ApicRegister.InitialCount, 1000);
        bench.Write(ApicRegister.LvtTimer, TscDeadline);
        Assert.Equal(ulong.MaxValue, bench.Bus.NextDeadline);
        bench.Apic.TscDeadline = bench.Host.Timestamp + 2000;
        bench.Write(ApicRegister.LvtTimer, TscDeadline | 1); // another vector leaves it armed
        Assert.NotEqual(ulong.MaxValue, bench.Bus.NextDeadline);
        bench.Write(ApicRegister.LvtTimer, OneShot);
        Assert.Equal(ulong.MaxValue, bench.Bus.NextDeadline);
        bench.Write(ApicRegister.LvtTimer, TscDeadline);
        Assert.Equal(0UL, bench.Apic.TscDeadline);
        Assert.Equal(0u, bench.Read(ApicRegister.InitialCount));
    }
}
