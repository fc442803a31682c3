using System.Buffers.Binary;
using System.IO.Compression;

namespace Introspect.Hypervisor.Core.Saving;

/// <summary>How the contents of pages are written down.</summary>
internal enum PageEncoding : uint
{
    /// <summary>As they are.</summary>
    Plain = 0,

    /// <summary>All pages of the record behind each other, as one Brotli stream.</summary>
    Brotli = 1,
}

/// <summary>
/// Records of pages: how many (4), the encoding (4), the frames (8 each), the bytes. A guest's memory compresses well even
/// by the fastest means, and a record never decompresses to more than the pages that it says it has.
/// </summary>
internal sealed class SavedPages
{
    private const int Quality = 1;
    private const int WindowBits = 20;
    private const int PrefixBytes = 8;

    private readonly byte[] _contents = new byte[SavedFormat.PagesPerRecord * Gfn.PageSize];
    private readonly byte[] _encoded = new byte[SavedFormat.PagesPerRecord * Gfn.PageSize];
    private readonly byte[] _frames = new byte[PrefixBytes + (SavedFormat.PagesPerRecord * sizeof(ulong))];

    /// <summary>Pages waiting to be written.</summary>
    public int Count { get; private set; }

    /// <summary>No page has room any more.</summary>
    public bool IsFull => Count == SavedFormat.PagesPerRecord;

    /// <summary>Adds a page, unless it has nothing but zeros.</summary>
    public void Add(ulong gfn, ReadOnlySpan<byte> page)
    {
        if (!page.ContainsAnyExcept((byte)0))
        {
            return;
        }

        BinaryPrimitives.WriteUInt64LittleEndian(_frames.AsSpan(PrefixBytes + (Count * sizeof(ulong))), gfn);
        page.CopyTo(_contents.AsSpan(Count * Gfn.PageSize));
        Count++;
    }

    /// <summary>Writes the pages that wait as a record.</summary>
    public void WriteTo(SavedStreamWriter writer)
    {
        if (Count == 0)
        {
            return;
        }

        var plain = _contents.AsSpan(0, Count * Gfn.PageSize);
        var isSmaller = BrotliEncoder.TryCompress(plain, _encoded.AsSpan(0, plain.Length - 1), out var encoded, Quality, WindowBits);
        BinaryPrimitives.WriteInt32LittleEndian(_frames, Count);
        BinaryPrimitives.WriteUInt32LittleEndian(_frames.AsSpan(4), (uint)(isSmaller ? PageEncoding.Brotli : PageEncoding.Plain));
        writer.Write(SavedKind.Pages, _frames.AsSpan(0, PrefixBytes + (Count * sizeof(ulong))), isSmaller ? _encoded.AsSpan(0, encoded) : plain);
        Count = 0;
    }

    /// <summary>Checks what a record says of itself.</summary>
    /// <param name="reader">Stands at the record.</param>
    /// <param name="after">The frame behind the last one before it; the record's own move it on.</param>
    public static void Check(SavedStreamReader reader, ref ulong after)
    {
        var payload = reader.Payload;
        var count = payload.Length < PrefixBytes ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(payload);
        if (count is 0 or > SavedFormat.PagesPerRecord || PrefixBytes + (count * sizeof(ulong)) > (uint)payload.Length)
        {
            throw reader.Malformed($"it has {count} pages in {payload.Length} bytes");
        }

        var encoding = (PageEncoding)BinaryPrimitives.ReadUInt32LittleEndian(payload[4..]);
        var bytes = payload.Length - PrefixBytes - ((int)count * sizeof(ulong));
        if (encoding > PageEncoding.Brotli || (encoding == PageEncoding.Plain && bytes != (int)count * Gfn.PageSize))
        {
            throw reader.Malformed($"{bytes} bytes of encoding {(uint)encoding} are not {count} pages");
        }

        for (var n = 0; n < (int)count; n++)
        {
            var gfn = FrameAt(payload, n);
            if (gfn < after || gfn >= Memory.Physmap.DefaultEntryCount)
            {
                throw reader.Malformed($"frame 0x{gfn:x} is out of order");
            }

            after = gfn + 1;
        }
    }

    /// <summary>Gets the pages of a record that was checked.</summary>
    /// <returns>How many; <see cref="Page"/> and <see cref="FrameAt"/> tell them.</returns>
    public int Decode(SavedStreamReader reader)
    {
        var payload = reader.Payload;
        var count = (int)BinaryPrimitives.ReadUInt32LittleEndian(payload);
        var bytes = payload[(PrefixBytes + (count * sizeof(ulong)))..];
        var contents = _contents.AsSpan(0, count * Gfn.PageSize);
        if ((PageEncoding)BinaryPrimitives.ReadUInt32LittleEndian(payload[4..]) == PageEncoding.Plain)
        {
            bytes.CopyTo(contents);
        }
        else if (!BrotliDecoder.TryDecompress(bytes, contents, out var decoded) || decoded != contents.Length)
        {
            throw reader.Malformed($"it does not decompress to {count} pages");
        }

        return count;
    }

    /// <summary>A page of what was decoded.</summary>
    public ReadOnlySpan<byte> Page(int index) => _contents.AsSpan(index * Gfn.PageSize, Gfn.PageSize);

    /// <summary>The frame of a page of a record.</summary>
    public static ulong FrameAt(ReadOnlySpan<byte> payload, int index) =>
        BinaryPrimitives.ReadUInt64LittleEndian(payload[(PrefixBytes + (index * sizeof(ulong)))..]);
}
