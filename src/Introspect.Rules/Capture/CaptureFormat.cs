namespace Introspect.Rules.Capture;

/// <summary>The numbers of the capture file format, version 1. docs/capture.md describes them byte by byte.</summary>
internal static class CaptureFormat
{
    /// <summary>The format version that is written, and the newest that is read.</summary>
    public const ushort Version = 1;

    /// <summary>Bytes before the first block.</summary>
    public const int PreludeBytes = 16;

    /// <summary>Bytes before a block's content.</summary>
    public const int BlockHeaderBytes = 32;

    /// <summary><c>BLOK</c>, read as a little-endian number.</summary>
    public const uint BlockMarker = 0x4b4f4c42;

    /// <summary>A block is closed when it has so many bytes before compression.</summary>
    public const int BlockTarget = 256 << 10;

    /// <summary>Most bytes that one record takes before compression.</summary>
    public const int MaxRecordBytes = 96 << 10;

    /// <summary>Most bytes that a block may have before and after compression.</summary>
    public const int MaxBlockBytes = 1 << 20;

    /// <summary>Most bytes of a text.</summary>
    public const int MaxTextBytes = 4 << 10;

    /// <summary>Most bytes of a console line.</summary>
    public const int MaxLineBytes = 48 << 10;

    /// <summary>Most vCPUs of a domain.</summary>
    public const int MaxVcpus = 1 << 16;

    /// <summary>Most entries of a list in the header.</summary>
    public const int MaxListed = 1 << 16;

    /// <summary>Most different handlers that the events of a block name.</summary>
    public const int MaxHandlers = 1 << 10;

    /// <summary>Most pieces of memory of one event.</summary>
    public const int MaxPieces = 256;

    /// <summary>Most bytes of memory of one event.</summary>
    public const int MaxMemoryBytes = 64 << 10;

    /// <summary>
    /// A transfer that changes line ends, cuts the eighth bit or is for terminals shows in these bytes, as in PNG's.
    /// </summary>
    public static ReadOnlySpan<byte> Magic => [0x89, (byte)'I', (byte)'V', (byte)'C', 0x0d, 0x0a, 0x1a, 0x0a];
}

/// <summary>What a block holds.</summary>
internal enum BlockKind : byte
{
    /// <summary>The header: the first block, and only that.</summary>
    Header = 1,

    /// <summary>Records.</summary>
    Records = 2,
}

/// <summary>How a block's content is stored.</summary>
internal enum BlockCompression : byte
{
    /// <summary>As it is.</summary>
    None = 0,

    /// <summary>Brotli (RFC 7932).</summary>
    Brotli = 1,
}

/// <summary>What a record is.</summary>
internal enum RecordKind : byte
{
    /// <summary>An event with its answer.</summary>
    Event = 1,

    /// <summary>Events that were handled and not recorded.</summary>
    Gap = 2,

    /// <summary>A line of the guest's console.</summary>
    Console = 3,

    /// <summary>The symbol at an address.</summary>
    Symbol = 4,

    /// <summary>How the recording ended: the last record.</summary>
    End = 5,
}

/// <summary>Bits of an event's byte of the verdict; the lowest two are the decision.</summary>
[Flags]
internal enum AnswerBits : byte
{
    None = 0,
    DecisionMask = 3,
    HasEffects = 1 << 2,
    HasView = 1 << 3,
    HasMemory = 1 << 4,
}
