using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Introspect.Hypervisor.Linux;

/// <summary>Who is at the other end of a unix socket, as the kernel vouches for it.</summary>
/// <param name="Pid">Process, at the time of connecting.</param>
/// <param name="Uid">Effective user.</param>
/// <param name="Gid">Effective group.</param>
internal readonly record struct PeerCredentials(int Pid, uint Uid, uint Gid);

/// <summary>A unix socket that carries whole packets in order (SOCK_SEQPACKET) and, with them, descriptors.</summary>
internal sealed class UnixSocket : IDisposable
{
    private const int MaxPathBytes = 107;
    private const int AddressBytes = 110;

    private UnixSocket(SafeFileHandle handle) => Handle = handle;

    /// <summary>The descriptor.</summary>
    public SafeFileHandle Handle { get; }

    /// <summary>The user that this process acts as.</summary>
    public static uint EffectiveUser => Libc.GetEUid();

    /// <summary>Listens at a path.</summary>
    /// <param name="path">Where.</param>
    /// <param name="backlog">How many may wait to be accepted.</param>
    /// <param name="mode">Permissions of the socket: who may write to it may connect.</param>
    /// <exception cref="HypervisorException">EADDRINUSE: something is at the path already.</exception>
    public static unsafe UnixSocket Listen(string path, int backlog, uint mode = 0x1b6)
    {
        var socket = Create();
        try
        {
            var address = stackalloc byte[AddressBytes];
            var length = FillAddress(path, address);

            // SAFETY: the address is on the stack and as long as is said.
            if (Libc.Bind(socket.Handle, address, length) != 0)
            {
                throw Libc.Failure($"cannot listen at '{path}': remove what is there or choose another path");
            }

            if (Libc.Chmod(path, mode) != 0)
            {
                throw Libc.Failure($"setting the permissions of '{path}' failed");
            }

            return Libc.Listen(socket.Handle, backlog) == 0 ? socket : throw Libc.Failure($"cannot listen at '{path}'");
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>True when a socket, listened at or left behind, is at the path.</summary>
    public static bool IsSocket(string path)
    {
        var fd = Libc.Open(path, Libc.ONonBlock | Libc.OCloexec, 0);
        if (fd >= 0)
        {
            new SafeFileHandle(fd, ownsHandle: true).Dispose();
            return false;
        }

        // A socket is the one kind of file that cannot be opened at all.
        return Libc.LastError == Errno.ENXIO;
    }

    /// <summary>Connects to a path.</summary>
    /// <exception cref="HypervisorException">ENOENT or ECONNREFUSED: nobody listens there.</exception>
    public static unsafe UnixSocket Connect(string path)
    {
        var socket = Create();
        try
        {
            var address = stackalloc byte[AddressBytes];
            var length = FillAddress(path, address);

            // SAFETY: the address is on the stack and as long as is said.
            while (Libc.Connect(socket.Handle, address, length) != 0)
            {
                if (Libc.LastError != Errno.EINTR)
                {
                    throw Libc.Failure($"cannot connect to '{path}': is a host running there?");
                }
            }

            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Two sockets connected to each other.</summary>
    public static unsafe (UnixSocket First, UnixSocket Second) Pair()
    {
        var fds = stackalloc int[2];

        // SAFETY: the kernel writes two numbers to the stack.
        return Libc.SocketPair(Libc.AfUnix, Libc.SockSeqPacket | Libc.SockCloexec, 0, fds) == 0
            ? (Own(fds[0]), Own(fds[1]))
            : throw Libc.Failure("making a pair of sockets failed");
    }

    /// <summary>Waits for a connection; null when the socket was shut down.</summary>
    public unsafe UnixSocket? Accept()
    {
        while (true)
        {
            // SAFETY: no address is asked for.
            var fd = Libc.Accept4(Handle, null, null, Libc.SockCloexec);
            if (fd >= 0)
            {
                return Own(fd);
            }

            switch (Libc.LastError)
            {
                case Errno.EINVAL:
                    return null;

                // The peer went away before it was accepted, or a signal came.
                case Errno.EINTR:
                case Libc.ConnectionAborted:
                    continue;
                default:
                    throw Libc.Failure("accepting a connection failed");
            }
        }
    }

    /// <summary>Who connected.</summary>
    public unsafe PeerCredentials GetPeer()
    {
        var credentials = default(Libc.UCred);
        var length = (uint)sizeof(Libc.UCred);

        // SAFETY: the kernel writes at most the length given to a local.
        return Libc.GetSockOpt(Handle, Libc.SolSocket, Libc.SoPeerCred, &credentials, &length) == 0
            ? new(credentials.Pid, credentials.Uid, credentials.Gid)
            : throw Libc.Failure("asking who is at the other end of a socket failed");
    }

    /// <summary>Makes a send to a peer that does not read fail with EAGAIN after a time.</summary>
    public unsafe void SetSendTimeout(TimeSpan timeout)
    {
        // struct timeval has the two words of struct timespec, the second in microseconds.
        var value = new Libc.TimeSpec { Seconds = (long)timeout.TotalSeconds, Nanoseconds = timeout.Ticks % TimeSpan.TicksPerSecond / 10 };

        // SAFETY: the kernel reads a local.
        if (Libc.SetSockOpt(Handle, Libc.SolSocket, Libc.SoSndTimeo, &value, (uint)sizeof(Libc.TimeSpec)) != 0)
        {
            throw Libc.Failure("setting a socket's send timeout failed");
        }
    }

    /// <summary>Sends a packet, and descriptors with it. The descriptors stay ours.</summary>
    /// <exception cref="HypervisorException">EPIPE: the peer is gone; EAGAIN: it does not read.</exception>
    public unsafe void Send(ReadOnlySpan<byte> packet, ReadOnlySpan<SafeFileHandle> descriptors = default)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(descriptors.Length, Libc.ScmMaxFd);
        var headerBytes = sizeof(Libc.CmsgHdr);
        var controlBytes = descriptors.Length == 0 ? 0 : headerBytes + (((descriptors.Length * sizeof(int)) + 7) & ~7);
        var control = stackalloc ulong[(controlBytes / sizeof(ulong)) + 1];
        var held = 0;
        try
        {
            if (descriptors.Length > 0)
            {
                *(Libc.CmsgHdr*)control = new Libc.CmsgHdr
                {
                    Length = (nuint)(headerBytes + (descriptors.Length * sizeof(int))),
                    Level = Libc.SolSocket,
                    Type = Libc.ScmRights,
                };
                var numbers = (int*)((byte*)control + headerBytes);
                foreach (var descriptor in descriptors)
                {
                    var added = false;
                    descriptor.DangerousAddRef(ref added);
                    numbers[held++] = (int)descriptor.DangerousGetHandle();
                }
            }

            // SAFETY: the packet is pinned and the control block on the stack for the call; descriptors are held.
            fixed (byte* bytes = packet)
            {
                var iov = new Libc.IoVec { Base = bytes, Length = (nuint)packet.Length };
                var message = new Libc.MsgHdr
                {
                    Iov = &iov,
                    IovLength = 1,
                    Control = controlBytes == 0 ? null : control,
                    ControlLength = (nuint)controlBytes,
                };
                while (Libc.SendMsg(Handle, &message, Libc.MsgNoSignal) < 0)
                {
                    var error = Libc.LastError;
                    if (error != Errno.EINTR)
                    {
                        // A peer that goes and leaves packets of ours unread is ECONNRESET once, and EPIPE from then on.
                        error = error == Libc.ConnectionReset ? Errno.EPIPE : error;
                        throw new HypervisorException(error, $"sending {packet.Length} bytes to a peer failed");
                    }
                }
            }
        }
        finally
        {
            while (held > 0)
            {
                descriptors[--held].DangerousRelease();
            }
        }
    }

    /// <summary>Waits for a packet.</summary>
    /// <param name="buffer">Where the bytes go.</param>
    /// <param name="descriptors">Where passed descriptors go; null: none is wanted, and those that come are closed.</param>
    /// <returns>Bytes; 0 when the peer is gone or the socket was shut down.</returns>
    /// <exception cref="HypervisorException">EMSGSIZE: the packet, or the number of descriptors, is larger than the place for it.</exception>
    public unsafe int Receive(Span<byte> buffer, List<SafeFileHandle>? descriptors = null)
    {
        const int ControlWords = (16 + (Libc.ScmMaxFd * 4) + 7) / 8;
        var control = stackalloc ulong[ControlWords];

        // SAFETY: the buffer is pinned and the control block on the stack for the call.
        fixed (byte* bytes = buffer)
        {
            while (true)
            {
                var iov = new Libc.IoVec { Base = bytes, Length = (nuint)buffer.Length };
                var message = new Libc.MsgHdr { Iov = &iov, IovLength = 1, Control = control, ControlLength = ControlWords * sizeof(ulong) };
                var received = Libc.RecvMsg(Handle, &message, Libc.MsgCmsgCloexec);
                if (received < 0)
                {
                    if (Libc.LastError == Errno.EINTR)
                    {
                        continue;
                    }

                    if (Libc.LastError == Libc.ConnectionReset)
                    {
                        return 0;
                    }

                    throw Libc.Failure("receiving from a peer failed");
                }

                // First of all the descriptors: whatever else is wrong, they must not leak.
                TakeDescriptors(ref message, descriptors);
                return (message.Flags & (Libc.MsgTrunc | Libc.MsgCtrunc)) == 0
                    ? (int)received
                    : throw new HypervisorException(Errno.EMSGSIZE, $"a peer sent a packet larger than {buffer.Length} bytes");
            }
        }
    }

    /// <summary>Ends the connection in both directions: who waits in <see cref="Receive"/> or <see cref="Accept"/> wakes up.</summary>
    public void Shutdown() => _ = Libc.Shutdown(Handle, Libc.ShutRdWr);

    /// <inheritdoc/>
    public void Dispose() => Handle.Dispose();

    private static unsafe void TakeDescriptors(ref Libc.MsgHdr message, List<SafeFileHandle>? descriptors)
    {
        // SAFETY: the kernel filled ControlLength bytes with headers whose lengths lie within it; both are checked.
        var at = (byte*)message.Control;
        var end = at + message.ControlLength;
        while (end - at >= sizeof(Libc.CmsgHdr))
        {
            var header = (Libc.CmsgHdr*)at;
            if (header->Length < (nuint)sizeof(Libc.CmsgHdr) || header->Length > (nuint)(end - at))
            {
                return;
            }

            if (header->Level == Libc.SolSocket && header->Type == Libc.ScmRights)
            {
                var numbers = (int*)(at + sizeof(Libc.CmsgHdr));
                var count = (int)((header->Length - (nuint)sizeof(Libc.CmsgHdr)) / sizeof(int));
                for (var i = 0; i < count; i++)
                {
                    var handle = new SafeFileHandle(numbers[i], ownsHandle: true);
                    if (descriptors is null)
                    {
                        handle.Dispose();
                    }
                    else
                    {
                        descriptors.Add(handle);
                    }
                }
            }

            at += (header->Length + 7) & ~(nuint)7;
        }
    }

    private static UnixSocket Create()
    {
        var fd = Libc.Socket(Libc.AfUnix, Libc.SockSeqPacket | Libc.SockCloexec, 0);
        return fd < 0 ? throw Libc.Failure("creating a socket failed: are too many files open?") : Own(fd);
    }

    private static UnixSocket Own(int fd) => new(new SafeFileHandle(fd, ownsHandle: true));

    private static unsafe uint FillAddress(string path, byte* address)
    {
        var length = Encoding.UTF8.GetByteCount(path);
        if (length is 0 or > MaxPathBytes)
        {
            throw new HypervisorException(Errno.EINVAL, $"the socket path '{path}' is empty or longer than {MaxPathBytes} bytes: choose a shorter one");
        }

        *(ushort*)address = Libc.AfUnix;

        // SAFETY: the length was checked against the size of the path in sockaddr_un.
        Encoding.UTF8.GetBytes(path, new Span<byte>(address + 2, length));
        address[2 + length] = 0;
        return (uint)(2 + length + 1);
    }
}
