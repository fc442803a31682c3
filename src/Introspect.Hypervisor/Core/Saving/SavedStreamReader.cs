using System.Buffers.Binary;

namespace Introspect.Hypervisor.Core.Saving;

/// <summary>Where a record is.</summary>
/// <param name="Number">Which it is.</param>
/// <param name="Kind">Its kind.</param>
/// <param name="Start">Where it begins.</param>
internal readonly record struct SavedPlace(ulong Number, SavedKind Kind, ulong Start);

/// <summary>
/// Reads the records of a saved domain from bytes that anybody may have made: nothing is believed before its checksum was
/// seen to be right, and no more memory is taken than the largest record there can be.
/// </summary>
internal sealed class SavedStreamReader
{
    private readonly Stream _stream;
    private readonly string _name;
    private readonly byte[] _prefix = new byte[SavedFormat.PrefixBytes];
    private byte[] _payload = [];
    private int _length;
    private uint _checksum = Crc32C.Empty;
    private ulong _records;
    private ulong _bytes;
    private ulong _start;
    private ulong _number;
    private SavedKind _before = SavedKind.End;

    /// <summary>Reads the header.</summary>
    /// <param name="stream">The bytes.</param>
    /// <param name="name">What they are called where something is wrong with them.</param>
    /// <exception cref="HypervisorException">It is no saved domain, or one of another format.</exception>
    public SavedStreamReader(Stream stream, string name)
    {
        (_stream, _name) = (stream, name);
        Span<byte> header = stackalloc byte[SavedFormat.HeaderBytes];
        if (stream.ReadAtLeast(header, header.Length, throwOnEndOfStream: false) != header.Length || !header.StartsWith(SavedFormat.Magic))
        {
            throw new HypervisorException(Errno.EINVAL, $"'{name}' is no saved domain: name a file that 'save' wrote");
        }

        // The checksum of another version may be elsewhere.
        if (BinaryPrimitives.ReadUInt32LittleEndian(header[16..]) is var version && version != SavedFormat.Version)
        {
            throw new HypervisorException(Errno.EOPNOTSUPP, $"'{name}' is a saved domain of format version {version}, and this release reads version {SavedFormat.Version}: restore it with the release that saved it");
        }

        if (BinaryPrimitives.ReadUInt32LittleEndian(header[SavedFormat.HeaderChecksum..]) != Crc32C.Of(header[..SavedFormat.HeaderChecksum]))
        {
            throw new HypervisorException(Errno.EBADMSG, $"'{name}': the checksum of its header is wrong, so the file was altered: use another copy of it");
        }

        if (BinaryPrimitives.ReadUInt32LittleEndian(header[20..]) is var architecture && architecture != SavedFormat.ArchitectureX86)
        {
            throw new HypervisorException(Errno.EOPNOTSUPP, $"'{name}' is a saved domain of architecture {architecture}, and this core runs x86 (1): restore it where it ran");
        }

        Take(header);
    }

    /// <summary>Kind of the record that was read last.</summary>
    public SavedKind Kind { get; private set; }

    /// <summary>Its payload, until the next one is read.</summary>
    public ReadOnlySpan<byte> Payload => _payload.AsSpan(0, _length);

    /// <summary>Where it is.</summary>
    public SavedPlace Place => new(_number, Kind, _start);

    /// <summary>Reads a record and checks it.</summary>
    /// <returns>False at the end, which was checked.</returns>
    /// <exception cref="HypervisorException">It is not what was written, or nothing that this release knows.</exception>
    public bool Next()
    {
        (_start, _number) = (_bytes, _records);
        var checksumBefore = _checksum;
        Fill(_prefix);
        Kind = (SavedKind)BinaryPrimitives.ReadUInt32LittleEndian(_prefix);
        if (BinaryPrimitives.ReadUInt32LittleEndian(_prefix.AsSpan(12)) != Crc32C.Of(_prefix.AsSpan(0, 12)))
        {
            throw Altered("the checksum of its prefix is wrong");
        }

        var most = SavedFormat.MostBytes(Kind);
        if (most < 0)
        {
            throw Refuse(Errno.EOPNOTSUPP, $"this release does not know kind {(uint)Kind}: restore it with the release that saved it");
        }

        var length = BinaryPrimitives.ReadUInt32LittleEndian(_prefix.AsSpan(4));
        if (length > (uint)most)
        {
            throw Refuse(Errno.EINVAL, $"it has {length} bytes where {most} are the most: use another copy of the file");
        }

        _length = (int)length;
        if (_payload.Length < _length)
        {
            _payload = new byte[Math.Max(_length, 64 * 1024)];
        }

        Fill(_payload.AsSpan(0, _length));
        if (BinaryPrimitives.ReadUInt32LittleEndian(_prefix.AsSpan(8)) != Crc32C.Of(Payload))
        {
            throw Altered("its checksum is wrong");
        }

        if (Kind == SavedKind.End)
        {
            CheckEnd(checksumBefore);
            return false;
        }

        if (Kind < _before || (Kind == _before && !SavedFormat.MayRepeat(Kind)))
        {
            throw Refuse(Errno.EINVAL, $"it comes behind one of kind {Describe(_before)}, which no release writes: use another copy of the file");
        }

        _before = Kind;
        _records++;
        return true;
    }

    /// <summary>What is wrong with the record that was read last, in one line.</summary>
    /// <param name="error">Error number.</param>
    /// <param name="what">What is wrong, and what to do.</param>
    public HypervisorException Refuse(Errno error, string what) => Refuse(Place, error, what);

    /// <summary>What is wrong with a record that was read before.</summary>
    public HypervisorException Refuse(SavedPlace place, Errno error, string what) =>
        new(error, $"'{_name}': record {place.Number} ({Describe(place.Kind)}) at byte {place.Start}: {what}");

    /// <summary>The record has nothing that this release could have written.</summary>
    public HypervisorException Malformed(string what) => Refuse(Errno.EINVAL, $"{what}: use another copy of the file, or save the domain again");

    private static string Describe(SavedKind kind) => Enum.IsDefined(kind) ? kind.ToString() : $"kind {(uint)kind}";

    private void CheckEnd(uint checksum)
    {
        if (_length != SavedFormat.EndBytes
            || BinaryPrimitives.ReadUInt64LittleEndian(Payload) != _records
            || BinaryPrimitives.ReadUInt64LittleEndian(Payload[8..]) != _start
            || BinaryPrimitives.ReadUInt32LittleEndian(Payload[16..]) != checksum)
        {
            throw Altered("it is not the end of what comes before it");
        }

        Span<byte> one = stackalloc byte[1];
        if (_stream.Read(one) != 0)
        {
            throw Altered("there is something behind the end");
        }
    }

    private HypervisorException Altered(string what) => Refuse(Errno.EBADMSG, $"{what}, so the file was altered: use another copy of it");

    private void Fill(Span<byte> place)
    {
        if (_stream.ReadAtLeast(place, place.Length, throwOnEndOfStream: false) != place.Length)
        {
            throw new HypervisorException(Errno.EBADMSG, $"'{_name}' ends in record {_records} at byte {_start}, so it was cut off: use another copy of it");
        }

        Take(place);
    }

    private void Take(ReadOnlySpan<byte> bytes)
    {
        _checksum = Crc32C.Append(_checksum, bytes);
        _bytes += (ulong)bytes.Length;
    }
}
