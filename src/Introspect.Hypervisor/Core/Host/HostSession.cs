using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;
using Microsoft.Win32.SafeHandles;

namespace Introspect.Hypervisor.Core.Host;

/// <summary>One client of a host: its thread, and what it holds.</summary>
internal sealed partial class HostSession : IDisposable
{
    // A client that holds this much has lost count; a monitor needs a mapping or two and one channel a domain.
    private const int MaxHeld = 4096;

    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private readonly HostConnection _connection;
    private readonly PeerCredentials _peer;
    private readonly IToolstack _toolstack;
    private readonly IDescriptorSource _descriptors;
    private readonly Doorbells _doorbells;
    private readonly Action<string> _log;
    private readonly Action<HostSession> _ended;
    private readonly Thread _thread;
    private readonly Dictionary<ulong, IDisposable> _held = [];
    private readonly ILabControl? _lab;
    private ulong _nextHandle = 1;

    public HostSession(
        UnixSocket socket,
        PeerCredentials peer,
        IToolstack toolstack,
        IDescriptorSource descriptors,
        Doorbells doorbells,
        Action<string> log,
        Action<HostSession> ended,
        ILabControl? lab = null)
    {
        _lab = lab;
        _connection = new(socket);
        _peer = peer;
        _toolstack = toolstack;
        _descriptors = descriptors;
        _doorbells = doorbells;
        _log = log;
        _ended = ended;
        _thread = new Thread(Serve) { IsBackground = true, Name = $"introspect client {peer.Pid}" };
    }

    public void Start() => _thread.Start();

    /// <summary>Ends the connection; the thread lets go of everything and ends.</summary>
    public void Disconnect()
    {
        try
        {
            _connection.Socket.Shutdown();
        }
        catch (ObjectDisposedException)
        {
            // It ended by itself just now.
        }
    }

    /// <summary>Ends the connection and waits until the client's thread has let go of everything.</summary>
    public void Dispose()
    {
        Disconnect();
        if (!_thread.ThreadState.HasFlag(ThreadState.Unstarted))
        {
            _thread.Join();
        }

        _connection.Dispose();
    }

    private void Serve()
    {
        try
        {
            Span<byte> greeting = stackalloc byte[HostProtocol.GreetingBytes];
            HostProtocol.WriteGreeting(greeting, 0);
            _connection.Socket.Send(greeting);
            Converse();
        }
        catch (HypervisorException failure) when (failure.Error == Errno.EPIPE)
        {
            // It went away while it was answered, which is its good right.
        }
#pragma warning disable CA1031 // Whatever a client makes go wrong ends that client and nothing else.
        catch (Exception failure)
#pragma warning restore CA1031
        {
            _log($"the client of process {_peer.Pid} was disconnected: {failure.Message}");
        }
        finally
        {
            foreach (var held in _held.Values)
            {
                Release(held);
            }

            _held.Clear();
            _connection.Dispose();
            _ended(this);
        }
    }

    private void Converse()
    {
        if (!_connection.TryReceive())
        {
            return;
        }

        var hello = _connection.Received;
        var understood = hello.Operation == HostOperation.Hello && hello.Value == HostProtocol.Version;
        _connection.Send(new(HostOperation.Hello, 0, hello.Sequence, understood ? 0 : -(int)Errno.EOPNOTSUPP, HostProtocol.Version));
        if (!understood)
        {
            _log($"process {_peer.Pid} speaks version {hello.Value} of the host protocol, not {HostProtocol.Version}: disconnected");
            return;
        }

        while (_connection.TryReceive())
        {
            Answer(_connection.Received);
        }
    }

    private void Answer(HostHeader call)
    {
        var reply = new HostHeader(call.Operation, call.Domain, call.Sequence, 0);
        var part0 = _connection.Part0;
        var part1 = _connection.Part1;
        var part2 = _connection.Part2;
        switch (call.Operation)
        {
            case HostOperation.Domctl:
                _connection.Send(reply with { Argument = Try(call, static (t, c, a, b0, b1) => t.Domctl(a, b0, b1)) }, part0, part1, part2);
                break;
            case HostOperation.Sysctl:
                _connection.Send(reply with { Argument = Try(call, static (t, c, a, b0, b1) => t.Sysctl(a, b0)) }, part0, part1, part2);
                break;
            case HostOperation.HvmOp:
                _connection.Send(reply with { Argument = Try(call, static (t, c, a, b0, b1) => t.HvmOp((uint)c.Argument, a, b0, b1)) }, part0, part1, part2);
                break;
            case HostOperation.MemoryOp:
                _connection.Send(reply with { Argument = Try(call, static (t, c, a, b0, b1) => t.MemoryOp((uint)c.Argument, a, b0, b1)) }, part0, part1, part2);
                break;
            case HostOperation.DmOp:
                _connection.Send(reply with { Argument = Try(call, static (t, c, a, b0, b1) => t.DmOp(c.Domain, a)) }, part0, part1, part2);
                break;
            case HostOperation.MapForeign:
                MapForeign(call, reply);
                break;
            case HostOperation.BindInterdomain:
                BindInterdomain(call, reply);
                break;
            case HostOperation.UnmapForeign or HostOperation.Unbind:
                var known = _held.Remove(call.Value, out var held);
                if (known)
                {
                    Release(held!);
                }

                _connection.Send(reply with { Argument = known ? 0 : -(int)Errno.EINVAL });
                break;
            case HostOperation.GetDomainName:
                GetDomainName(call, reply);
                break;
            case HostOperation.SetDomainName:
                _connection.Send(reply with { Argument = SetDomainName(call) });
                break;
            case HostOperation.ReadConsole:
                ReadConsole(call, reply);
                break;
            case >= HostOperation.LabCreate and <= HostOperation.LabDumpCore:
                AnswerLab(call, reply);
                break;
            default:
                _connection.Send(reply with { Argument = -(int)Errno.ENOSYS });
                break;
        }
    }

    private delegate int Operation(IToolstack toolstack, HostHeader call, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1);

    // An operation that throws is a fault of ours, not of the client: it gets EIO, and the fault is told.
    private int Try(HostHeader call, Operation operation)
    {
        try
        {
            return operation(_toolstack, call, _connection.Part0, _connection.Part1, _connection.Part2);
        }
#pragma warning disable CA1031 // See above.
        catch (Exception failure)
#pragma warning restore CA1031
        {
            _log($"{call.Operation} of process {_peer.Pid} failed: {failure.Message}");
            return failure is HypervisorException refused ? -(int)refused.Error : -(int)Errno.EIO;
        }
    }

    private void MapForeign(HostHeader call, HostHeader reply)
    {
        var gfns = MemoryMarshal.Cast<byte, ulong>(_connection.Part0);
        if (call.Length0 % sizeof(ulong) != 0 || gfns.Length is 0 or > HostProtocol.MaxGfnsPerCall)
        {
            _connection.Send(reply with { Argument = -(int)Errno.EINVAL });
            return;
        }

        ForeignExport? export = null;
        var result = _held.Count >= MaxHeld
            ? -(int)Errno.ENOSPC
            : Try(call, (t, c, a, b0, b1) => _descriptors.ExportForeign(c.Domain, MemoryMarshal.Cast<byte, ulong>(a), c.Argument != 0, out export));
        if (result < 0 || export is null)
        {
            export?.Dispose();
            _connection.Send(reply with { Argument = result < 0 ? result : -(int)Errno.EFAULT });
            return;
        }

        var handle = Hold(export);
        var files = new List<SafeFileHandle>();
        var runs = WriteRuns(export.Runs, files);
        if (files.Count > Libc.ScmMaxFd)
        {
            Release(handle);
            _connection.Send(reply with { Argument = -(int)Errno.ENOBUFS });
            return;
        }

        _connection.Send(reply with { Value = handle }, runs, descriptors: CollectionsMarshal.AsSpan(files));
    }

    // Neighbours become one run: every run costs the client a mapping, and the kernel has only so many.
    private static byte[] WriteRuns(IReadOnlyList<ForeignRun> exported, List<SafeFileHandle> files)
    {
        var merged = new List<ForeignRun>(exported.Count);
        foreach (var run in exported)
        {
            if (merged.Count > 0 && merged[^1] is var last && last.File == run.File && last.Offset + ((long)last.Pages * Gfn.PageSize) == run.Offset)
            {
                merged[^1] = last with { Pages = last.Pages + run.Pages };
            }
            else
            {
                merged.Add(run);
            }
        }

        var runs = new byte[merged.Count * HostProtocol.RunBytes];
        for (var i = 0; i < merged.Count; i++)
        {
            var file = files.IndexOf(merged[i].File);
            if (file < 0)
            {
                file = files.Count;
                files.Add(merged[i].File);
            }

            var bytes = runs.AsSpan(i * HostProtocol.RunBytes);
            BinaryPrimitives.WriteInt32LittleEndian(bytes, file);
            BinaryPrimitives.WriteInt32LittleEndian(bytes[4..], merged[i].Pages);
            BinaryPrimitives.WriteInt64LittleEndian(bytes[8..], merged[i].Offset);
        }

        return runs;
    }

    private void BindInterdomain(HostHeader call, HostHeader reply)
    {
        EventChannel? channel = null;
        EventFd? fromRemote = null;
        var result = _held.Count >= MaxHeld
            ? -(int)Errno.ENOSPC
            : Try(call, (t, c, a, b0, b1) => _descriptors.ExportEventChannel(c.Domain, (uint)c.Argument, out channel, out fromRemote));
        if (result < 0 || channel is null || fromRemote is null)
        {
            channel?.Dispose();
            _connection.Send(reply with { Argument = result < 0 ? result : -(int)Errno.ENOSYS });
            return;
        }

        var toRemote = EventFd.Create();
        _doorbells.Add(toRemote, channel);
        var handle = Hold(new BoundChannel(_doorbells, toRemote, channel));
        Span<byte> port = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(port, channel.Port);
        _connection.Send(reply with { Value = handle }, port, descriptors: [toRemote.Handle, fromRemote.Handle]);
    }

    private void GetDomainName(HostHeader call, HostHeader reply)
    {
        string? name = null;
        var result = Try(call, (t, c, a, b0, b1) =>
        {
            name = t.GetDomainName(c.Domain);
            return 0;
        });
        _connection.Send(reply with { Argument = result, Value = name is null ? 0u : 1u }, name is null ? default : Encoding.UTF8.GetBytes(name));
    }

    private int SetDomainName(HostHeader call)
    {
        if (call.Length0 is 0 or > HostProtocol.MaxNameBytes)
        {
            return -(int)Errno.EINVAL;
        }

        string name;
        try
        {
            name = StrictUtf8.GetString(_connection.Part0);
        }
        catch (DecoderFallbackException)
        {
            return -(int)Errno.EILSEQ;
        }

        return Try(call, (t, c, a, b0, b1) => t.SetDomainName(c.Domain, name));
    }

    private void ReadConsole(HostHeader call, HostHeader reply)
    {
        var place = new byte[Math.Clamp(call.Argument, 0, HostProtocol.MaxPacketBytes)];
        var position = call.Value;
        var result = Try(call, (t, c, a, b0, b1) => t.ReadConsole(c.Domain, ref position, place));
        _connection.Send(reply with { Argument = result, Value = position }, place.AsSpan(0, Math.Clamp(result, 0, place.Length)));
    }

    private ulong Hold(IDisposable held)
    {
        _held.Add(_nextHandle, held);
        return _nextHandle++;
    }

    private void Release(ulong handle)
    {
        if (_held.Remove(handle, out var held))
        {
            Release(held);
        }
    }

    private void Release(IDisposable held)
    {
        try
        {
            held.Dispose();
        }
#pragma warning disable CA1031 // What else the client held must go, too.
        catch (Exception failure)
#pragma warning restore CA1031
        {
            _log($"something that process {_peer.Pid} held could not be let go: {failure.Message}");
        }
    }

    private sealed class BoundChannel(Doorbells doorbells, EventFd toRemote, EventChannel channel) : IDisposable
    {
        public void Dispose()
        {
            doorbells.Remove(toRemote);
            toRemote.Dispose();
            channel.Dispose();
        }
    }
}
