using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;
using Microsoft.Win32.SafeHandles;

namespace Introspect.Hypervisor.Core.Host;

/// <summary>
/// The toolstack's door into another process: carries each operation over a socket, and maps what is mapped, and
/// signals what is signalled, without asking again. When the host is gone every call answers ENOTCONN.
/// </summary>
internal sealed partial class HostClient : IToolstack
{
    private const int PageSize = Gfn.PageSize;

    // A run is a mapping of the kernel's, of which a process has 65530; a runtime that finds none left dies.
    private const int MaxRuns = 8192;

    private readonly Lock _gate = new();
    private readonly HostConnection _connection;
    private readonly string _path;
    private uint _sequence;
    private bool _lost;

    /// <summary>Connects to a host.</summary>
    /// <exception cref="HypervisorException">
    /// ENOENT, ECONNREFUSED or ENOTCONN: no host there, or one that is just ending; EPERM: it is another user's; EBUSY: it has too many clients; EOPNOTSUPP: it speaks another version.
    /// </exception>
    public HostClient(string path)
    {
        _path = path;
        _connection = new(UnixSocket.Connect(path));
        try
        {
            Greet();
        }
        catch
        {
            _connection.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public string Connection => _path;

    /// <summary>The process that listens at the other end, as the kernel vouches for it; 0: one of another PID namespace.</summary>
    public int HostProcess => _connection.Socket.GetPeer().Pid;

    /// <inheritdoc/>
    public int Domctl(Span<byte> op, Span<byte> buffer0, Span<byte> buffer1) =>
        Operate(HostOperation.Domctl, 0, 0, op, buffer0, buffer1);

    /// <inheritdoc/>
    public int Sysctl(Span<byte> op, Span<byte> buffer0) => Operate(HostOperation.Sysctl, 0, 0, op, buffer0, default);

    /// <inheritdoc/>
    public int HvmOp(uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1) =>
        Operate(HostOperation.HvmOp, 0, command, argument, buffer0, buffer1);

    /// <inheritdoc/>
    public int MemoryOp(uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1) =>
        Operate(HostOperation.MemoryOp, 0, command, argument, buffer0, buffer1);

    /// <inheritdoc/>
    public int DmOp(ushort domain, Span<byte> op) => Operate(HostOperation.DmOp, domain, 0, op, default, default);

    /// <inheritdoc/>
    public int MapForeign(ushort domain, ReadOnlySpan<ulong> gfns, bool writable, out ForeignMapping? mapping)
    {
        mapping = null;
        if (gfns.IsEmpty)
        {
            return -(int)Errno.EINVAL;
        }

        MappedMemory memory;
        try
        {
            memory = MappedMemory.Reserve((long)gfns.Length * PageSize);
        }
        catch (HypervisorException refused)
        {
            return -(int)refused.Error;
        }

        var mapped = new HostMapping(this, memory);
        var runs = 0;
        for (var done = 0; done < gfns.Length;)
        {
            var part = gfns.Slice(done, Math.Min(gfns.Length - done, HostProtocol.MaxGfnsPerCall));
            var result = MapPart(domain, part, writable, memory, (long)done * PageSize, ref runs, out var handle);
            if (handle != 0)
            {
                mapped.Handles.Add(handle);
            }

            if (result < 0)
            {
                mapped.Dispose();
                return result;
            }

            done += part.Length;
        }

        mapping = mapped;
        return 0;
    }

    /// <inheritdoc/>
    public int BindInterdomain(ushort domain, uint remotePort, out EventChannel? channel)
    {
        channel = null;
        var descriptors = new List<SafeFileHandle>();
        lock (_gate)
        {
            var result = Call(new(HostOperation.BindInterdomain, domain, 0, (int)remotePort), default, default, default, descriptors);
            if (result < 0)
            {
                return result;
            }

            if (descriptors.Count != 2 || _connection.Part0.Length != sizeof(uint))
            {
                Close(descriptors);
                return -(int)Errno.EBADMSG;
            }

            var handle = _connection.Received.Value;
            var port = BinaryPrimitives.ReadUInt32LittleEndian(_connection.Part0);
            channel = new EventFdChannel(
                port,
                EventFd.Adopt(descriptors[0]),
                EventFd.Adopt(descriptors[1]),
                _connection.Socket.Handle,
                () => LetGo(HostOperation.Unbind, handle));
            return 0;
        }
    }

    /// <inheritdoc/>
    public string? GetDomainName(ushort domain)
    {
        lock (_gate)
        {
            return Call(new(HostOperation.GetDomainName, domain, 0, 0)) < 0 || _connection.Received.Value == 0
                ? null
                : Encoding.UTF8.GetString(_connection.Part0);
        }
    }

    /// <inheritdoc/>
    public int SetDomainName(ushort domain, string name)
    {
        var bytes = Encoding.UTF8.GetBytes(name);
        if (bytes.Length is 0 or > HostProtocol.MaxNameBytes)
        {
            return -(int)Errno.EINVAL;
        }

        lock (_gate)
        {
            return Call(new(HostOperation.SetDomainName, domain, 0, 0), bytes);
        }
    }

    /// <inheritdoc/>
    public int ReadConsole(ushort domain, ref ulong position, Span<byte> destination)
    {
        lock (_gate)
        {
            var result = Call(new(HostOperation.ReadConsole, domain, 0, destination.Length, position));
            if (result < 0)
            {
                return result;
            }

            if (_connection.Part0.Length != result || result > destination.Length)
            {
                return -(int)Errno.EBADMSG;
            }

            _connection.Part0.CopyTo(destination);
            position = _connection.Received.Value;
            return result;
        }
    }

    /// <summary>Disconnects: the host lets go of everything that this client held. Mappings stay readable until they are disposed.</summary>
    public void Dispose()
    {
        // Wakes a call that waits for its answer, so that the lock below is to be had.
        if (!_connection.Socket.Handle.IsClosed)
        {
            _connection.Socket.Shutdown();
        }

        lock (_gate)
        {
            _lost = true;
            _connection.Dispose();
        }
    }

    private static void Close(List<SafeFileHandle> descriptors)
    {
        foreach (var descriptor in descriptors)
        {
            descriptor.Dispose();
        }
    }

    private void Greet()
    {
        Span<byte> greeting = stackalloc byte[HostProtocol.GreetingBytes];
        var received = _connection.Socket.Receive(greeting);
        if (received == 0)
        {
            throw Ending();
        }

        if (!HostProtocol.TryReadGreeting(greeting[..received], out var version, out var status))
        {
            throw new HypervisorException(Errno.EBADMSG, $"what listens at '{_path}' is no introspect host");
        }

        switch (-status)
        {
            case 0:
                break;
            case (int)Errno.EPERM:
                throw new HypervisorException(Errno.EPERM, $"the host at '{_path}' belongs to another user: run as that user or as root");
            case (int)Errno.EBUSY:
                throw new HypervisorException(Errno.EBUSY, $"the host at '{_path}' has too many clients: stop one of them");
            default:
                throw new HypervisorException((Errno)(-status), $"the host at '{_path}' refused the connection");
        }

        lock (_gate)
        {
            var result = version == HostProtocol.Version
                ? Call(new(HostOperation.Hello, 0, 0, 0, HostProtocol.Version))
                : -(int)Errno.EOPNOTSUPP;
            if (result == -(int)Errno.ENOTCONN)
            {
                throw Ending();
            }

            if (result < 0)
            {
                throw new HypervisorException(
                    (Errno)(-result),
                    $"the host at '{_path}' speaks version {version} of its protocol, this program version {HostProtocol.Version}: use the same release for both");
            }
        }
    }

    private HypervisorException Ending() => new(Errno.ENOTCONN, $"the host at '{_path}' is just ending: start it again");

    private int Operate(HostOperation operation, ushort domain, uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1)
    {
        if ((long)argument.Length + buffer0.Length + buffer1.Length > HostProtocol.MaxPayloadBytes)
        {
            return -(int)Errno.E2BIG;
        }

        lock (_gate)
        {
            var result = Call(new(operation, domain, 0, (int)command), argument, buffer0, buffer1);
            if (_lost)
            {
                return result;
            }

            var part0 = _connection.Part0;
            var part1 = _connection.Part1;
            var part2 = _connection.Part2;
            if (part0.Length != argument.Length || part1.Length != buffer0.Length || part2.Length != buffer1.Length)
            {
                return result < 0 ? result : -(int)Errno.EBADMSG;
            }

            part0.CopyTo(argument);
            part1.CopyTo(buffer0);
            part2.CopyTo(buffer1);
            return result;
        }
    }

    private int MapPart(ushort domain, ReadOnlySpan<ulong> gfns, bool writable, MappedMemory memory, long at, ref int runs, out ulong handle)
    {
        handle = 0;
        var descriptors = new List<SafeFileHandle>();
        lock (_gate)
        {
            try
            {
                var result = Call(
                    new(HostOperation.MapForeign, domain, 0, writable ? 1 : 0), MemoryMarshal.AsBytes(gfns), default, default, descriptors);
                if (result < 0)
                {
                    return result;
                }

                handle = _connection.Received.Value;
                runs += _connection.Part0.Length / HostProtocol.RunBytes;
                if (runs > MaxRuns)
                {
                    return -(int)Errno.ENOMEM;
                }

                return Overlay(_connection.Part0, descriptors, writable, memory, at, gfns.Length);
            }
            catch (HypervisorException refused)
            {
                return -(int)refused.Error;
            }
            finally
            {
                // A mapping keeps its file by itself.
                Close(descriptors);
            }
        }
    }

    // Puts the runs one behind the other. What they say is checked: a run beyond the end of its file would be a
    // bus error at the first touch, and one too long would overwrite the neighbour.
    private static int Overlay(ReadOnlySpan<byte> runs, List<SafeFileHandle> descriptors, bool writable, MappedMemory memory, long at, int pages)
    {
        var files = descriptors.ConvertAll(MemoryFile.Adopt);
        var left = pages;
        for (; runs.Length >= HostProtocol.RunBytes; runs = runs[HostProtocol.RunBytes..])
        {
            var file = BinaryPrimitives.ReadInt32LittleEndian(runs);
            var count = BinaryPrimitives.ReadInt32LittleEndian(runs[4..]);
            var offset = BinaryPrimitives.ReadInt64LittleEndian(runs[8..]);
            var length = (long)count * PageSize;
            if (file < 0 || file >= files.Count || count <= 0 || count > left || offset < 0 || offset % PageSize != 0 || offset > files[file].Size - length)
            {
                return -(int)Errno.EBADMSG;
            }

            memory.Overlay(at, files[file].Handle, offset, length, writable);
            at += length;
            left -= count;
        }

        return left == 0 && runs.IsEmpty ? 0 : -(int)Errno.EBADMSG;
    }

    // Under the lock. What came back is in the connection until the next call.
    private int Call(
        HostHeader header,
        ReadOnlySpan<byte> part0 = default,
        ReadOnlySpan<byte> part1 = default,
        ReadOnlySpan<byte> part2 = default,
        List<SafeFileHandle>? descriptors = null)
    {
        if (_lost)
        {
            return -(int)Errno.ENOTCONN;
        }

        var sequence = ++_sequence;
        try
        {
            _connection.Send(header with { Sequence = sequence }, part0, part1, part2);
            if (_connection.TryReceive(descriptors)
                && _connection.Received.Operation == header.Operation
                && _connection.Received.Sequence == sequence)
            {
                return _connection.Received.Argument;
            }
        }
        catch (HypervisorException)
        {
            // The host is gone, or speaks nonsense: there is no telling what an answer would belong to.
        }

        _lost = true;
        if (descriptors is not null)
        {
            Close(descriptors);
            descriptors.Clear();
        }

        return -(int)Errno.ENOTCONN;
    }

    private void LetGo(HostOperation operation, ulong handle)
    {
        lock (_gate)
        {
            _ = Call(new(operation, 0, 0, 0, handle));
        }
    }

    private sealed class HostMapping(HostClient client, MappedMemory memory) : ForeignMapping
    {
        private bool _disposed;

        public List<ulong> Handles { get; } = [];

        public override nint Address => memory.Address;

        public override long Length => memory.Length;

        protected override void Dispose(bool disposing)
        {
            if (!disposing || _disposed)
            {
                return;
            }

            _disposed = true;

            // Unmapped first: the host may give the pages to others as soon as it hears.
            memory.Dispose();
            foreach (var handle in Handles)
            {
                client.LetGo(HostOperation.UnmapForeign, handle);
            }
        }
    }
}
