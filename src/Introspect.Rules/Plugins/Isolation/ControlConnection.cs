using System.Buffers.Binary;
using System.Text.Json;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Linux;
using Microsoft.Win32.SafeHandles;

namespace Introspect.Rules.Plugins.Isolation;

/// <summary>
/// Control messages over a socket: the length in the first packet, the bytes of JSON in as many as it takes. Any thread
/// sends; one receives.
/// </summary>
internal sealed class ControlConnection(UnixSocket socket) : IDisposable
{
    private const int PacketBytes = 32 * 1024;
    private const int MostBytes = 16 * 1024 * 1024;

    private readonly Lock _sending = new();
    private readonly byte[] _packet = new byte[PacketBytes];

    /// <summary>The socket, whose hang-up means that the other end is gone.</summary>
    public SafeFileHandle Lifeline => socket.Handle;

    /// <summary>Who is at the other end.</summary>
    public PeerCredentials Peer => socket.GetPeer();

    /// <summary>Sends a message, and descriptors with it, which stay ours.</summary>
    /// <exception cref="HypervisorException">The other end is gone, or does not read.</exception>
    public void Send(ControlMessage message, params ReadOnlySpan<SafeFileHandle> descriptors)
    {
        var bytes = JsonSerializer.SerializeToUtf8Bytes(message, ControlJson.Default.ControlMessage);
        Span<byte> length = stackalloc byte[sizeof(int)];
        BinaryPrimitives.WriteInt32LittleEndian(length, bytes.Length);
        lock (_sending)
        {
            socket.Send(length, descriptors);
            foreach (var part in bytes.Chunk(PacketBytes))
            {
                socket.Send(part);
            }
        }
    }

    /// <summary>Waits for a message.</summary>
    /// <param name="descriptors">Where those go that come with it.</param>
    /// <returns>Null when the other end is gone.</returns>
    /// <exception cref="HypervisorException">What comes is no message.</exception>
    public ControlMessage? Receive(List<SafeFileHandle>? descriptors = null)
    {
        var received = socket.Receive(_packet, descriptors);
        if (received == 0)
        {
            return null;
        }

        var length = received == sizeof(int) ? BinaryPrimitives.ReadInt32LittleEndian(_packet) : -1;
        if (length is <= 0 or > MostBytes)
        {
            throw Nonsense();
        }

        var bytes = new byte[length];
        for (var filled = 0; filled < length; filled += received)
        {
            received = socket.Receive(_packet);
            if (received == 0)
            {
                return null;
            }

            if (received > length - filled)
            {
                throw Nonsense();
            }

            _packet.AsSpan(0, received).CopyTo(bytes.AsSpan(filled));
        }

        try
        {
            return JsonSerializer.Deserialize(bytes, ControlJson.Default.ControlMessage) ?? throw Nonsense();
        }
        catch (JsonException)
        {
            throw Nonsense();
        }
    }

    /// <summary>Ends the connection; who receives wakes up.</summary>
    public void Shutdown() => socket.Shutdown();

    /// <inheritdoc/>
    public void Dispose() => socket.Dispose();

    private static HypervisorException Nonsense() => new(Errno.EBADMSG, "a plugin's process and the monitor do not understand each other: use the same release for both");
}
