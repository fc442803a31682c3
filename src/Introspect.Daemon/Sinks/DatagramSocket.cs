using System.Net;
using System.Net.Sockets;

namespace Introspect.Daemon.Sinks;

/// <summary>
/// Sends datagrams to one address, a unix socket's or a host's. The address is looked at for each datagram, so that a
/// receiver that was started anew is found again.
/// </summary>
internal sealed class DatagramSocket : IDisposable
{
    // A receiver that takes nothing for so long takes nothing.
    private const int SendTimeoutMilliseconds = 5000;

    private readonly Socket _socket;
    private readonly EndPoint _address;

    /// <summary>Makes a socket.</summary>
    public DatagramSocket(EndPoint address)
    {
        _address = address;
        _socket = address is UnixDomainSocketEndPoint
            ? new(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified)
            : new(address.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        _socket.SendTimeout = SendTimeoutMilliseconds;
    }

    /// <summary>Sends a datagram.</summary>
    /// <exception cref="IOException">Nobody is there, or nobody reads.</exception>
    /// <exception cref="RefusedException">No datagram can be so large.</exception>
    public void Send(ReadOnlySpan<byte> datagram)
    {
        try
        {
            _socket.SendTo(datagram, SocketFlags.None, _address);
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.MessageSize)
        {
            // It would be too large for ever, and hold up everything behind it where nothing is to be lost.
            throw new RefusedException($"{_address}: {e.Message} ({datagram.Length} bytes)", e) { IsOfThisRecord = true };
        }
        catch (SocketException e)
        {
            throw new IOException($"{_address}: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _socket.Dispose();
}
