using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Tests.Saving;

/// <summary>Reads a dumped core as Xen's description of the format has it.</summary>
internal sealed class ReadCore
{
    private readonly byte[] _bytes;
    private readonly Dictionary<string, (uint Type, int Offset, int Size, ulong Entry)> _sections = [];

    public ReadCore(byte[] bytes)
    {
        _bytes = bytes;

        // ET_CORE of x86-64, 64-bit little-endian, sections and no segments.
        Assert.Equal([0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1, 1, 0], bytes[..8]);
        Assert.Equal((4, 62, 0), (U16(16), U16(18), U16(56)));
        var (table, size, count, names) = ((int)U64(40), U16(58), U16(60), U16(62));
        Assert.Equal(64, size);
        var strings = (int)U64(table + (names * size) + 24);
        for (var n = 0; n < count; n++)
        {
            var at = table + (n * size);
            var name = strings + (int)U32(at);
            var end = Array.IndexOf(bytes, (byte)0, name);
            _sections.Add(Encoding.ASCII.GetString(bytes, name, end - name), (U32(at + 4), (int)U64(at + 24), (int)U64(at + 32), U64(at + 56)));
        }

        Assert.All(_sections.Values, section => Assert.InRange(section.Offset + section.Size, 0, bytes.Length));
        Assert.Equal(0, _sections[".xen_pages"].Offset % Gfn.PageSize);
        var (notes, notesEnd) = (_sections[".note.Xen"].Offset, _sections[".note.Xen"].Offset + _sections[".note.Xen"].Size);
        for (var kind = 0u; notes < notesEnd; kind++)
        {
            var length = (int)U32(notes + 4);
            Assert.Equal((4u, 0x2000000u + kind, "Xen\0"), (U32(notes), U32(notes + 8), Encoding.ASCII.GetString(bytes, notes + 12, 4)));
            Assert.Equal(kind switch { 0 => 0, 1 => 32, 2 => 1280, _ => 8 }, length);
            switch (kind)
            {
                case 1:
                    Assert.Equal(0xF00FEBEEUL, U64(notes + 16));
                    Header = (U64(notes + 24), U64(notes + 32), U64(notes + 40));
                    break;
                case 2:
                    Assert.Equal((4UL, 17UL, 4096UL), (U64(notes + 16), U64(notes + 24), U64(notes + 16 + 1272)));
                    break;
                case 3:
                    Assert.Equal(1UL, U64(notes + 16));
                    break;
            }

            notes += 16 + length;
        }

        Assert.Equal(notesEnd, notes);
        Vcpus = MemoryMarshal.Cast<byte, VcpuGuestContext>(Section(".xen_prstatus")).ToArray();
        Frames = MemoryMarshal.Cast<byte, ulong>(Section(".xen_pfn")).ToArray();
        Assert.Equal(Frames.Length * Gfn.PageSize, _sections[".xen_pages"].Size);
        Assert.Equal(Gfn.PageSize, _sections[".xen_shared_info"].Size);
        Assert.Equal((5168UL, 4096UL, 8UL), (_sections[".xen_prstatus"].Entry, _sections[".xen_pages"].Entry, _sections[".xen_pfn"].Entry));
    }

    /// <summary>vCPUs, pages, bytes of a page.</summary>
    public (ulong Vcpus, ulong Pages, ulong PageSize) Header { get; }

    public VcpuGuestContext[] Vcpus { get; }

    public ulong[] Frames { get; }

    public byte[] Page(ulong gfn) => Section(".xen_pages").Slice(Array.BinarySearch(Frames, gfn) * Gfn.PageSize, Gfn.PageSize).ToArray();

    private ReadOnlySpan<byte> Section(string name) => _bytes.AsSpan(_sections[name].Offset, _sections[name].Size);

    private ushort U16(int at) => BinaryPrimitives.ReadUInt16LittleEndian(_bytes.AsSpan(at));

    private uint U32(int at) => BinaryPrimitives.ReadUInt32LittleEndian(_bytes.AsSpan(at));

    private ulong U64(int at) => BinaryPrimitives.ReadUInt64LittleEndian(_bytes.AsSpan(at));
}
