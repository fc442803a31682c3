using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls.Guest;

namespace Introspect.Hypervisor.Core.Saving;

/// <summary>The form of a dumped core: ELF header, section headers, notes, vCPUs, shared info; then the pages; then their frame numbers and the names.</summary>
internal static class CoreDumpFile
{
    /// <summary><c>XC_CORE_MAGIC_HVM</c>.</summary>
    public const ulong Magic = 0xF00FEBEE;

    /// <summary><c>XEN_ELFNOTE_DUMPCORE_NONE</c>; header, version and format follow it.</summary>
    public const uint FirstNote = 0x2000000;

    private const int ElfHeaderBytes = 64;
    private const int SectionHeaderBytes = 64;
    private const int NotePrefixBytes = 16;
    private const int HeaderNoteBytes = 32;
    private const int VersionNoteBytes = 1280;
    private const int FormatNoteBytes = 8;
    private const int NotesBytes = (4 * NotePrefixBytes) + HeaderNoteBytes + VersionNoteBytes + FormatNoteBytes;

    private const uint TypeProgram = 1;
    private const uint TypeStrings = 3;
    private const uint TypeNote = 7;

    private static readonly string[] Names = ["", ".shstrtab", ".note.Xen", ".xen_prstatus", ".xen_shared_info", ".xen_pages", ".xen_pfn"];

    private static byte[] Strings => Encoding.ASCII.GetBytes(string.Concat(Names.Select(static name => name + "\0")));

    /// <summary>Writes what stands before the pages.</summary>
    public static void WriteHead(Stream stream, ReadOnlySpan<VcpuGuestContext> vcpus, ReadOnlySpan<byte> sharedInfo, int pages)
    {
        var contexts = MemoryMarshal.AsBytes(vcpus);
        var notes = ElfHeaderBytes + (Names.Length * SectionHeaderBytes);
        var prstatus = notes + NotesBytes;
        var shared = prstatus + contexts.Length;
        var end = shared + sharedInfo.Length;
        var first = (end + Gfn.PageSize - 1) & ~(Gfn.PageSize - 1);
        var frames = (ulong)first + ((ulong)pages * Gfn.PageSize);
        var strings = frames + ((ulong)pages * sizeof(ulong));

        var head = new byte[first];
        WriteElfHeader(head);
        WriteSection(head, 1, TypeStrings, strings, (ulong)Strings.Length, 0, 0);
        WriteSection(head, 2, TypeNote, (ulong)notes, NotesBytes, 0, 0);
        WriteSection(head, 3, TypeProgram, (ulong)prstatus, (ulong)contexts.Length, 8, VcpuGuestContext.SizeInBytes);
        WriteSection(head, 4, TypeProgram, (ulong)shared, (ulong)sharedInfo.Length, 8, Gfn.PageSize);
        WriteSection(head, 5, TypeProgram, (ulong)first, (ulong)pages * Gfn.PageSize, Gfn.PageSize, Gfn.PageSize);
        WriteSection(head, 6, TypeProgram, frames, (ulong)pages * sizeof(ulong), sizeof(ulong), sizeof(ulong));
        WriteNotes(head.AsSpan(notes, NotesBytes), (ulong)vcpus.Length, (ulong)pages);
        contexts.CopyTo(head.AsSpan(prstatus));
        sharedInfo.CopyTo(head.AsSpan(shared));
        stream.Write(head);
    }

    /// <summary>Writes what stands behind the pages.</summary>
    public static void WriteTail(Stream stream, ReadOnlySpan<ulong> frames)
    {
        stream.Write(MemoryMarshal.AsBytes(frames));
        stream.Write(Strings);
    }

    private static void WriteElfHeader(Span<byte> head)
    {
        // 64-bit, little-endian, version 1, System V; a core file of x86-64 without program headers.
        ((ReadOnlySpan<byte>)[0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1]).CopyTo(head);
        BinaryPrimitives.WriteUInt16LittleEndian(head[16..], 4);
        BinaryPrimitives.WriteUInt16LittleEndian(head[18..], 62);
        BinaryPrimitives.WriteUInt32LittleEndian(head[20..], 1);
        BinaryPrimitives.WriteUInt64LittleEndian(head[40..], ElfHeaderBytes);
        BinaryPrimitives.WriteUInt16LittleEndian(head[52..], ElfHeaderBytes);
        BinaryPrimitives.WriteUInt16LittleEndian(head[54..], 56);
        BinaryPrimitives.WriteUInt16LittleEndian(head[58..], SectionHeaderBytes);
        BinaryPrimitives.WriteUInt16LittleEndian(head[60..], (ushort)Names.Length);
        BinaryPrimitives.WriteUInt16LittleEndian(head[62..], 1);
    }

    private static void WriteSection(Span<byte> head, int index, uint type, ulong offset, ulong size, ulong alignment, ulong entry)
    {
        var header = head.Slice(ElfHeaderBytes + (index * SectionHeaderBytes), SectionHeaderBytes);
        var name = Names.Take(index).Sum(static before => before.Length + 1);
        BinaryPrimitives.WriteInt32LittleEndian(header, name);
        BinaryPrimitives.WriteUInt32LittleEndian(header[4..], type);
        BinaryPrimitives.WriteUInt64LittleEndian(header[24..], offset);
        BinaryPrimitives.WriteUInt64LittleEndian(header[32..], size);
        BinaryPrimitives.WriteUInt64LittleEndian(header[48..], alignment);
        BinaryPrimitives.WriteUInt64LittleEndian(header[56..], entry);
    }

    private static void WriteNotes(Span<byte> notes, ulong vcpus, ulong pages)
    {
        BeginNote(ref notes, 0, 0);
        var header = BeginNote(ref notes, 1, HeaderNoteBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(header, Magic);
        BinaryPrimitives.WriteUInt64LittleEndian(header[8..], vcpus);
        BinaryPrimitives.WriteUInt64LittleEndian(header[16..], pages);
        BinaryPrimitives.WriteUInt64LittleEndian(header[24..], Gfn.PageSize);

        // As XENVER_* answers a guest: numbers, extra version (16), compiler and who compiled (144), capabilities (1024), changeset (64).
        var version = BeginNote(ref notes, 2, VersionNoteBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(version, XenInterface.CoreMajor);
        BinaryPrimitives.WriteUInt64LittleEndian(version[8..], XenInterface.CoreMinor);
        Encoding.ASCII.GetBytes(GuestXenVersion.ExtraVersionText, version[16..]);
        Encoding.ASCII.GetBytes(".NET", version[32..]);
        Encoding.ASCII.GetBytes(GuestXenVersion.CapabilitiesText, version[176..]);
        BinaryPrimitives.WriteUInt64LittleEndian(version[1264..], GuestXenVersion.VirtStart64);
        BinaryPrimitives.WriteUInt64LittleEndian(version[1272..], Gfn.PageSize);

        var format = BeginNote(ref notes, 3, FormatNoteBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(format, 1);
    }

    // Returns the place of its content, and moves on behind it.
    private static Span<byte> BeginNote(ref Span<byte> notes, uint kind, int bytes)
    {
        BinaryPrimitives.WriteInt32LittleEndian(notes, 4);
        BinaryPrimitives.WriteInt32LittleEndian(notes[4..], bytes);
        BinaryPrimitives.WriteUInt32LittleEndian(notes[8..], FirstNote + kind);
        "Xen\0"u8.CopyTo(notes[12..]);
        var content = notes.Slice(NotePrefixBytes, bytes);
        notes = notes[(NotePrefixBytes + bytes)..];
        return content;
    }
}
