using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Tests.Cpu;

/// <summary>Flushes, with as many translations as are listed one by one, and with more.</summary>
public sealed unsafe class TlbFlushTests
{
    private const ulong First = 0x200000;
    private const ulong GlobalEnd = 0x400000;
    private const ulong PageBytes = 0x1000;

    public static TheoryData<int> Counts => [1, 20, SlotList.Capacity - 1, SlotList.Capacity, SlotList.Capacity + 1, Tlb.Entries];

    [Theory]
    [MemberData(nameof(Counts))]
    public void A_full_flush_leaves_nothing(int pages)
    {
        using var machine = Filled(pages);

        Tlb.FlushAll(machine.State);

        Assert.Equal(0, ValidSlots(machine));
        Assert.Equal(0, machine.State->TlbFills->Count);
    }

    [Theory]
    [MemberData(nameof(Counts))]
    public void A_switch_of_address_spaces_keeps_global_pages_only(int pages)
    {
        using var machine = Filled(pages);
        var globals = Enumerable.Range(0, pages).Count(n => IsGlobal(Address(n)) && IsCached(machine, Address(n)));
        Assert.True(pages == 1 || ValidSlots(machine) > globals);

        Tlb.FlushNonGlobal(machine.State);

        Assert.Equal(globals, ValidSlots(machine));
        Assert.All(Enumerable.Range(0, pages), n => Assert.True(IsGlobal(Address(n)) || !IsCached(machine, Address(n))));

        // What was kept is still known to the next flush.
        Tlb.FlushAll(machine.State);
        Assert.Equal(0, ValidSlots(machine));
    }

    [Theory]
    [MemberData(nameof(Counts))]
    public void Pages_filled_anew_after_a_flush_are_flushed_again(int pages)
    {
        using var machine = Filled(pages);
        for (var turn = 0; turn < 3; turn++)
        {
            Tlb.FlushNonGlobal(machine.State);
            Fill(machine, pages);
            Tlb.FlushPage(machine.State, Address(pages - 1));
            Assert.Equal(0, ValidSlots(machine)); // they are all of large pages
            Fill(machine, pages);
        }

        Tlb.FlushAll(machine.State);
        Assert.Equal(0, ValidSlots(machine));
    }

    [Theory]
    [MemberData(nameof(Counts))]
    public void A_page_that_has_code_now_loses_its_write_tag_and_no_other(int pages)
    {
        using var machine = Filled(pages);
        var page = Address(pages - 1);
        var writable = WritableSlots(machine);

        Tlb.RevokeWrites(machine.State, machine.Ram + page);

        Assert.Equal(writable - 1, WritableSlots(machine));
        var slot = Tlb.Slot(machine.State->Tlb, page);
        Assert.NotEqual(page, slot->Write);
        Assert.Equal(page, slot->Read);
    }

    private static BareMachine Filled(int pages)
    {
        var machine = new BareMachine().EnterLongMode();
        var directory = (ulong*)(machine.Ram + 0x3000);
        directory[First >> 21] |= 0x100;
        machine.State->Cr4 |= CpuModes.Cr4Pge;
        machine.Cpu.StateChanged();
        Fill(machine, pages);
        return machine;
    }

    private static void Fill(BareMachine machine, int pages)
    {
        for (var n = 0; n < pages; n++)
        {
            Assert.True(Access.Write(machine.State, Address(n), 8, (ulong)n));
        }

        Assert.True(IsCached(machine, Address(pages - 1)));
    }

    // Global and other pages in turn.
    private static ulong Address(int n) => First + ((ulong)(n / 2) * PageBytes) + ((n & 1) == 0 ? 0 : GlobalEnd - First);

    private static bool IsGlobal(ulong address) => address is >= First and < GlobalEnd;

    private static bool IsCached(BareMachine machine, ulong page) => Tlb.Slot(machine.State->Tlb, page)->Read == page;

    private static int ValidSlots(BareMachine machine) => Count(machine, write: false);

    private static int WritableSlots(BareMachine machine) => Count(machine, write: true);

    private static int Count(BareMachine machine, bool write)
    {
        var count = 0;
        for (var n = 0; n < Tlb.Entries * Tlb.Banks; n++)
        {
            var entry = machine.State->TlbBanks + n;
            var tag = write ? entry->Write : entry->Read;
            count += tag != Tlb.InvalidTag(n & (Tlb.Entries - 1)) ? 1 : 0;
        }

        return count;
    }
}
