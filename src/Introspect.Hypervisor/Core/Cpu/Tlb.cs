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

    /// <summary>Drops every translation.</summary>
    public static void FlushAll(CpuState* s)
    {
        new Span<byte>(s->TlbBanks, Entries * Banks * sizeof(TlbEntry)).Clear();
        for (var bank = 0; bank < Banks; bank++)
        {
            var slot = s->TlbBanks + (bank * Entries);
            slot->Read = slot->Write = InvalidTag(0);
        }

        new Span<byte>(s->FetchTlb, FetchEntries * FetchBanks * sizeof(FetchEntry)).Clear();
        for (var bank = 0; bank < FetchBanks; bank++)
        {
            s->FetchTlb[bank * FetchEntries].Tag = InvalidTag(0);
        }

        BumpJumpGeneration(s);
    }

    /// <summary>Drops every translation that is not global (a CR3 write).</summary>
    public static void FlushNonGlobal(CpuState* s)
    {
        for (var bank = 0; bank < Banks - 1; bank++)
        {
            var first = s->TlbBanks + (bank * Entries);
            for (var i = 0; i < Entries; i++)
            {
                if ((first[i].Flags & TlbFlags.Global) == 0)
                {
                    first[i].Read = first[i].Write = InvalidTag(i);
                }
            }
        }

        for (var i = 0; i < FetchEntries * FetchBanks; i++)
        {
            if ((s->FetchTlb[i].Flags & TlbFlags.Global) == 0)
            {
                s->FetchTlb[i].Tag = InvalidTag(i & (FetchEntries - 1));
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

            for (var i = 0; i < Entries; i++)
            {
                if ((first[i].Flags & TlbFlags.Large) != 0)
                {
                    first[i] = new TlbEntry { Read = InvalidTag(i), Write = InvalidTag(i) };
                }
            }
        }

        for (var i = 0; i < FetchEntries * FetchBanks; i++)
        {
            if (s->FetchTlb[i].Tag == (linear & PageMask) || (s->FetchTlb[i].Flags & TlbFlags.Large) != 0)
            {
                s->FetchTlb[i] = new FetchEntry { Tag = InvalidTag(i & (FetchEntries - 1)) };
            }
        }

        BumpJumpGeneration(s);
    }

    /// <summary>Takes the write tags of a host page away, so that the next store to it is seen (it has code now).</summary>
    public static void RevokeWrites(CpuState* s, byte* hostPage)
    {
        for (var i = 0; i < Entries * Banks; i++)
        {
            var entry = s->TlbBanks + i;
            var invalid = InvalidTag(i & (Entries - 1));
            if (entry->Write != invalid && (byte*)(entry->Write + entry->Addend) == hostPage)
            {
                entry->Write = invalid;
            }
        }
    }

    /// <summary>Makes every entry of the jump cache stale.</summary>
    public static void BumpJumpGeneration(CpuState* s) => s->JumpKey += 0x100;
}
