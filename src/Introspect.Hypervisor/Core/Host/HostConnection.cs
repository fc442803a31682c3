using Introspect.Hypervisor.Linux;
using Microsoft.Win32.SafeHandles;

namespace Introspect.Hypervisor.Core.Host;

/// <summary>One end of a connection between a client and a host: whole calls over packets. One thread at a time uses it.</summary>
internal sealed class HostConnection : IDisposable
{
    // A call may be large once; the memory for it is not kept.
    private const int KeptBytes = 1024 * 1024;

    private readonly byte[] _outgoing = new byte[HostProtocol.MaxPacketBytes];
    private byte[] _incoming = new byte[HostProtocol.MaxPacketBytes];

    public HostConnection(UnixSocket socket) => Socket = socket;

    /// <summary>The socket.</summary>
    public UnixSocket Socket { get; }

    /// <summary>First part of the last message received.</summary>
    public Span<byte> Part0 => _incoming.AsSpan(HostHeader.SizeInBytes, Received.Length0);

    /// <summary>Second part of the last message received.</summary>
    public Span<byte> Part1 => _incoming.AsSpan(HostHeader.SizeInBytes + Received.Length0, Received.Length1);

    /// <summary>Third part of the last message received.</summary>
    public Span<byte> Part2 => _incoming.AsSpan(HostHeader.SizeInBytes + Received.Length0 + Received.Length1, Received.Length2);

    /// <summary>Header of the last message received.</summary>
    public HostHeader Received { get; private set; }

    /// <summary>Sends a message. The lengths in the header are those of the parts, whatever it says.</summary>
    public void Send(
        HostHeader header,
        ReadOnlySpan<byte> part0 = default,
        ReadOnlySpan<byte> part1 = default,
        ReadOnlySpan<byte> part2 = default,
        ReadOnlySpan<SafeFileHandle> descriptors = default)
    {
        header = header with { Length0 = part0.Length, Length1 = part1.Length, Length2 = part2.Length };
        if ((long)part0.Length + part1.Length + part2.Length > HostProtocol.MaxPayloadBytes)
        {
            throw new HypervisorException(Errno.E2BIG, $"a call of more than {HostProtocol.MaxPayloadBytes} bytes does not go over a socket: split it");
        }

        header.Write(_outgoing);
        var filled = HostHeader.SizeInBytes;
        Fill(part0, ref filled, ref descriptors);
        Fill(part1, ref filled, ref descriptors);
        Fill(part2, ref filled, ref descriptors);

        // A message has its header, so it is never empty; a packet that was just flushed leaves nothing behind.
        if (filled > 0)
        {
            Flush(ref filled, ref descriptors);
        }
    }

    /// <summary>Waits for a message.</summary>
    /// <param name="descriptors">Where descriptors go that come with it; null: none is wanted.</param>
    /// <returns>False when the peer is gone.</returns>
    /// <exception cref="HypervisorException">EBADMSG or EMSGSIZE: the peer does not speak the protocol.</exception>
    public bool TryReceive(List<SafeFileHandle>? descriptors = null)
    {
        Received = default;
        if (_incoming.Length > KeptBytes)
        {
            _incoming = new byte[HostProtocol.MaxPacketBytes];
        }

        var filled = Socket.Receive(_incoming.AsSpan(0, HostProtocol.MaxPacketBytes), descriptors);
        if (filled == 0)
        {
            return false;
        }

        if (!HostHeader.TryRead(_incoming.AsSpan(0, filled), out var header))
        {
            throw new HypervisorException(Errno.EBADMSG, $"a packet of {filled} bytes is no message");
        }

        var total = HostHeader.SizeInBytes + header.PayloadBytes;
        while (filled < total)
        {
            // Memory is taken as bytes arrive, not as they are promised.
            if (_incoming.Length < filled + HostProtocol.MaxPacketBytes)
            {
                Array.Resize(ref _incoming, Math.Max(_incoming.Length * 2, filled + HostProtocol.MaxPacketBytes));
            }

            var more = Socket.Receive(_incoming.AsSpan(filled, HostProtocol.MaxPacketBytes), descriptors);
            if (more == 0)
            {
                return false;
            }

            filled += more;
        }

        if (filled != total)
        {
            throw new HypervisorException(Errno.EBADMSG, $"a message has {filled} bytes where its header says {total}");
        }

        Received = header;
        return true;
    }

    /// <inheritdoc/>
    public void Dispose() => Socket.Dispose();

    private void Fill(ReadOnlySpan<byte> part, ref int filled, ref ReadOnlySpan<SafeFileHandle> descriptors)
    {
        while (part.Length > 0)
        {
            var room = Math.Min(_outgoing.Length - filled, part.Length);
            part[..room].CopyTo(_outgoing.AsSpan(filled));
            part = part[room..];
            filled += room;
            if (filled == _outgoing.Length)
            {
                Flush(ref filled, ref descriptors);
            }
        }
    }

    // Descriptors go with the first packet.
    private void Flush(ref int filled, ref ReadOnlySpan<SafeFileHandle> descriptors)
    {
        Socket.Send(_outgoing.AsSpan(0, filled), descriptors);
        descriptors = default;
        filled = 0;
    }
}
