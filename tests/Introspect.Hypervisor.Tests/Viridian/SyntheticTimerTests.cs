using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Tests.Viridian;

/// <summary>The synthetic interrupt controller and its timers.</summary>
public sealed class SyntheticTimerTests
{
    private const ulong Enable = 1, Periodic = 2, Lazy = 4, AutoEnable = 8, Sint2 = 2 << 16;
    private const ulong MessagePage = 0x4000, Slot2 = MessagePage + (2 * 256);
    private const byte Vector = 0x51;
    private const uint TimerExpired = 0x8000_0010;

    [Fact]
    public void B3_a_one_shot_timer_sends_its_message_and_interrupt_once_and_is_disabled()
    {
        var host = WithSynic();
        Set(host, 1, Enable | Sint2, count: 1_000);
        host.Pass(99_000);
        Assert.False(host.First.HasPendingTimers);
        host.Pass(1_002);
        Assert.True(host.First.HasPendingTimers);
        Assert.Contains("wake", host.Log);
        host.First.DeliverTimers();

        Assert.Equal(TimerExpired, host.Load<uint>(Slot2));
        Assert.Equal(24, host.Load<byte>(Slot2 + 4));
        Assert.Equal(1u, host.Load<uint>(Slot2 + 16));
        Assert.Equal(1_000UL, host.Load<ulong>(Slot2 + 24));
        Assert.Equal(1_000UL, host.Load<ulong>(Slot2 + 32));
        Assert.Equal(Vector, host.Vcpus[0].TakeInterrupt());
        Assert.Equal(Sint2, host.Read(Msr.HvStimer0Config + 2));
        Assert.Equal(ulong.MaxValue, host.First.NextDeadline);
    }

    [Fact]
    public void B3_a_one_shot_timer_whose_time_is_past_goes_off_at_once()
    {
        var host = WithSynic();
        host.Cycles += 1_000_000;
        Set(host, 0, Enable | Sint2, count: 1);
        Assert.Equal(Sint2, host.Read(Msr.HvStimer0Config)); // it went off, wherever its message is
        host.First.DeliverTimers();

        Assert.Equal((1UL, 10_000UL), (host.Load<ulong>(Slot2 + 24), host.Load<ulong>(Slot2 + 32)));
    }

    [Fact]
    public void B3_the_guest_never_finds_the_reference_time_short_of_a_timer_that_went_off()
    {
        for (var offset = 0UL; offset < 250; offset += 7)
        {
            var host = new FakeViridianHost(ViridianFeatureSet.All, frequency: 2_394_230_000) { Cycles = offset };
            host.Run(held: false);
            var due = host.Time + 12_345;
            Set(host, 0, Enable | Sint2, due);
            while (!host.First.HasPendingTimers)
            {
                host.Pass(1);
                if (host.Time < due - 1)
                {
                    host.Cycles += (due - 1 - host.Time) * 230; // most of the way
                }
            }

            Assert.InRange(host.Time, due, due + 1);
        }
    }

    [Fact]
    public void B3_a_periodic_timer_goes_off_again_and_again()
    {
        var host = WithSynic();
        Set(host, 0, Enable | Periodic | Sint2, count: 10);
        for (var n = 1UL; n <= 5; n++)
        {
            Skip(host);
            host.First.DeliverTimers();
            Assert.Equal(n * 10, host.Load<ulong>(Slot2 + 24));
            Assert.Equal(Vector, host.Vcpus[0].TakeInterrupt());
            host.Write(Msr.HvEoi, 0);
            TakeMessage(host);
        }

        Assert.Equal(Enable | Periodic | Sint2, host.Read(Msr.HvStimer0Config));
    }

    [Theory]
    [InlineData(Periodic, 15_000u, 200u)] // late, and the next is on time
    [InlineData(Periodic, 35_000u, 400u)] // two were missed: the next comes after half a period
    [InlineData(Periodic | Lazy, 35_000u, 450u)]
    [InlineData(Periodic, 95_000u, 1_050u)] // too many: as if it were lazy
    public void B3_ticks_that_were_missed_are_made_up_for_unless_the_timer_is_lazy(ulong mode, uint late, uint next)
    {
        var host = WithSynic();
        Set(host, 0, Enable | mode | Sint2, count: 100);
        host.Pass(late);
        host.First.DeliverTimers();
        TakeMessage(host);
        Skip(host);
        host.First.DeliverTimers();

        Assert.Equal(next, host.Load<ulong>(Slot2 + 24));
    }

    [Fact]
    public void B3_a_message_waits_for_its_place_and_nothing_is_lost()
    {
        var host = WithSynic();
        Set(host, 0, Enable | Sint2, count: 10);
        Set(host, 3, Enable | Sint2, count: 20);
        host.Pass(5_000);
        host.First.DeliverTimers();
        Assert.True(host.First.HasPendingTimers);
        Assert.Equal(0u, host.Load<uint>(Slot2 + 16));
        host.First.DeliverTimers();
        Assert.Equal(0u, host.Load<uint>(Slot2 + 16));
        TakeMessage(host);
        host.Write(Msr.HvEom, 0);
        host.First.DeliverTimers();

        Assert.Equal(3u, host.Load<uint>(Slot2 + 16));
        Assert.False(host.First.HasPendingTimers);
    }

    [Fact]
    public void B3_without_a_message_page_the_message_waits_and_the_guest_lives()
    {
        var host = WithSynic();
        host.Write(Msr.HvSimp, 0);
        Set(host, 0, Enable | Sint2, count: 1);
        host.Pass(1_000);
        host.First.DeliverTimers();
        Assert.True(host.First.HasPendingTimers);
        host.Write(Msr.HvSimp, 0xFFFF_F001);
        host.First.DeliverTimers();
        Assert.True(host.First.HasPendingTimers);
        host.Write(Msr.HvSimp, MessagePage | 1);
        host.First.DeliverTimers();

        Assert.False(host.First.HasPendingTimers);
        Assert.Equal(TimerExpired, host.Load<uint>(Slot2));
    }

    [Fact]
    public void B3_a_masked_interrupt_leaves_the_message_alone()
    {
        var host = WithSynic();
        host.Write(Msr.HvSint0 + 2, (1 << 16) | Vector);
        Set(host, 0, Enable | Sint2, count: 1);
        host.Pass(1_000);
        host.First.DeliverTimers();

        Assert.Equal(TimerExpired, host.Load<uint>(Slot2));
        Assert.Null(host.Vcpus[0].TakeInterrupt());
    }

    [Theory]
    [InlineData(Enable, 10u)] // SINT 0
    [InlineData(Enable | Sint2, 0u)] // no count
    public void B3_a_timer_without_an_interrupt_or_a_count_cannot_be_enabled(ulong config, uint count)
    {
        var host = WithSynic();
        Set(host, 0, config, count);

        Assert.Equal(config & ~Enable, host.Read(Msr.HvStimer0Config));
        Assert.Equal(ulong.MaxValue, host.First.NextDeadline);
    }

    [Fact]
    public void B3_a_count_enables_a_timer_that_is_to_enable_itself_and_a_count_of_zero_stops_it()
    {
        var host = WithSynic();
        host.Write(Msr.HvStimer0Config, AutoEnable | Sint2);
        Assert.Equal(ulong.MaxValue, host.First.NextDeadline);
        host.Write(Msr.HvStimer0Count, 500);
        Assert.Equal(AutoEnable | Sint2 | Enable, host.Read(Msr.HvStimer0Config));
        Assert.Equal(500UL, host.Read(Msr.HvStimer0Count));
        Assert.NotEqual(ulong.MaxValue, host.First.NextDeadline);
        host.Write(Msr.HvStimer0Count, 0);

        Assert.Equal(AutoEnable | Sint2, host.Read(Msr.HvStimer0Config));
        Assert.Equal(ulong.MaxValue, host.First.NextDeadline);
    }

    [Fact]
    public void B3_a_timer_that_is_disabled_before_its_message_is_delivered_sends_none()
    {
        var host = WithSynic();
        Set(host, 0, Enable | Sint2, count: 1);
        host.Pass(1_000);
        host.Write(Msr.HvStimer0Config, Sint2);
        host.First.DeliverTimers();

        Assert.Equal(0u, host.Load<uint>(Slot2));
        Assert.False(host.First.HasPendingTimers);
    }

    [Fact]
    public void B5_timers_stand_still_while_the_domain_is_paused_and_lose_no_tick()
    {
        var host = WithSynic();
        Set(host, 0, Enable | Periodic | Sint2, count: 100);
        host.Pass(4_000);
        for (var pauses = 0; pauses < 3; pauses++)
        {
            host.Run(held: true);
            Assert.Equal(ulong.MaxValue, host.First.NextDeadline);
            host.Pass(1_000_000);
            Assert.False(host.First.HasPendingTimers);
            host.Run(held: false);
        }

        Assert.Equal(host.Cycles + 6_000 + 2, host.First.NextDeadline);
        host.Pass(6_002);
        Assert.True(host.First.HasPendingTimers);
    }

    [Fact]
    public void B5_a_copy_of_a_domain_whose_time_is_instructions_keeps_its_deadlines_to_the_instruction()
    {
        var host = new FakeViridianHost(ViridianFeatureSet.All, frequency: 2_394_230_000, followsInstructions: true);
        host.Run(held: false);
        Set(host, 0, Enable | Sint2, count: 1_000);
        host.Cycles += 12_345;
        host.Run(held: true);
        var (domain, vcpu) = (new byte[32], new byte[216]);
        host.Domain.Save(domain);
        host.First.Save(vcpu);
        host.First.SaveRest(out var rest);

        var copy = new FakeViridianHost(ViridianFeatureSet.All, frequency: 2_394_230_000, followsInstructions: true) { Cycles = host.Cycles, IsHeld = true };
        Assert.Equal((Errno.None, Errno.None), (copy.Domain.Load(domain), copy.First.Load(vcpu)));
        copy.First.LoadRest(in rest);
        copy.Run(held: false);

        Assert.Equal(host.First.NextDeadline, copy.First.NextDeadline);
        Assert.Equal((host.Time, host.Domain.Time.Offset), (copy.Time, copy.Domain.Time.Offset));
    }

    [Fact]
    public void B5_timers_of_a_restored_domain_start_when_it_goes_on()
    {
        var host = WithSynic();
        Set(host, 0, Enable | Periodic | Sint2, count: 100);
        host.Pass(7_000);
        host.Run(held: true);
        var (domain, vcpu) = (new byte[32], new byte[216]);
        host.Domain.Save(domain);
        host.First.Save(vcpu);

        var restored = new FakeViridianHost(ViridianFeatureSet.All) { Cycles = 1_000_000_000, IsHeld = true };
        Assert.Equal((Errno.None, Errno.None), (restored.Domain.Load(domain), restored.First.Load(vcpu)));
        Assert.Equal(ulong.MaxValue, restored.First.NextDeadline);
        restored.Run(held: false);
        Assert.Equal(1_000_010_002UL, restored.First.NextDeadline);
        Skip(restored);
        restored.First.DeliverTimers();

        Assert.Equal(170UL, restored.Load<ulong>(Slot2 + 24));
        Assert.Equal(Vector, restored.Vcpus[0].TakeInterrupt());
    }

    [Fact]
    public void B3_synthetic_interrupts_are_masked_at_first_and_take_legal_vectors_only()
    {
        var host = WithSynic();
        Assert.Equal(0x1_0000UL, host.Read(Msr.HvSint15));
        Assert.False(host.First.TryWrite(Msr.HvSint0, 0xF));
        Assert.False(host.First.TryWrite(Msr.HvSint0, 0x1_0000));
        host.Write(Msr.HvSint0, 0x10);
        host.Write(Msr.HvSint0, 0x1_00FF);

        Assert.Equal(0x1_00FFUL, host.Read(Msr.HvSint0));
    }

    [Fact]
    public void B3_the_controllers_own_registers_keep_what_is_written_and_version_1_is_told()
    {
        var host = WithSynic();
        host.Write(Msr.HvScontrol, 1);
        host.Write(Msr.HvSiefp, 0x5001);

        Assert.Equal((1UL, 0x5001UL, MessagePage | 1, 1UL, 0UL),
            (host.Read(Msr.HvScontrol), host.Read(Msr.HvSiefp), host.Read(Msr.HvSimp), host.Read(Msr.HvSversion), host.Read(Msr.HvEom)));
        Assert.Equal(0UL, host.Read(Msr.HvScontrol, vcpu: 1));
    }

    [Fact]
    public void B3_an_interrupt_that_ends_by_itself_is_not_in_service()
    {
        var host = WithSynic();
        host.Write(Msr.HvSint0 + 2, (1 << 17) | Vector);
        host.Vcpus[0].Apic!.Request(Vector);
        Assert.Equal(Vector, host.Vcpus[0].TakeInterrupt());
        host.Vcpus[0].Apic!.Request(0x31);
        Assert.Equal((byte)0x31, host.Vcpus[0].TakeInterrupt());

        // When the vector is another one's, it does not.
        host.Write(Msr.HvSint0 + 2, (1 << 17) | 0x60);
        host.Write(Msr.HvEoi, 0);
        host.Vcpus[0].Apic!.Request(Vector);
        Assert.Equal(Vector, host.Vcpus[0].TakeInterrupt());
        host.Vcpus[0].Apic!.Request(0x31);
        Assert.Null(host.Vcpus[0].TakeInterrupt());
    }

    private static FakeViridianHost WithSynic()
    {
        var host = new FakeViridianHost(ViridianFeatureSet.All);
        host.Run(held: false);
        host.Page(4).Fill(0xEE);
        host.Write(Msr.HvSimp, MessagePage | 1);
        Assert.Equal(0u, host.Load<uint>(Slot2)); // the page is cleared
        host.Write(Msr.HvSint0 + 2, Vector);
        return host;
    }

    private static void Set(FakeViridianHost host, uint timer, ulong config, ulong count)
    {
        host.Write(Msr.HvStimer0Count + (2 * timer), count);
        host.Write(Msr.HvStimer0Config + (2 * timer), config);
    }

    private static void TakeMessage(FakeViridianHost host) => host.Store(Slot2, 0u);

    private static void Skip(FakeViridianHost host) => host.Pass(host.First.NextDeadline - host.Cycles);
}
