using System.Buffers.Binary;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>
/// An image's symbol table as BSD kernels want it behind themselves: a 32-bit size, an ELF header with three section
/// headers (none, the symbols, their names), then the two tables. What it occupies is known before anything is written,
/// so that what else is loaded goes behind it.
/// </summary>
internal sealed class BsdSymbols
{
    /// <summary>The size word counts neither itself nor the padding at the end.</summary>
    public const int SizeWord = sizeof(uint);

    /// <summary>e_shoff: the section headers stand behind room for the larger class's header, in both classes.</summary>
    public const int SectionHeadersAt = 64;

    /// <summary>Room for the size word, the header and the section headers of the larger class; the tables lie behind it.</summary>
    public const int HeadersSize = SizeWord + SectionHeadersAt + (SectionCount * 64);

    private const int SectionCount = 3;
    private const int SymbolsIndex = 1;
    private const int NamesIndex = 2;

    private readonly ElfImage _image;
    private readonly ElfSymbolSections _sections;

    private BsdSymbols(ElfImage image, ElfSymbolSections sections, ulong kernelEnd)
    {
        (_image, _sections) = (image, sections);
        Start = RoundUp(kernelEnd);
        SymbolsAddress = RoundUp(Start + HeadersSize);
        NamesAddress = RoundUp(SymbolsAddress + sections.Symbols.Size);
        End = RoundUp(NamesEnd);
    }

    /// <summary>Where the size word stands.</summary>
    public ulong Start { get; }

    /// <summary>Where the symbols stand.</summary>
    public ulong SymbolsAddress { get; }

    /// <summary>Where their names stand.</summary>
    public ulong NamesAddress { get; }

    /// <summary>The first address behind all of it.</summary>
    public ulong End { get; }

    private ulong NamesEnd => NamesAddress + _sections.Names.Size;

    /// <summary>Where the symbols go, when the image asks for them and has a table that is not damaged; else null.</summary>
    /// <param name="image">The image.</param>
    /// <param name="kernelEnd">The first address behind its segments, below the end of the address space.</param>
    public static BsdSymbols? Plan(ElfImage image, ulong kernelEnd) =>
        image.XenInfo.WantsBsdSymbols && image.SymbolSections is { } sections ? new(image, sections, kernelEnd) : null;

    /// <summary>Writes all of it, the padding too.</summary>
    public void Write(IGuestLoader guest)
    {
        byte[] headers = new byte[SymbolsAddress - Start];
        WriteHeaders(headers);
        guest.WritePhysical(Start, headers);
        WriteTable(guest, SymbolsAddress, _sections.Symbols, NamesAddress);
        WriteTable(guest, NamesAddress, _sections.Names, End);
    }

    private void WriteTable(IGuestLoader guest, ulong address, in ElfSection section, ulong next)
    {
        ReadOnlySpan<byte> content = _image.Content(section).Span;
        guest.WritePhysical(address, content);
        ulong end = address + (ulong)content.Length;
        guest.Clear(end, next - end);
    }

    private void WriteHeaders(Span<byte> headers)
    {
        bool is64 = _image.Is64;
        ulong headerAddress = Start + SizeWord;
        int stride = ElfFormat.SectionHeaderSize(is64);
        BinaryPrimitives.WriteUInt32LittleEndian(headers, (uint)(NamesEnd - headerAddress));

        Span<byte> header = headers[SizeWord..];
        _image.HeaderBytes.Span.CopyTo(header);
        Put32(header[20..], 1);
        PutWord(header, 28, 32, 0);
        PutWord(header, 32, 40, SectionHeadersAt);
        Span<byte> sizes = header[(is64 ? 52 : 40)..];
        Put16(sizes, (ushort)ElfFormat.HeaderSize(is64));
        Put16(sizes[2..], 0);
        Put16(sizes[4..], 0);
        Put16(sizes[6..], (ushort)stride);
        Put16(sizes[8..], SectionCount);
        Put16(sizes[10..], ElfFormat.SectionUndefined);

        // The first section header is all zeros.
        Span<byte> sections = header[SectionHeadersAt..];
        Span<byte> symbols = sections.Slice(SymbolsIndex * stride, stride);
        _image.SectionHeaderBytes(_sections.Symbols).Span.CopyTo(symbols);
        PutWord(symbols, 16, 24, SymbolsAddress - headerAddress);
        Put32(symbols[(is64 ? 40 : 24)..], NamesIndex);
        Span<byte> names = sections.Slice(NamesIndex * stride, stride);
        _image.SectionHeaderBytes(_sections.Names).Span.CopyTo(names);
        PutWord(names, 16, 24, NamesAddress - headerAddress);
    }

    private void PutWord(Span<byte> at, int offset32, int offset64, ulong value)
    {
        if (_image.Is64)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(at[offset64..], value);
        }
        else
        {
            Put32(at[offset32..], (uint)value);
        }
    }

    private static void Put32(Span<byte> at, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(at, value);

    private static void Put16(Span<byte> at, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(at, value);

    private ulong RoundUp(ulong address)
    {
        ulong alignment = _image.Is64 ? 8UL : 4UL;
        return (address + alignment - 1) & ~(alignment - 1);
    }
}
