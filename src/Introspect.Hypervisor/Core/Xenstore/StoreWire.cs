using System.Buffers.Binary;

namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>Types of messages (<c>enum xsd_sockmsg_type</c>).</summary>
internal enum StoreMessage : uint
{
    Control = 0,
    Directory = 1,
    Read = 2,
    GetPerms = 3,
    Watch = 4,
    Unwatch = 5,
    TransactionStart = 6,
    TransactionEnd = 7,
    Introduce = 8,
    Release = 9,
    GetDomainPath = 10,
    Write = 11,
    MakeDirectory = 12,
    Remove = 13,
    SetPerms = 14,
    WatchEvent = 15,
    Error = 16,
    IsDomainIntroduced = 17,
    Resume = 18,
    SetTarget = 19,
    ResetWatches = 21,
    DirectoryPart = 22,
}

/// <summary>What stands before the payload of every message, in both directions (<c>struct xsd_sockmsg</c>).</summary>
internal readonly record struct StoreHeader(StoreMessage Type, uint RequestId, uint TransactionId, uint Length)
{
    /// <summary>Bytes of a header.</summary>
    public const int SizeInBytes = 16;

    /// <summary>Reads a header.</summary>
    public static StoreHeader Read(ReadOnlySpan<byte> from) => new(
        (StoreMessage)BinaryPrimitives.ReadUInt32LittleEndian(from),
        BinaryPrimitives.ReadUInt32LittleEndian(from[4..]),
        BinaryPrimitives.ReadUInt32LittleEndian(from[8..]),
        BinaryPrimitives.ReadUInt32LittleEndian(from[12..]));

    /// <summary>A message: this header and a payload, whose length it takes.</summary>
    public byte[] With(ReadOnlySpan<byte> payload)
    {
        var message = new byte[SizeInBytes + payload.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(message, (uint)Type);
        BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(4), RequestId);
        BinaryPrimitives.WriteUInt32LittleEndian(message.AsSpan(8), TransactionId);
        BinaryPrimitives.WriteInt32LittleEndian(message.AsSpan(12), payload.Length);
        payload.CopyTo(message.AsSpan(SizeInBytes));
        return message;
    }
}

/// <summary>The protocol's constants (public/io/xs_wire.h).</summary>
internal static class StoreWire
{
    /// <summary>Most bytes of a payload. Who sends more is not listened to any longer.</summary>
    public const int MostPayload = 4096;

    /// <summary>What a guest can make use of: reconnecting, the error field, watches with a depth.</summary>
    public const uint Features = 1 | 2 | 4;

    /// <summary>The name under which the protocol knows an error; of one that it does not know, EINVAL.</summary>
    public static string NameOf(Errno error) => error switch
    {
        Errno.EACCES or Errno.EEXIST or Errno.EISDIR or Errno.ENOENT or Errno.ENOMEM or Errno.ENOSPC or Errno.EIO
            or Errno.ENOTEMPTY or Errno.ENOSYS or Errno.EROFS or Errno.EBUSY or Errno.EAGAIN or Errno.EISCONN
            or Errno.E2BIG or Errno.EPERM => error.ToString(),
        _ => nameof(Errno.EINVAL),
    };
}

/// <summary>Why a connection is not served any longer, as the ring's error field says it.</summary>
internal enum StoreFault : uint
{
    None = 0,

    /// <summary>An index of the ring cannot be.</summary>
    RingIndex = 2,

    /// <summary>A payload was longer than the protocol allows.</summary>
    Protocol = 3,
}
