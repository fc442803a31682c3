using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// Everything that a data access can be beside a TLB hit. Nothing of it is inlined: a handler that takes a local's
/// address would lose its tail call.
/// </summary>
internal static unsafe class SlowAccess
{
    /// <summary>Largest single access in bytes (a 512-bit one fits).</summary>
    public const int MaxBytes = 64;

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static byte* Read(CpuState* s, SegmentIndex segment, ulong linear, int size) =>
        ReadAs(s, segment, linear, size, AccessRights.Current);

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static byte* ReadAs(CpuState* s, SegmentIndex segment, ulong linear, int size, AccessRights rights)
    {
        if (!Prepare(s, segment, ref linear, size, AccessKind.Read, rights))
        {
            return null;
        }

        var inPage = 4096 - (int)(linear & 0xFFF);
        var bounce = (byte*)s->Bounce;
        if (size <= inPage)
        {
            return ReadPart(s, linear, size, rights, bounce);
        }

        // Both pages are checked before the first byte is used.
        var first = ReadPart(s, linear, inPage, rights, bounce);
        if (first == null)
        {
            return null;
        }

        Buffer.MemoryCopy(first, bounce, MaxBytes, inPage);
        var second = ReadPart(s, NextPage(s, linear), size - inPage, rights, bounce + inPage);
        if (second == null)
        {
            return null;
        }

        Buffer.MemoryCopy(second, bounce + inPage, MaxBytes, size - inPage);
        return bounce;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool Write(CpuState* s, SegmentIndex segment, ulong linear, ulong value, int size) =>
        WriteAs(s, segment, linear, value, size, AccessRights.Current);

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool WriteAs(CpuState* s, SegmentIndex segment, ulong linear, ulong value, int size, AccessRights rights)
    {
        var bytes = stackalloc byte[8];
        *(ulong*)bytes = value;
        return WriteBytes(s, segment, linear, bytes, size, rights);
    }

    /// <summary>Stores up to <see cref="MaxBytes"/> bytes.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool WriteBytes(CpuState* s, SegmentIndex segment, ulong linear, byte* bytes, int size, AccessRights rights)
    {
        if (!Prepare(s, segment, ref linear, size, AccessKind.Write, rights))
        {
            return false;
        }

        var inPage = 4096 - (int)(linear & 0xFFF);
        if (size <= inPage)
        {
            return Mmu.Translate(s, linear, AccessKind.Write, rights, out var page) && Commit(s, linear, in page, bytes, size, rights);
        }

        var next = NextPage(s, linear);
        return Mmu.Translate(s, linear, AccessKind.Write, rights, out var first)
            && Mmu.Translate(s, next, AccessKind.Write, rights, out var second)
            && Commit(s, linear, in first, bytes, inPage, rights)
            && Commit(s, next, in second, bytes + inPage, size - inPage, rights);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool Probe(CpuState* s, SegmentIndex segment, ulong linear, int size, AccessKind kind, AccessRights rights)
    {
        if (!Prepare(s, segment, ref linear, size, kind, rights))
        {
            return false;
        }

        return Mmu.Translate(s, linear, kind, rights, out _)
            && (size <= 4096 - (int)(linear & 0xFFF) || Mmu.Translate(s, NextPage(s, linear), kind, rights, out _));
    }

    /// <summary>Bytes to be changed in place; the bounce buffer when they are in two pages or not plain memory.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static byte* Modify(CpuState* s, SegmentIndex segment, ulong linear, int size)
    {
        if (!Prepare(s, segment, ref linear, size, AccessKind.Write, AccessRights.Current))
        {
            return null;
        }

        const AccessOverride Redirected = AccessOverride.DiscardWrites | AccessOverride.ReadData;
        var crosses = size > 4096 - (int)(linear & 0xFFF);
        if (!crosses && (s->Override & Redirected) == 0)
        {
            if (!Mmu.Translate(s, linear, AccessKind.Write, AccessRights.Current, out var page)
                || !Mmu.CheckP2m(s, page.Gpa, linear, AccessKind.Read, NpfFlags.GlaValid | NpfFlags.WithGla, out _))
            {
                return null;
            }

            // In place also when the instruction is emulated, so that a locked one stays atomic.
            if (page.P2m.IsPresent && page.P2m.Type != Memory.P2mType.RamRo)
            {
                var host = s->MachineBase + page.P2m.MachineAddress + (linear & 0xFFF);
                CodeCache.Stored(s, host);
                Fill(s, linear, in page, AccessRights.Current);
                DataBreakpoint(s, linear, size, write: true);
                return host;
            }
        }

        // Two pages cannot be changed in one piece: the change has the memory for itself until it is committed.
        if (crosses)
        {
            // What is emulated has its pages brought before that, since who brings one may wait for other vCPUs.
            if (s->Override != AccessOverride.None && !Probe(s, segment, linear, size, AccessKind.Write, AccessRights.Current))
            {
                return null;
            }

            Cpu.Of(s).BeginExclusive();
        }

        var bytes = Probe(s, segment, linear, size, AccessKind.Write, AccessRights.Current)
            ? ReadAs(s, segment, linear, size, AccessRights.Current)
            : null;
        if (bytes == null)
        {
            Cpu.Of(s).EndExclusive();
            return null;
        }

        var bounce = (byte*)s->Bounce;
        if (bytes != bounce)
        {
            Buffer.MemoryCopy(bytes, bounce, MaxBytes, size);
        }

        return bounce;
    }

    /// <summary>Finishes a change whose bytes are in the bounce buffer.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static bool CommitBounce(CpuState* s, Insn* i, ulong linear, int size)
    {
        var copy = stackalloc byte[MaxBytes];
        Buffer.MemoryCopy(s->Bounce, copy, MaxBytes, size);
        var done = WriteBytes(s, (SegmentIndex)i->Seg, linear, copy, size, AccessRights.Current);
        Cpu.Of(s).EndExclusive();
        return done;
    }

    /// <summary>Little-endian load of 1, 2, 4 or 8 bytes.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static ulong Load(byte* p, int size) => size switch
    {
        1 => *p,
        2 => *(ushort*)p,
        4 => *(uint*)p,
        _ => *(ulong*)p,
    };

    /// <summary>What comes before the translation: an address fault found earlier, canonical form, alignment.</summary>
    private static bool Prepare(CpuState* s, SegmentIndex segment, ref ulong linear, int size, AccessKind kind, AccessRights rights)
    {
        if (s->Stop == StopReason.Fault)
        {
            return false; // the address computation failed already
        }

        if (CpuModes.IsLongMode(s))
        {
            if (CpuModes.Is64(s) && !(Mmu.IsCanonical(s, linear) && Mmu.IsCanonical(s, linear + (uint)size - 1)))
            {
                return Fault.Segment(s, segment);
            }
        }
        else
        {
            linear = (uint)linear;
        }

        if ((s->SlowAccess & SlowAccessReasons.AlignmentCheck) != 0 && rights == AccessRights.Current
            && size <= 8 && (linear & ((uint)size - 1)) != 0)
        {
            return Fault.Raise(s, Vector.AlignmentCheck, 0);
        }

        return true;
    }

    private static ulong NextPage(CpuState* s, ulong linear)
    {
        var next = (linear & Tlb.PageMask) + 4096;
        return CpuModes.IsLongMode(s) ? next : (uint)next;
    }

    private static byte* ReadPart(CpuState* s, ulong linear, int size, AccessRights rights, byte* buffer)
    {
        if (!Mmu.Translate(s, linear, AccessKind.Read, rights, out var page))
        {
            return null;
        }

        if ((s->Override & AccessOverride.ReadData) != 0 && rights == AccessRights.Current)
        {
            Cpu.Of(s).CopyEmulatedRead(buffer, size);
            return buffer;
        }

        if (!page.P2m.IsPresent)
        {
            DeviceRead(s, page.Gpa, size, buffer);
            return buffer;
        }

        Fill(s, linear, in page, rights);
        DataBreakpoint(s, linear, size, write: false);
        return s->MachineBase + page.P2m.MachineAddress + (linear & 0xFFF);
    }

    private static bool Commit(CpuState* s, ulong linear, in Translation page, byte* bytes, int size, AccessRights rights)
    {
        if ((s->Override & AccessOverride.DiscardWrites) != 0)
        {
            return true;
        }

        if (!page.P2m.IsPresent)
        {
            Cpu.Of(s).Host.WriteDevice(page.Gpa, size, Load8(bytes, size));
            return true;
        }

        if (page.P2m.Type == Memory.P2mType.RamRo)
        {
            return true; // only reached with rights ignored: writes to read-only RAM are dropped
        }

        var host = s->MachineBase + page.P2m.MachineAddress + (linear & 0xFFF);
        CodeCache.Stored(s, host);
        switch (size)
        {
            case 1: *host = *bytes; break;
            case 2: *(ushort*)host = *(ushort*)bytes; break;
            case 4: *(uint*)host = *(uint*)bytes; break;
            case 8: *(ulong*)host = *(ulong*)bytes; break;
            default: Buffer.MemoryCopy(bytes, host, size, size); break;
        }

        Fill(s, linear, in page, rights);
        DataBreakpoint(s, linear, size, write: true);
        return true;
    }

    /// <summary>Enters a translation into the bank in force, with every right that needs no second look.</summary>
    private static void Fill(CpuState* s, ulong linear, in Translation page, AccessRights rights)
    {
        if (s->SlowAccess != 0 || rights != AccessRights.Current)
        {
            return;
        }

        var tag = linear & Tlb.PageMask;
        var slot = Tlb.Slot(s->Tlb, linear);
        var invalid = Tlb.InvalidTag((int)(slot - s->Tlb));
        var host = s->MachineBase + page.P2m.MachineAddress;
        var readable = (page.P2m.Raw & Memory.P2mEntry.Readable) != 0;
        var writable = page.StoreReady && readable && (page.P2m.Raw & Memory.P2mEntry.Writable) != 0
            && (PageNotes.AboutToStore(ref s->PageInfo[page.P2m.MachineAddress >> 12]) & PageInfoBits.HasCode) == 0;
        if (slot->Read == invalid && slot->Write == invalid)
        {
            Tlb.NoteFill(s, slot);
        }

        slot->Read = readable ? tag : invalid;
        slot->Write = writable ? tag : invalid;
        slot->Addend = (ulong)host - tag;
        slot->Flags = page.Flags;
    }

    private static void DeviceRead(CpuState* s, ulong gpa, int size, byte* buffer)
    {
        if (size > 8 || !Cpu.Of(s).Host.ReadDevice(gpa, size, out var value))
        {
            // Nothing answers on the bus: all ones.
            new Span<byte>(buffer, size).Fill(0xFF);
            return;
        }

        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        bytes[..size].CopyTo(new Span<byte>(buffer, size));
    }

    private static ulong Load8(byte* bytes, int size) =>
        size is 1 or 2 or 4 or 8 ? Load(bytes, size) : MemoryMarshal.Read<ulong>(new ReadOnlySpan<byte>(bytes, 8));

    private static void DataBreakpoint(CpuState* s, ulong linear, int size, bool write)
    {
        if ((s->SlowAccess & SlowAccessReasons.DataBreakpoints) != 0)
        {
            DebugRegisters.MatchData(s, linear, size, write);
        }
    }
}
