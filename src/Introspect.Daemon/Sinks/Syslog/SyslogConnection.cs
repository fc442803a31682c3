using System.Buffers;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace Introspect.Daemon.Sinks.Syslog;

/// <summary>The way to a syslog server.</summary>
internal interface ISyslogConnection : IDisposable
{
    /// <summary>Sends a message, or takes it to be sent.</summary>
    /// <exception cref="IOException">It was not taken.</exception>
    void Send(ReadOnlySpan<byte> message);

    /// <summary>Sends what was taken.</summary>
    /// <exception cref="IOException">It could not be sent, and still waits.</exception>
    void Flush();

    /// <summary>Messages that were taken and are not sent yet.</summary>
    int Held { get; }
}

/// <summary>A message a datagram.</summary>
internal sealed class SyslogDatagrams : ISyslogConnection
{
    private readonly SyslogAddress _address;
    private DatagramSocket? _socket;

    /// <summary>Makes the way; the name is looked up with the first message.</summary>
    public SyslogDatagrams(SyslogAddress address) => _address = address;

    /// <inheritdoc/>
    public void Send(ReadOnlySpan<byte> message)
    {
        _socket ??= new(_address.Transport == SyslogTransport.Unix ? new UnixDomainSocketEndPoint(_address.Host) : Resolve(_address));
        _socket.Send(message);
    }

    /// <inheritdoc/>
    public int Held => 0;

    /// <inheritdoc/>
    public void Flush()
    {
    }

    /// <inheritdoc/>
    public void Dispose() => _socket?.Dispose();

    private static IPEndPoint Resolve(SyslogAddress address)
    {
        try
        {
            return new(IPAddress.TryParse(address.Host, out var number) ? number : Dns.GetHostAddresses(address.Host)[0], address.Port);
        }
        catch (SocketException e)
        {
            throw new IOException($"{address}: {e.Message}", e);
        }
    }
}

/// <summary>
/// Messages in a stream, each with its length before it. What could not be sent is sent again by the next connection,
/// so that a server that is started anew may see a message twice and misses none that it did not take.
/// </summary>
internal sealed class SyslogStream(SyslogAddress address, TimeProvider time) : ISyslogConnection
{
    private const int MaxWaitingBytes = 1 << 16;
    private const int TimeoutMilliseconds = 5000;

    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(500);

    private readonly ArrayBufferWriter<byte> _waiting = new(4096);
    private Socket? _socket;
    private (long Since, string Why)? _failed;

    /// <inheritdoc/>
    public void Send(ReadOnlySpan<byte> message)
    {
        if (_waiting.WrittenCount >= MaxWaitingBytes)
        {
            Flush();
        }

        Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{message.Length} "), _waiting);
        _waiting.Write(message);
        Held++;
    }

    /// <inheritdoc/>
    public int Held { get; private set; }

    /// <inheritdoc/>
    public void Flush()
    {
        if (_waiting.WrittenCount == 0)
        {
            return;
        }

        if (_failed is { } failed && time.GetElapsedTime(failed.Since) < Rest)
        {
            throw new IOException(failed.Why);
        }

        try
        {
            // A server that closed the connection would take the first write into nothing.
            if (_socket is { } open && open.Poll(0, SelectMode.SelectRead))
            {
                Close();
            }

            _socket ??= Connect();
            var left = _waiting.WrittenSpan;
            while (left.Length != 0)
            {
                left = left[_socket.Send(left)..];
            }

            _waiting.ResetWrittenCount();
            Held = 0;
            _failed = null;
        }
        catch (Exception e) when (e is SocketException or AggregateException)
        {
            Close();
            var why = $"{address}: {(e.InnerException ?? e).Message}";
            _failed = (time.GetTimestamp(), why);
            throw new IOException(why, e);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Close();

    private Socket Connect()
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true, SendTimeout = TimeoutMilliseconds };
        try
        {
            return socket.ConnectAsync(address.Host, address.Port).Wait(TimeoutMilliseconds) ? socket : throw new SocketException((int)SocketError.TimedOut);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private void Close()
    {
        _socket?.Dispose();
        _socket = null;
    }
}
