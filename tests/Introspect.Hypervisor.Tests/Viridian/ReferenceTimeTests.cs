using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Tests.Viridian;

/// <summary>The reference counter and the reference TSC page.</summary>
public sealed class ReferenceTimeTests
{
    private const ulong Page = 0x2000;

    [Theory]
    [InlineData(1_000_000_000u)]
    [InlineData(2_394_230_000u)]
    [InlineData(10_000_001u)]
    [InlineData(10_000_000u)]
    [InlineData(1_000_000u)]
    public void B3_the_reference_counter_counts_units_of_100_ns(uint frequency)
    {
        var host = Running(frequency);
        host.Cycles += frequency * 7UL;

        Assert.InRange(host.Time, (7 * ReferenceTime.UnitsPerSecond) - 1, 7 * ReferenceTime.UnitsPerSecond);
        Assert.False(host.First.TryWrite(Msr.HvTimeRefCount, 0));
    }

    [Fact]
    public void B5_the_reference_counter_stands_still_while_the_domain_is_paused()
    {
        var host = Running();
        host.Cycles += 5_000;
        var before = host.Time;
        host.Run(held: true);
        host.Cycles += 1_000_000;
        Assert.Equal(before, host.Time);
        host.Run(held: true);
        host.Cycles += 1_000_000;
        host.Run(held: false);

        Assert.Equal(before, host.Time);
        host.Cycles += 5_000;
        Assert.Equal(before + 50, host.Time);
    }

    [Fact]
    public void B5_what_a_vCPU_on_its_way_out_saw_is_never_taken_back()
    {
        var host = Running();
        host.Run(held: true);
        host.Cycles += 3_000; // still in the guest, which reads the page
        host.Domain.Time.LeftGuest(host.Cycles);
        host.Cycles += 1_000_000;
        host.Run(held: false);

        Assert.Equal(30UL, host.Time);
    }

    [Fact]
    public void B5_time_that_is_instructions_stands_still_by_itself()
    {
        var host = new FakeViridianHost(ViridianFeatureSet.All, followsInstructions: true);
        host.Run(held: false);
        host.Cycles += 5_000;
        host.Run(held: true);
        host.Cycles += 1_000; // instructions on the way out
        host.Run(held: false);

        Assert.Equal(60UL, host.Time);
    }

    [Fact]
    public void B5_the_reference_counter_goes_on_across_save_and_restore()
    {
        var host = Running();
        host.Cycles += 123_400;
        host.Run(held: true);
        var record = new byte[32];
        host.Domain.Save(record);

        // Elsewhere, on a clock that stands somewhere else.
        var other = new FakeViridianHost(ViridianFeatureSet.All) { Cycles = 77_777_777, IsHeld = true };
        Assert.Equal(Errno.None, other.Domain.Load(record));
        other.Cycles += 1_000_000;
        Assert.Equal(1234UL, other.Time);
        other.Run(held: false);
        Assert.Equal(1234UL, other.Time);
        other.Cycles += 1_000;
        Assert.Equal(1244UL, other.Time);
    }

    [Fact]
    public void B5_a_TSC_that_the_guest_moves_does_not_move_the_reference_time()
    {
        var host = Running();
        host.Cycles += 10_000;
        host.Domain.FollowTsc(1UL << 50, host.Cycles);

        Assert.Equal(100UL, host.Time);
        host.Cycles += 1_000;
        Assert.InRange(host.Time, 109UL, 110UL);
    }

    [Theory]
    [InlineData(1_000_000_000u, 0ul)]
    [InlineData(2_394_230_000u, 0ul)]
    [InlineData(3_000_000_000u, 12_345_678_901ul)]
    public void B3_the_reference_TSC_page_says_what_the_counter_says(uint frequency, ulong tscOffset)
    {
        var host = Running(frequency);
        host.Domain.FollowTsc(tscOffset, host.Cycles);
        host.Write(Msr.HvReferenceTsc, Page | 1);
        host.Cycles += 98_765_432;

        Assert.NotEqual(0u, host.Load<uint>(Page));
        Assert.Equal(host.Time, ByPage(host, tscOffset));
    }

    [Fact]
    public void B3_the_reference_TSC_page_is_written_anew_after_a_pause_before_the_guest_goes_on()
    {
        var host = Running();
        host.Write(Msr.HvReferenceTsc, Page | 1);
        var sequence = host.Load<uint>(Page);
        host.Run(held: true);
        host.Cycles += 1_000_000;
        host.Run(held: false);
        host.Domain.RefreshReferencePage();

        Assert.Equal(sequence + 1, host.Load<uint>(Page));
        Assert.Equal(host.Time, ByPage(host, 0));
        host.Domain.RefreshReferencePage();
        Assert.Equal(sequence + 1, host.Load<uint>(Page));
    }

    [Fact]
    public void B3_the_sequence_of_the_page_skips_the_number_that_makes_it_invalid()
    {
        var host = Running();
        host.Write(Msr.HvReferenceTsc, Page | 1);
        host.Store(Page, uint.MaxValue);
        host.Domain.FollowTsc(5_000, host.Cycles);
        host.Domain.RefreshReferencePage();

        Assert.Equal(1u, host.Load<uint>(Page));
    }

    [Fact]
    public void B3_a_clock_that_the_page_cannot_express_makes_it_invalid()
    {
        var host = Running(10_000_000);
        host.Store(Page, 0x1234_5678u);
        host.Write(Msr.HvReferenceTsc, Page | 1);

        Assert.Equal(0u, host.Load<uint>(Page));
    }

    [Fact]
    public void B3_a_disabled_reference_TSC_page_is_left_alone()
    {
        var host = Running();
        host.Write(Msr.HvReferenceTsc, Page);
        host.Domain.FollowTsc(5_000, host.Cycles);
        host.Domain.RefreshReferencePage();

        Assert.Equal(0u, host.Load<uint>(Page));
        Assert.Equal(Page, host.Read(Msr.HvReferenceTsc));
    }

    [Fact]
    public void B5_a_restored_reference_TSC_page_goes_on_from_the_saved_time_with_a_new_sequence()
    {
        var host = Running();
        host.Cycles += 100_000;
        host.Write(Msr.HvReferenceTsc, Page | 1);
        host.Run(held: true);
        var record = new byte[32];
        host.Domain.Save(record);

        var other = new FakeViridianHost(ViridianFeatureSet.All) { IsHeld = true, Cycles = 5 };
        host.Page(2).CopyTo(other.Page(2));
        Assert.Equal(Errno.None, other.Domain.Load(record));
        other.Run(held: false);
        other.Domain.RefreshReferencePage();
        other.Cycles += 4_000;

        Assert.Equal(host.Load<uint>(Page) + 1, other.Load<uint>(Page));
        Assert.Equal(1040UL, other.Time);
        Assert.Equal(1040UL, ByPage(other, 0));
    }

    // As the specification has a guest compute it.
    private static ulong ByPage(FakeViridianHost host, ulong tscOffset) =>
        unchecked((ulong)(((UInt128)(host.Cycles + tscOffset) * host.Load<ulong>(Page + 8)) >> 64) + host.Load<ulong>(Page + 16));

    private static FakeViridianHost Running(ulong frequency = 1_000_000_000)
    {
        var host = new FakeViridianHost(ViridianFeatureSet.All, frequency: frequency);
        host.Run(held: false);
        return host;
    }
}
