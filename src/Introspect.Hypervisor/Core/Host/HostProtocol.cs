using System.Buffers.Binary;

namespace Introspect.Hypervisor.Core.Host;

/// <summary>Operations that a client asks a host for.</summary>
internal enum HostOperation : ushort
{
    None = 0,

    /// <summary>First of all, once: the version that the client speaks.</summary>
    Hello = 1,
    Domctl = 2,
    Sysctl = 3,
    HvmOp = 4,
    MemoryOp = 5,
    DmOp = 6,
    MapForeign = 7,
    UnmapForeign = 8,
    BindInterdomain = 9,
    Unbind = 10,
    GetDomainName = 11,
    SetDomainName = 12,
    ReadConsole = 13,

    /// <summary>Part 0: a <see cref="LabDescription"/>. Reply: a <see cref="Host.LabReport"/>. Refused (all of these): part 0 says why.</summary>
    LabCreate = 14,

    /// <summary>Domain, part 0: a <see cref="LabSaveRequest"/>.</summary>
    LabSave = 15,

    /// <summary>Part 0: a <see cref="LabRestoreRequest"/>. Reply: a <see cref="Host.LabReport"/>.</summary>
    LabRestore = 16,

    /// <summary>Part 0: a UUID; argument: milliseconds to wait for the end, 1000 at most. Reply: a <see cref="Host.LabReport"/>.</summary>
    LabReport = 17,

    /// <summary>Reply: a list of <see cref="Host.LabReport"/>.</summary>
    LabReportAll = 18,

    /// <summary>Part 0: a UUID; value: position; argument: milliseconds to wait, 1000 at most. Reply: the bytes, a <see cref="Host.LabReport"/>, the position behind the bytes.</summary>
    LabFollowConsole = 19,

    /// <summary>Part 0: a UUID, part 1: the bytes. Reply: how many were taken.</summary>
    LabWriteConsole = 20,

    /// <summary>Part 0: a UUID; value: a <see cref="LabPowerStep"/>; argument: milliseconds to wait for an answer, 1000 at most. Reply: a <see cref="LabPowerAnswer"/>.</summary>
    LabPower = 21,

    /// <summary>Domain, part 0: a <see cref="LabDumpRequest"/>.</summary>
    LabDumpCore = 22,
}

/// <summary>
/// How a client and a host talk: over packets that keep their bounds, one call after the other. The host speaks
/// first, a greeting; then each call is a header, up to three parts of bytes behind it, and goes on in further
/// packets when it does not fit one. A reply has the same form. Numbers are little-endian.
/// </summary>
internal static class HostProtocol
{
    /// <summary>Version spoken here.</summary>
    public const uint Version = 1;

    /// <summary>Bytes of a greeting: magic, version, status (0 or a negated errno), and nothing yet.</summary>
    public const int GreetingBytes = 24;

    /// <summary>Most bytes in a packet; the kernel's default socket buffer holds three.</summary>
    public const int MaxPacketBytes = 64 * 1024;

    /// <summary>Most bytes behind a header, all parts together.</summary>
    public const int MaxPayloadBytes = 16 * 1024 * 1024;

    /// <summary>Most pages in one mapping call; a client makes several calls for more.</summary>
    public const int MaxGfnsPerCall = 64 * 1024;

    /// <summary>Bytes of a run in a mapping's reply: descriptor index (4), pages (4), offset (8).</summary>
    public const int RunBytes = 16;

    /// <summary>Most bytes of a domain's name.</summary>
    public const int MaxNameBytes = 1024;

    private const ulong Magic = 0x54534f48_53544e49;

    /// <summary>Writes the greeting.</summary>
    public static void WriteGreeting(Span<byte> greeting, int status)
    {
        greeting.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(greeting, Magic);
        BinaryPrimitives.WriteUInt32LittleEndian(greeting[8..], Version);
        BinaryPrimitives.WriteInt32LittleEndian(greeting[12..], status);
    }

    /// <summary>Reads a greeting.</summary>
    /// <returns>False when it is none.</returns>
    public static bool TryReadGreeting(ReadOnlySpan<byte> greeting, out uint version, out int status)
    {
        (version, status) = (0, 0);
        if (greeting.Length != GreetingBytes || BinaryPrimitives.ReadUInt64LittleEndian(greeting) != Magic)
        {
            return false;
        }

        version = BinaryPrimitives.ReadUInt32LittleEndian(greeting[8..]);
        status = BinaryPrimitives.ReadInt32LittleEndian(greeting[12..]);
        return true;
    }
}

/// <summary>What stands before each call and each reply.</summary>
/// <param name="Operation">What is asked; a reply repeats it.</param>
/// <param name="Domain">Which domain it is about.</param>
/// <param name="Sequence">Number of the call; its reply repeats it.</param>
/// <param name="Argument">Call: the command. Reply: the result, 0 or more, or a negated errno.</param>
/// <param name="Value">A value whose meaning the operation says.</param>
/// <param name="Length0">Bytes of the first part.</param>
/// <param name="Length1">Bytes of the second part.</param>
/// <param name="Length2">Bytes of the third part.</param>
internal readonly record struct HostHeader(
    HostOperation Operation,
    ushort Domain,
    uint Sequence,
    int Argument,
    ulong Value = 0,
    int Length0 = 0,
    int Length1 = 0,
    int Length2 = 0)
{
    /// <summary>Bytes of a header.</summary>
    public const int SizeInBytes = 32;

    /// <summary>Bytes of all parts.</summary>
    public int PayloadBytes => Length0 + Length1 + Length2;

    /// <summary>Writes the header.</summary>
    public void Write(Span<byte> to)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(to, (ushort)Operation);
        BinaryPrimitives.WriteUInt16LittleEndian(to[2..], Domain);
        BinaryPrimitives.WriteUInt32LittleEndian(to[4..], Sequence);
        BinaryPrimitives.WriteInt32LittleEndian(to[8..], Argument);
        BinaryPrimitives.WriteInt32LittleEndian(to[12..], Length0);
        BinaryPrimitives.WriteInt32LittleEndian(to[16..], Length1);
        BinaryPrimitives.WriteInt32LittleEndian(to[20..], Length2);
        BinaryPrimitives.WriteUInt64LittleEndian(to[24..], Value);
    }

    /// <summary>Reads a header.</summary>
    /// <returns>False when a length in it cannot be.</returns>
    public static bool TryRead(ReadOnlySpan<byte> from, out HostHeader header)
    {
        header = default;
        if (from.Length < SizeInBytes)
        {
            return false;
        }

        header = new(
            (HostOperation)BinaryPrimitives.ReadUInt16LittleEndian(from),
            BinaryPrimitives.ReadUInt16LittleEndian(from[2..]),
            BinaryPrimitives.ReadUInt32LittleEndian(from[4..]),
            BinaryPrimitives.ReadInt32LittleEndian(from[8..]),
            BinaryPrimitives.ReadUInt64LittleEndian(from[24..]),
            BinaryPrimitives.ReadInt32LittleEndian(from[12..]),
            BinaryPrimitives.ReadInt32LittleEndian(from[16..]),
            BinaryPrimitives.ReadInt32LittleEndian(from[20..]));
        return Fits(header.Length0) && Fits(header.Length1) && Fits(header.Length2)
            && (long)header.Length0 + header.Length1 + header.Length2 <= HostProtocol.MaxPayloadBytes;
    }

    private static bool Fits(int length) => length is >= 0 and <= HostProtocol.MaxPayloadBytes;
}
