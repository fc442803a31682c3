using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>What an access does.</summary>
internal enum AccessKind : byte
{
    Read = 1,
    Write = 2,
    Execute = 4,
}

/// <summary>Whose rights an access has.</summary>
internal enum AccessRights : byte
{
    /// <summary>The current privilege level's.</summary>
    Current,

    /// <summary>Implicit supervisor access: descriptor tables, TSS.</summary>
    System,

    /// <summary>User rights whatever the privilege level.</summary>
    User,
}

/// <summary>A finished translation of a page.</summary>
internal struct Translation
{
    /// <summary>Guest-physical address, with the offset.</summary>
    public ulong Gpa;

    /// <summary>The p2m entry of the page.</summary>
    public P2mEntry P2m;

    /// <summary>A store needs no more checks: the guest's tables allow it and the dirty bit is set.</summary>
    public bool StoreReady;

    public TlbFlags Flags;
}

/// <summary>
/// The page walk: guest page tables, then the p2m. It faults as the processor does, before anything is
/// committed but the accessed and dirty bits.
/// </summary>
internal static unsafe class Mmu
{
    /// <summary>Physical address bits (CPUID 0x80000008).</summary>
    public const int PhysicalBits = 46;

    private const ulong Present = 1;
    private const ulong Writable = 2;
    private const ulong User = 4;
    private const ulong Accessed = 0x20;
    private const ulong Dirty = 0x40;
    private const ulong PageSize = 0x80;
    private const ulong Global = 0x100;
    private const ulong NoExecute = 1UL << 63;
    private const ulong AddressBits = ((1UL << PhysicalBits) - 1) & ~0xFFFUL;
    private const ulong ReservedPhysical = 0x000F_FFFF_FFFF_F000 & ~AddressBits;

    private const uint ErrorPresent = 1;
    private const uint ErrorWrite = 2;
    private const uint ErrorUser = 4;
    private const uint ErrorReserved = 8;
    private const uint ErrorFetch = 16;

    /// <summary>True for addresses that long mode can form.</summary>
    public static bool IsCanonical(CpuState* s, ulong linear)
    {
        var shift = (s->Cr4 & CpuModes.Cr4La57) != 0 ? 7 : 16;
        return (ulong)((long)(linear << shift) >> shift) == linear;
    }

    /// <summary>Translates a linear address for an access. On failure the fault or exit is in the state.</summary>
    public static bool Translate(CpuState* s, ulong linear, AccessKind kind, AccessRights rights, out Translation result)
    {
        result = default;
        if ((s->Cr0 & CpuModes.Cr0Pg) == 0)
        {
            result.Gpa = linear & 0xFFFFFFFF;
            result.StoreReady = true;
        }
        else
        {
            WalkResult walked;
            do
            {
                walked = Walk(s, linear, kind, rights, ref result);
            }
            while (walked == WalkResult.Again);

            if (walked == WalkResult.Stopped)
            {
                return false;
            }
        }

        return CheckP2m(s, result.Gpa, linear, kind, NpfFlags.GlaValid | NpfFlags.WithGla, out result.P2m);
    }

    /// <summary>Looks a guest frame up; refuses by a nested page fault exit.</summary>
    public static bool CheckP2m(CpuState* s, ulong gpa, ulong linear, AccessKind kind, NpfFlags context, out P2mEntry entry)
    {
        var gfn = gpa >> 12;
        entry = gfn < s->P2mEntries ? new P2mEntry(s->P2m[gfn]) : default;
        if (IsAllowed(s, entry, kind, context))
        {
            return true;
        }

        // What the guest itself does leaves as an exit; what is done for it has the page brought here.
        if ((s->Override != AccessOverride.None || context == 0) && (!entry.IsPresent || IsSharedWrite(entry, kind))
            && Cpu.Of(s).Host.TryFindPage(gfn, kind == AccessKind.Write))
        {
            entry = gfn < s->P2mEntries ? new P2mEntry(s->P2m[gfn]) : default;
            if (IsAllowed(s, entry, kind, context))
            {
                return true;
            }
        }

        if (!entry.IsPresent && (s->Override & AccessOverride.Devices) != 0)
        {
            return true; // the caller sees that the entry is absent and asks the devices
        }

        s->Exit = new Exit
        {
            Kind = ExitKind.NestedPageFault,
            Gla = linear,
            Gpa = gpa,
            Value = (ulong)(uint)context | (ulong)kind | (entry.IsPresent ? (ulong)NpfFlags.Present : 0) | ((entry.Raw & P2mEntry.RightsMask) << 8),
        };
        s->Stop = StopReason.Exit;
        return false;
    }

    private static bool IsAllowed(CpuState* s, P2mEntry entry, AccessKind kind, NpfFlags context) =>
        entry.IsPresent && ((entry.Raw & (ulong)kind) != 0
            || (IgnoresRights(s, context) && !IsSharedWrite(entry, kind))
            || IsPagingWrite(entry, kind, context));

    private static bool IgnoresRights(CpuState* s, NpfFlags context) =>
        (s->Override & AccessOverride.IgnoreP2mRights) != 0
        || ((s->Override & AccessOverride.IgnoreWalkRights) != 0 && (context & NpfFlags.WithGla) == 0);

    /// <summary>A page-table walk may set bits in a page that is read-only to everything else.</summary>
    private static bool IsPagingWrite(P2mEntry entry, AccessKind kind, NpfFlags context) =>
        kind == AccessKind.Write && (context & NpfFlags.WithGla) == 0 && entry.Access == Abi.MemoryAccess.RPw && entry.Type == P2mType.RamRw;

    // Never done in place, whatever rights are ignored: the page is others', too.
    private static bool IsSharedWrite(P2mEntry entry, AccessKind kind) => kind == AccessKind.Write && entry.Type == P2mType.RamShared;

    private static WalkResult Walk(CpuState* s, ulong linear, AccessKind kind, AccessRights rights, ref Translation result)
    {
        var user = rights == AccessRights.User || (rights == AccessRights.Current && s->Cpl == 3);
        var nxe = (s->Efer & CpuModes.EferNxe) != 0;
        var pae = (s->Cr4 & CpuModes.Cr4Pae) != 0;
        var longMode = CpuModes.IsLongMode(s);
        var error = (kind == AccessKind.Write ? ErrorWrite : 0) | (user ? ErrorUser : 0)
            | (kind == AccessKind.Execute && ((nxe && pae) || (s->Cr4 & CpuModes.Cr4Smep) != 0) ? ErrorFetch : 0);

        int level;
        ulong table;
        if (longMode)
        {
            level = (s->Cr4 & CpuModes.Cr4La57) != 0 ? 5 : 4;
            table = s->Cr3 & AddressBits;
        }
        else if (pae)
        {
            linear &= 0xFFFFFFFF;
            var pdpte = s->Pdpte[(linear >> 30) & 3];
            if ((pdpte & Present) == 0)
            {
                return Stop(s, linear, error);
            }

            level = 2;
            table = pdpte & AddressBits;
        }
        else
        {
            linear &= 0xFFFFFFFF;
            return WalkLegacy(s, linear, kind, user, rights, error, ref result);
        }

        var reserved = ReservedPhysical | (nxe ? 0 : NoExecute);
        var allowWrite = true;
        var allowUser = true;
        var noExecute = false;
        for (; ; level--)
        {
            var index = (linear >> (12 + ((level - 1) * 9))) & 511;
            var entryAddress = table + (index * 8);
            if (!Entry(s, entryAddress, linear, out var host))
            {
                return WalkResult.Stopped;
            }

            var entry = Volatile.Read(ref *(ulong*)host);
            if ((entry & Present) == 0)
            {
                return Stop(s, linear, error);
            }

            var large = level is 2 or 3 && (entry & PageSize) != 0;
            var mustBeZero = reserved;
            if (level >= 4)
            {
                mustBeZero |= PageSize;
            }
            else if (large)
            {
                // Bit 12 is PAT; the address bits below the large page are reserved.
                mustBeZero |= ((1UL << (12 + ((level - 1) * 9))) - 1) & ~0x1FFFUL;
            }

            if (!longMode)
            {
                mustBeZero |= 0x7FF0_0000_0000_0000;
            }

            if ((entry & mustBeZero) != 0)
            {
                return Stop(s, linear, error | ErrorPresent | ErrorReserved);
            }

            allowWrite &= (entry & Writable) != 0;
            allowUser &= (entry & User) != 0;
            noExecute |= nxe && (entry & NoExecute) != 0;
            var leaf = large || level == 1;
            if (!leaf)
            {
                if ((entry & Accessed) == 0 && SetBits(s, entryAddress, linear, host, entry, Accessed, wide: true) is var middle and not WalkResult.Done)
                {
                    return middle;
                }

                table = entry & AddressBits;
                continue;
            }

            if (!Permitted(s, kind, rights, user, allowWrite, allowUser, noExecute))
            {
                return Stop(s, linear, error | ErrorPresent);
            }

            var bits = Accessed | (kind == AccessKind.Write ? Dirty : 0);
            if ((entry & bits) != bits && SetBits(s, entryAddress, linear, host, entry, bits, wide: true) is var last and not WalkResult.Done)
            {
                return last;
            }

            var offsetMask = (1UL << (12 + ((level - 1) * 9))) - 1;
            Finish(s, ref result, (entry & AddressBits & ~offsetMask) | (linear & offsetMask), entry | bits, large, user, allowWrite);
            return WalkResult.Done;
        }
    }

    private static WalkResult WalkLegacy(CpuState* s, ulong linear, AccessKind kind, bool user, AccessRights rights, uint error, ref Translation result)
    {
        var directoryAddress = (s->Cr3 & 0xFFFFF000) + ((linear >> 22) * 4);
        if (!Entry(s, directoryAddress, linear, out var host))
        {
            return WalkResult.Stopped;
        }

        ulong entry = Volatile.Read(ref *(uint*)host);
        if ((entry & Present) == 0)
        {
            return Stop(s, linear, error);
        }

        var allowWrite = (entry & Writable) != 0;
        var allowUser = (entry & User) != 0;
        var large = (entry & PageSize) != 0 && (s->Cr4 & CpuModes.Cr4Pse) != 0;
        var entryAddress = directoryAddress;
        ulong page;
        if (large)
        {
            // PSE-36: bits 13–20 carry address bits 32–39; bit 21 is reserved.
            if ((entry & (1 << 21)) != 0)
            {
                return Stop(s, linear, error | ErrorPresent | ErrorReserved);
            }

            page = (entry & 0xFFC00000) | (((entry >> 13) & 0xFF) << 32) | (linear & 0x3FF000);
        }
        else
        {
            if ((entry & Accessed) == 0 && SetBits(s, directoryAddress, linear, host, entry, Accessed, wide: false) is var upper and not WalkResult.Done)
            {
                return upper;
            }

            entryAddress = (entry & 0xFFFFF000) + (((linear >> 12) & 1023) * 4);
            if (!Entry(s, entryAddress, linear, out host))
            {
                return WalkResult.Stopped;
            }

            entry = Volatile.Read(ref *(uint*)host);
            if ((entry & Present) == 0)
            {
                return Stop(s, linear, error);
            }

            allowWrite &= (entry & Writable) != 0;
            allowUser &= (entry & User) != 0;
            page = entry & 0xFFFFF000;
        }

        if (!Permitted(s, kind, rights, user, allowWrite, allowUser, noExecute: false))
        {
            return Stop(s, linear, error | ErrorPresent);
        }

        var bits = Accessed | (kind == AccessKind.Write ? Dirty : 0);
        if ((entry & bits) != bits && SetBits(s, entryAddress, linear, host, entry, bits, wide: false) is var last and not WalkResult.Done)
        {
            return last;
        }

        Finish(s, ref result, page | (linear & 0xFFF), entry | bits, large, user, allowWrite);
        return WalkResult.Done;
    }

    private static bool Permitted(CpuState* s, AccessKind kind, AccessRights rights, bool user, bool allowWrite, bool allowUser, bool noExecute)
    {
        if (user)
        {
            return allowUser && (kind != AccessKind.Write || allowWrite) && (kind != AccessKind.Execute || !noExecute);
        }

        if (kind == AccessKind.Execute)
        {
            return !noExecute && !(allowUser && (s->Cr4 & CpuModes.Cr4Smep) != 0);
        }

        if (allowUser && (s->Cr4 & CpuModes.Cr4Smap) != 0
            && (rights == AccessRights.System || s->Cpl == 3 || (s->FlagsOther & RFlags.Ac) == 0))
        {
            return false;
        }

        return kind != AccessKind.Write || allowWrite || (s->Cr0 & CpuModes.Cr0Wp) == 0;
    }

    private static void Finish(CpuState* s, ref Translation result, ulong gpa, ulong entry, bool large, bool user, bool allowWrite)
    {
        result.Gpa = gpa;
        result.StoreReady = (entry & Dirty) != 0 && (allowWrite || (!user && (s->Cr0 & CpuModes.Cr0Wp) == 0));
        result.Flags = ((entry & Global) != 0 && (s->Cr4 & CpuModes.Cr4Pge) != 0 ? TlbFlags.Global : 0) | (large ? TlbFlags.Large : 0);
    }

    /// <summary>Host address of a page-table entry; the walk reads it with the second level's rights.</summary>
    private static bool Entry(CpuState* s, ulong gpa, ulong linear, out byte* host)
    {
        host = null;
        if (!CheckP2m(s, gpa, linear, AccessKind.Read, NpfFlags.GlaValid, out var entry))
        {
            return false;
        }

        if (!entry.IsPresent)
        {
            // Tables in device space: nothing answers, the entry reads as not present.
            return Fault.PageFault(s, linear, s->Cpl == 3 ? ErrorUser : 0);
        }

        host = s->MachineBase + entry.MachineAddress + (gpa & 0xFFF);
        return true;
    }

    /// <summary>
    /// Sets accessed and dirty bits in a page-table entry, which needs the right to write its page. Another CPU may
    /// have changed the entry since it was read: then nothing is set, and the walk starts again.
    /// </summary>
    private static WalkResult SetBits(CpuState* s, ulong gpa, ulong linear, byte* host, ulong entry, ulong bits, bool wide)
    {
        if (!CheckP2m(s, gpa, linear, AccessKind.Write, NpfFlags.GlaValid, out var page))
        {
            return WalkResult.Stopped;
        }

        if (page.IsPresent)
        {
            // The table may have moved to a page of the guest's own just now.
            host = s->MachineBase + page.MachineAddress + (gpa & 0xFFF);
        }

        if ((s->Override & AccessOverride.DiscardWrites) != 0)
        {
            return WalkResult.Done;
        }

        CodeCache.Stored(s, host);
        var unchanged = wide
            ? Interlocked.CompareExchange(ref *(ulong*)host, entry | bits, entry) == entry
            : Interlocked.CompareExchange(ref *(uint*)host, (uint)(entry | bits), (uint)entry) == (uint)entry;
        return unchanged ? WalkResult.Done : WalkResult.Again;
    }

    private static WalkResult Stop(CpuState* s, ulong linear, uint error)
    {
        Fault.PageFault(s, linear, error);
        return WalkResult.Stopped;
    }

    private enum WalkResult
    {
        Done,

        /// <summary>A fault or exit is in the state.</summary>
        Stopped,

        /// <summary>An entry changed under the walk.</summary>
        Again,
    }
}
