using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Indexing and flushing of the TLB banks.</summary>
internal static unsafe class Tlb
{
    public const int Entries = 1024;
    public const int Banks = 4;
    public const int FetchEntries = 256;
    public const int FetchBanks = 2;
    public const ulong PageMask = ~0xFFFUL;

    /// <summary>The slot of a linear address.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TlbEntry* Slot(TlbEntry* bank, ulong linear)
    {
        var page = linear >> 12;
        return (TlbEntry*)((byte*)bank + (((page ^ (page >> 10)) & (Entries - 1)) << 5));
    }

    /// <summary>The slot of a fetch.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static FetchEntry* FetchSlot(CpuState* s, ulong linear)
    {
        var page = linear >> 12;
        var bank = s->FetchTlb + (s->Cpl == 3 ? FetchEntries : 0);
        return bank + ((page ^ (page >> 8)) & (FetchEntries - 1));
    }

    /// <summary>A tag that no look-up of this slot can match: page 0 belongs to slot 0, page 1 to slot 1.</summary>
    public static ulong InvalidTag(int slot) => slot == 0 ? 0x1000UL : 0;

    /// <summary>Lists a slot of the data banks that is about to get its first valid tag since the last flush.</summary>
    public static void NoteFill(CpuState* s, TlbEntry* slot) => s->TlbFills->Add((int)(slot - s->TlbBanks));

    /// <summary>Enters a fetch translation.</summary>
    public static void FillFetch(CpuState* s, FetchEntry* slot, ulong tag, ulong machine, TlbFlags flags)
    {
        var index = (int)(slot - s->FetchTlb);
        if (slot->Tag == InvalidTag(index & (FetchEntries - 1)))
        {
            s->FetchFills->Add(index);
        }

        slot->Tag = tag;
        slot->Machine = machine;
        slot->Flags = flags;
    }

    /// <summary>Empties both TLBs whatever is in them, and their lists.</summary>
    public static void Initialise(CpuState* s)
    {
        s->TlbFills->Count = s->FetchFills->Count = SlotList.Overflow;
        FlushAll(s);
    }

    /// <summary>Drops every translation.</summary>
    public static void FlushAll(CpuState* s)
    {
        var fills = s->TlbFills;
        for (var n = fills->ToVisit(Entries * Banks) - 1; n >= 0; n--)
        {
            var slot = fills->Visit(n);
            var invalid = InvalidTag(slot & (Entries - 1));
            s->TlbBanks[slot] = new TlbEntry { Read = invalid, Write = invalid };
        }

        fills->Count = 0;
        fills = s->FetchFills;
        for (var n = fills->ToVisit(FetchEntries * FetchBanks) - 1; n >= 0; n--)
        {
            var slot = fills->Visit(n);
            s->FetchTlb[slot] = new FetchEntry { Tag = InvalidTag(slot & (FetchEntries - 1)) };
        }

        fills->Count = 0;
        BumpJumpGeneration(s);
    }

    /// <summary>Drops every translation that is not global (a CR3 write).</summary>
    public static void FlushNonGlobal(CpuState* s)
    {
        // What stays is listed anew; an entry is read before its place in the list can be taken.
        var fills = s->TlbFills;
        var count = fills->ToVisit(Entries * Banks);
        var listed = fills->IsComplete;
        fills->Count = 0;
        for (var n = 0; n < count; n++)
        {
            var slot = listed ? fills->Slots[n] : n;
            var entry = s->TlbBanks + slot;
            if ((entry->Flags & TlbFlags.Global) != 0)
            {
                fills->Add(slot);
            }
            else
            {
                entry->Read = entry->Write = InvalidTag(slot & (Entries - 1));
            }
        }

        fills = s->FetchFills;
        count = fills->ToVisit(FetchEntries * FetchBanks);
        listed = fills->IsComplete;
        fills->Count = 0;
        for (var n = 0; n < count; n++)
        {
            var slot = listed ? fills->Slots[n] : n;
            if ((s->FetchTlb[slot].Flags & TlbFlags.Global) != 0)
            {
                fills->Add(slot);
            }
            else
            {
                s->FetchTlb[slot].Tag = InvalidTag(slot & (FetchEntries - 1));
            }
        }

        BumpJumpGeneration(s);
    }

    /// <summary>Drops the translations of one linear page (INVLPG); of a large page, whatever part is cached.</summary>
    public static void FlushPage(CpuState* s, ulong linear)
    {
        for (var bank = 0; bank < Banks - 1; bank++)
        {
            var first = s->TlbBanks + (bank * Entries);
            var slot = Slot(first, linear);
            if ((slot->Read & PageMask) == (linear & PageMask) || (slot->Write & PageMask) == (linear & PageMask))
            {
                slot->Read = slot->Write = InvalidTag((int)(slot - first));
            }
        }

        var fills = s->TlbFills;
        for (var n = fills->ToVisit(Entries * Banks) - 1; n >= 0; n--)
        {
            var slot = fills->Visit(n);
            if ((s->TlbBanks[slot].Flags & TlbFlags.Large) != 0)
            {
                var invalid = InvalidTag(slot & (Entries - 1));
                s->TlbBanks[slot] = new TlbEntry { Read = invalid, Write = invalid };
            }
        }

        fills = s->FetchFills;
        for (var n = fills->ToVisit(FetchEntries * FetchBanks) - 1; n >= 0; n--)
        {
            var slot = fills->Visit(n);
            if (s->FetchTlb[slot].Tag == (linear & PageMask) || (s->FetchTlb[slot].Flags & TlbFlags.Large) != 0)
            {
                s->FetchTlb[slot] = new FetchEntry { Tag = InvalidTag(slot & (FetchEntries - 1)) };
            }
        }

        BumpJumpGeneration(s);
    }

    /// <summary>Takes the write tags of a host page away, so that the next store to it is seen (it has code now).</summary>
    public static void RevokeWrites(CpuState* s, byte* hostPage)
    {
        var fills = s->TlbFills;
        for (var n = fills->ToVisit(Entries * Banks) - 1; n >= 0; n--)
        {
            var slot = fills->Visit(n);
            var entry = s->TlbBanks + slot;
            var invalid = InvalidTag(slot & (Entries - 1));
            if (entry->Write != invalid && (byte*)(entry->Write + entry->Addend) == hostPage)
            {
                entry->Write = invalid;
            }
        }
    }

    /// <summary>Makes every entry of the jump cache stale.</summary>
    public static void BumpJumpGeneration(CpuState* s) => s->JumpKey += 0x100;
}
