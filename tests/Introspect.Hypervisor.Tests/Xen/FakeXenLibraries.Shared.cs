using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Tests.Xen;

/// <summary>libxenforeignmemory, libxenevtchn and libxenstore.</summary>
internal sealed unsafe partial class FakeXenLibraries
{
    private readonly ConcurrentDictionary<nint, ForeignMapping> _mapped = new();
    private readonly ConcurrentDictionary<nint, Bound> _bound = new();
    private readonly ConcurrentQueue<string> _tellings = new();
    private long _nextHandle = 0x2000;
    private EventFd? _changed;
    private Timer? _watcher;
    private string _seen = "";

    /// <summary>Pages that are mapped now.</summary>
    public int MappedPages => _mapped.Count;

    /// <summary>Event channels that are bound now.</summary>
    public int BoundChannels => _bound.Values.Count(static bound => bound.Channel is not null);

    /// <summary>Paths that are watched in xenstore.</summary>
    public ConcurrentBag<string> Watched { get; } = [];

    private void AddForeignMemory()
    {
        _functions["xenforeignmemory_open"] = new OpenFunction((_, _) => 0x1003);
        _functions["xenforeignmemory_close"] = new HandleFunction(_ => 0);
        _functions["xenforeignmemory_map"] = new MapFunction((_, domain, protection, count, frames, errors) =>
        {
            var gfns = new ReadOnlySpan<ulong>((void*)frames, (int)count);
            var result = _door.MapForeign((ushort)domain, gfns, (protection & 2) != 0, out var mapping);

            // As Linux does it: something is mapped in any case, and each page has its error.
            new Span<int>((void*)errors, (int)count).Fill(result < 0 ? -(int)Errno.EINVAL : 0);
            mapping ??= new Nothing((int)count);
            Assert.True(_mapped.TryAdd(mapping.Address, mapping));
            return mapping.Address;
        });
        _functions["xenforeignmemory_unmap"] = new UnmapFunction((_, address, count) =>
        {
            Assert.True(_mapped.TryRemove(address, out var mapping));
            Assert.Equal((long)count * 4096, mapping.Length);
            mapping.Dispose();
            return 0;
        });
    }

    private void AddEventChannels()
    {
        _functions["xenevtchn_open"] = new OpenFunction((_, _) =>
        {
            var handle = (nint)Interlocked.Increment(ref _nextHandle);
            _bound[handle] = new Bound();
            return handle;
        });
        _functions["xenevtchn_close"] = new HandleFunction(handle =>
        {
            Assert.True(_bound.TryRemove(handle, out var bound));
            bound.Channel?.Dispose();
            return 0;
        });
        _functions["xenevtchn_bind_interdomain"] = new BindFunction((handle, domain, port) =>
        {
            var bound = _bound[handle];
            var result = _door.ExportEventChannel((ushort)domain, port, out bound.Channel, out bound.Signal);
            return Told(result < 0 ? result : (int)bound.Channel!.Port);
        });
        _functions["xenevtchn_fd"] = new HandleFunction(handle => (int)_bound[handle].Signal!.Handle.DangerousGetHandle());
        _functions["xenevtchn_notify"] = new PortFunction((handle, port) =>
        {
            Assert.Equal(_bound[handle].Channel!.Port, port);
            _bound[handle].Channel!.Notify();
            return 0;
        });
        _functions["xenevtchn_pending"] = new HandleFunction(handle =>
            Told(_bound[handle].Signal!.TryConsume() ? (int)_bound[handle].Channel!.Port : -(int)Errno.EAGAIN));
        _functions["xenevtchn_unmask"] = new PortFunction((handle, port) =>
        {
            Assert.Equal(_bound[handle].Channel!.Port, port);
            return 0;
        });
        _functions["xenevtchn_unbind"] = new PortFunction((handle, port) =>
        {
            var bound = _bound[handle];
            Assert.Equal(bound.Channel!.Port, port);
            bound.Channel.Dispose();
            bound.Channel = null;
            return 0;
        });
    }

    private void AddStore()
    {
        _functions["xs_open"] = new OpenStoreFunction(_ => (nint)Interlocked.Increment(ref _nextHandle));
        _functions["xs_close"] = new CloseStoreFunction(static _ => { });
        _functions["xs_read"] = new ReadFunction((_, _, path, length) =>
        {
            var parts = Marshal.PtrToStringUTF8(path)!.Split('/');
            Assert.Equal(["", "local", "domain"], parts[..3]);
            if (_door.GetDomainName(ushort.Parse(parts[3], System.Globalization.CultureInfo.InvariantCulture)) is not { } name)
            {
                Marshal.SetLastSystemError((int)Errno.ENOENT);
                return 0;
            }

            return Copied(Encoding.UTF8.GetBytes(name), out *(uint*)length);
        });
        _functions["xs_write"] = new WriteFunction((_, _, path, value, length) =>
        {
            var domain = ushort.Parse(Marshal.PtrToStringUTF8(path)!.Split('/')[3], System.Globalization.CultureInfo.InvariantCulture);
            return Told(_door.SetDomainName(domain, Encoding.UTF8.GetString((byte*)value, (int)length))) < 0 ? (byte)0 : (byte)1;
        });
        _functions["xs_watch"] = new WatchFunction((_, path, _) =>
        {
            Watched.Add(Marshal.PtrToStringUTF8(path)!);
            Tell();
            return 1;
        });
        _functions["xs_fileno"] = new HandleFunction(_ => (int)Changed().Handle.DangerousGetHandle());
        _functions["xs_check_watch"] = new CheckWatchFunction(_ =>
        {
            if (_tellings.TryDequeue(out var path))
            {
                return Copied(Encoding.UTF8.GetBytes(path), out uint length);
            }

            // The pipe is read empty with the last telling.
            _changed!.TryConsume();
            return 0;
        });
    }

    private static nint Copied(ReadOnlySpan<byte> bytes, out uint length)
    {
        var copy = NativeMemory.Alloc((nuint)bytes.Length + 1);
        bytes.CopyTo(new Span<byte>(copy, bytes.Length));
        length = (uint)bytes.Length;
        return (nint)copy;
    }

    private EventFd Changed()
    {
        if (_changed is null)
        {
            _changed = EventFd.Create();
            _watcher = new Timer(_ => LookForChanges(), null, TimeSpan.Zero, TimeSpan.FromMilliseconds(5));
        }

        return _changed;
    }

    private void Tell()
    {
        _tellings.Enqueue("@introduceDomain");
        Changed().Signal();
    }

    private void LookForChanges()
    {
        var domains = new DomctlGetDomainInfo[16];
        var sysctl = new XenSysctl { Command = SysctlCommand.GetDomainInfoList, InterfaceVersion = XenInterface.CoreSysctl };
        (sysctl.GetDomainInfoList.MaxDomains, sysctl.GetDomainInfoList.Buffer) = ((uint)domains.Length, 1);
        _door.Sysctl(MemoryMarshal.AsBytes(new Span<XenSysctl>(ref sysctl)), MemoryMarshal.AsBytes(domains.AsSpan()));
        var now = string.Join(' ', domains.Take((int)sysctl.GetDomainInfoList.NumDomains).Select(static d => $"{d.Domain}:{d.Flags & (DomainInfoFlags.Shutdown | DomainInfoFlags.Dying)}"));
        if (Interlocked.Exchange(ref _seen, now) != now)
        {
            Tell();
        }
    }

    private sealed class Bound
    {
        public EventChannel? Channel;
        public EventFd? Signal;
    }

    private sealed class Nothing(int pages) : ForeignMapping
    {
        private readonly MappedMemory _memory = MappedMemory.Reserve(pages * 4096L);

        public override nint Address => _memory.Address;

        public override long Length => _memory.Length;

        protected override void Dispose(bool disposing) => _memory.Dispose();
    }

    private delegate nint OpenFunction(nint logger, uint flags);

    private delegate nint OpenControlFunction(nint logger, nint builderLogger, uint flags);

    private delegate nint OpenStoreFunction(nuint flags);

    private delegate void CloseStoreFunction(nint handle);

    private delegate int HandleFunction(nint handle);

    private delegate nint AllocateFunction(nint handle, nuint bytes);

    private delegate void FreeFunction(nint handle, nint address);

    private delegate int Call1Function(nint handle, uint number, ulong argument);

    private delegate int Call2Function(nint handle, uint number, ulong command, ulong argument);

    private delegate int DomainFunction(nint handle, uint domain);

    private delegate int SetMaxMemFunction(nint handle, uint domain, ulong kibibytes);

    private delegate int InfoListFunction(nint handle, uint first, uint most, nint records);

    private delegate int VcpuInfoFunction(nint handle, uint domain, uint vcpu, nint info);

    private delegate int ContextFunction(nint handle, uint domain, nint buffer, uint size);

    private delegate int PartialContextFunction(nint handle, uint domain, ushort type, ushort instance, nint buffer, uint size);

    private delegate int GetParamFunction(nint handle, uint domain, uint index, nint value);

    private delegate int SetParamFunction(nint handle, uint domain, uint index, ulong value);

    private delegate int InjectFunction(nint handle, uint domain, int vcpu, byte vector, byte type, uint error, byte length, ulong cr2);

    private delegate int MaximumGfnFunction(nint handle, uint domain, nint gfn);

    private delegate int PopulateFunction(nint handle, uint domain, nuint count, uint order, uint flags, nint frames);

    private delegate int DecreaseFunction(nint handle, uint domain, nuint count, uint order, nint frames);

    private delegate int CapabilitiesFunction(nint handle, uint domain, nint capabilities);

    private delegate int WriteCtrlregFunction(nint handle, uint domain, ushort index, byte enable, byte sync, ulong bitmask, byte onChangeOnly);

    private delegate int MovToMsrFunction(nint handle, uint domain, uint msr, byte enable, byte onChangeOnly);

    private delegate int FlagFunction(nint handle, uint domain, byte enable);

    private delegate int TwoFlagsFunction(nint handle, uint domain, byte enable, byte sync);

    private delegate int ThreeFlagsFunction(nint handle, uint domain, byte enable, byte sync, byte userspace);

    private delegate int AccessRequiredFunction(nint handle, uint domain, uint required);

    private delegate int SetAccessFunction(nint handle, uint domain, int access, ulong first, uint count);

    private delegate int SetAccessMultiFunction(nint handle, uint domain, nint access, nint gfns, uint count);

    private delegate int GetAccessFunction(nint handle, uint domain, ulong gfn, nint access);

    private delegate nint MapFunction(nint handle, uint domain, int protection, nuint count, nint frames, nint errors);

    private delegate int UnmapFunction(nint handle, nint address, nuint count);

    private delegate int BindFunction(nint handle, uint domain, uint port);

    private delegate int PortFunction(nint handle, uint port);

    private delegate nint ReadFunction(nint handle, uint transaction, nint path, nint length);

    private delegate byte WriteFunction(nint handle, uint transaction, nint path, nint value, uint length);

    private delegate byte WatchFunction(nint handle, nint path, nint token);

    private delegate nint CheckWatchFunction(nint handle);
}
