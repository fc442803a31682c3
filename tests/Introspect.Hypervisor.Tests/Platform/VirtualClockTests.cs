using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Tests.Platform;

public sealed class VirtualClockTests
{
    private sealed class ManualWorld : IOutsideWorld
    {
        public ulong MonotonicNanoseconds { get; set; } = 5_000_000_000;

        public ulong UnixNanoseconds { get; set; } = 1_700_000_000_123_456_789;

        public void FillRandom(Span<byte> destination) => destination.Clear();
    }

    [Theory]
    [InlineData(1_000_000_000UL, 0x8000_0000u, 1)]
    [InlineData(2_000_000_000UL, 0x8000_0000u, 0)]
    [InlineData(2_500_000_000UL, 0xCCCC_CCCCu, -1)]
    [InlineData(10_000_000UL, 0xC800_0000u, 7)]
    [InlineData(1_000_000UL, 0xFA00_0000u, 10)]
    public void Scales_are_those_of_pvclock(ulong frequency, uint multiplier, int shift) =>
        Assert.Equal(new TimeScale(multiplier, (sbyte)shift), TimeScale.ForFrequency(frequency));

    [Theory]
    [InlineData(1_000_000_000UL)]
    [InlineData(10_000_000UL)]
    [InlineData(2_499_999_999UL)]
    [InlineData(33_000_000UL)]
    public void A_scale_is_exact_to_a_few_parts_in_a_thousand_million(ulong frequency)
    {
        var scale = TimeScale.ForFrequency(frequency);
        var nanoseconds = scale.ToNanoseconds(frequency * 3600);
        Assert.InRange(nanoseconds, 3_600_000_000_000UL - 3600, 3_600_000_000_000UL + 3600);
    }

    [Fact]
    public void Following_the_host_scales_its_time_to_the_told_frequency()
    {
        var world = new ManualWorld();
        var clock = new VirtualClock(ClockSource.Host, 2_000_000_000, world);
        Assert.Equal(0UL, clock.ReadCycles(12345));
        world.MonotonicNanoseconds += 1_500_000_000;
        Assert.Equal(3_000_000_000UL, clock.ReadCycles(0));
        Assert.Equal(1_500_000_000UL, clock.Nanoseconds);
        Assert.Equal(1_700_000_000_123_456_789UL, clock.WallClockBase);
    }

    [Fact]
    public void Following_instructions_ignores_the_host()
    {
        var world = new ManualWorld();
        var clock = new VirtualClock(ClockSource.Instructions, 10_000_000, world);
        world.MonotonicNanoseconds += 999;
        Assert.Equal(10_000_000UL, clock.ReadCycles(10_000_000));
        Assert.InRange(clock.Nanoseconds, 999_999_999UL, 1_000_000_000UL);
    }

    [Fact]
    public void The_clock_never_goes_back()
    {
        var clock = new VirtualClock(ClockSource.Instructions, 10_000_000, new ManualWorld());
        Assert.Equal(500UL, clock.ReadCycles(500));
        Assert.Equal(500UL, clock.ReadCycles(400));
        Assert.Equal(500UL, clock.Cycles);
    }

    [Fact]
    public void Idle_time_is_skipped_when_instructions_are_followed()
    {
        var clock = new VirtualClock(ClockSource.Instructions, 1_000_000_000, new ManualWorld());
        _ = clock.ReadCycles(100);
        clock.SkipTo(1000);
        Assert.Equal(1000UL, clock.Cycles);
        Assert.Equal(1010UL, clock.ReadCycles(110));
        clock.SkipTo(5);
        Assert.Equal(1010UL, clock.Cycles);
    }

    [Theory]
    [InlineData(1_000_000_000UL)]
    [InlineData(10_000_000UL)]
    [InlineData(2_500_000_000UL)]
    public void A_deadline_in_cycles_is_the_first_that_reaches_the_nanoseconds(ulong frequency)
    {
        var clock = new VirtualClock(ClockSource.Instructions, frequency, new ManualWorld());
        foreach (var nanoseconds in new ulong[] { 1, 99, 1000, 123_456_789, 1_000_000_000_000 })
        {
            var cycles = clock.ToCycles(nanoseconds);
            Assert.True(clock.ToNanoseconds(cycles) >= nanoseconds);

            // No more than the cycles of the shift's step too late.
            var step = frequency > 2_000_000_000 ? 2UL : 1UL;
            Assert.True(cycles < 2 * step || clock.ToNanoseconds(cycles - (2 * step)) < nanoseconds);
        }
    }

    [Fact]
    public void A_frozen_clock_stands_and_goes_on_from_there()
    {
        var world = new ManualWorld();
        var clock = new VirtualClock(ClockSource.Host, 1_000_000_000, world);
        world.MonotonicNanoseconds += 100;
        clock.Freeze(0);
        world.MonotonicNanoseconds += 1_000_000;
        Assert.Equal(100UL, clock.Cycles);
        clock.Thaw(0);
        world.MonotonicNanoseconds += 5;
        Assert.Equal(105UL, clock.Cycles);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_saved_clock_goes_on_elsewhere_without_a_jump(bool followsInstructions)
    {
        var source = followsInstructions ? ClockSource.Instructions : ClockSource.Host;
        var world = new ManualWorld();
        var clock = new VirtualClock(source, 1_000_000_000, world);
        world.MonotonicNanoseconds += 700;
        var saved = clock.Save(700);

        var later = new ManualWorld { MonotonicNanoseconds = 42, UnixNanoseconds = 0 };
        var copy = new VirtualClock(source, 5_000_000, later);
        copy.Restore(saved, retiredInstructions: 30);
        later.MonotonicNanoseconds += 10;
        Assert.Equal(710UL, copy.ReadCycles(40));
        Assert.Equal(1_000_000_000UL, copy.Frequency);
        Assert.Equal(1_700_000_000_123_456_789UL, copy.WallClockBase);
    }

    [Fact]
    public void A_repeatable_world_gives_the_same_numbers_again()
    {
        var first = new byte[21];
        var second = new byte[21];
        new RepeatableWorld(0, 42).FillRandom(first);
        var world = new RepeatableWorld(0, 42);
        world.FillRandom(second.AsSpan(0, 8));
        world.FillRandom(second.AsSpan(8));
        Assert.Equal(first, second);
        new RepeatableWorld(0, 43).FillRandom(second);
        Assert.NotEqual(first, second);
    }
}
