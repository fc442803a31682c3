using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Xen;

namespace Introspect.Hypervisor.Tests.Xen;

/// <summary>
/// Xen's libraries as a release has them, in front of the core: native functions of the same names and arguments,
/// each of which does on the core's domains what Xen does on its own, and tells errors by errno.
/// </summary>
internal sealed unsafe partial class FakeXenLibraries : ILibraryLoader, IDisposable
{
    private readonly LocalToolstack _door;
    private readonly XenRelease _release;
    private readonly Dictionary<string, Delegate> _functions = [];
    private readonly Dictionary<nint, string> _loaded = [];

    public FakeXenLibraries(LocalToolstack door, int minor)
    {
        _door = door;
        _release = XenRelease.For(4, minor);
        AddCall();
        AddControl();
        AddMonitor();
        AddForeignMemory();
        AddEventChannels();
        AddStore();
    }

    /// <summary>Libraries that are not there.</summary>
    public HashSet<string> Missing { get; } = [];

    /// <summary>Functions that are not there.</summary>
    public HashSet<string> MissingSymbols { get; } = [];

    /// <summary>Names of the libraries that were asked for, in order.</summary>
    public List<string> Asked { get; } = [];

    /// <summary>Commands of domctl that came as raw hypercalls.</summary>
    public List<uint> RawDomctls { get; } = [];

    /// <summary>Memory sharing operations, with their flags.</summary>
    public List<(byte Op, ushort Flags)> RawSharing { get; } = [];

    public bool TryLoad(string soname, out nint library)
    {
        Asked.Add(soname);
        library = 0;
        var there = !Missing.Contains(soname) && (!soname.StartsWith("libxenctrl", StringComparison.Ordinal) || soname == $"libxenctrl.so.4.{_release.Minor}");
        if (there)
        {
            library = _loaded.Count + 1;
            _loaded.Add(library, soname);
        }

        return there;
    }

    public bool TryFind(nint library, string symbol, out nint address)
    {
        Assert.True(_loaded.ContainsKey(library));
        var there = !MissingSymbols.Contains(symbol) && _functions.ContainsKey(symbol);
        address = there ? Marshal.GetFunctionPointerForDelegate(_functions[symbol]) : 0;
        return there;
    }

    public void Dispose()
    {
        // Not while it looks: it signals what is disposed here.
        using var idle = new ManualResetEvent(false);
        if (_watcher?.Dispose(idle) == true)
        {
            idle.WaitOne();
        }

        _changed?.Dispose();
        GC.KeepAlive(_functions);
    }

    // As the libraries do: -1, and the number in errno.
    private static int Told(int result)
    {
        if (result < 0)
        {
            Marshal.SetLastSystemError(-result);
            return -1;
        }

        return result;
    }

    private XenDomctl Domctl(uint command, uint domain) => new() { Command = command, InterfaceVersion = XenInterface.CoreDomctl, Domain = (ushort)domain };

    private int Do(ref XenDomctl domctl, Span<byte> buffer = default) =>
        _door.Domctl(MemoryMarshal.AsBytes(new Span<XenDomctl>(ref domctl)), buffer, default);

    private int Do(uint command, uint domain)
    {
        var domctl = Domctl(command, domain);
        return Told(Do(ref domctl));
    }

    private void AddCall()
    {
        _functions["xencall_open"] = new OpenFunction((_, _) => 0x1001);
        _functions["xencall_close"] = new HandleFunction(_ => 0);
        _functions["xencall_alloc_buffer"] = new AllocateFunction((_, length) => (nint)NativeMemory.Alloc(length));
        _functions["xencall_free_buffer"] = new FreeFunction((_, address) => NativeMemory.Free((void*)address));
        _functions["xencall1"] = new Call1Function((_, number, argument) => Told(number == HypercallNumber.Domctl ? RawDomctl((byte*)argument) : -(int)Errno.ENOSYS));
        _functions["xencall2"] = new Call2Function((_, number, command, argument) => Told(number switch
        {
            HypercallNumber.XenVersion when command == XenVersionOp.Version => (4 << 16) | _release.Minor,
            HypercallNumber.XenVersion when command == XenVersionOp.ExtraVersion => Extra((byte*)argument),
            HypercallNumber.HvmOp when command == HvmOp.AltP2m => RawAltP2m((HvmAltP2mOp*)argument),
            HypercallNumber.MemoryOp when command == MemoryOp.SharingOp => RawShare((MemSharingOp*)argument),
            _ => -(int)Errno.ENOSYS,
        }));
    }

    // The words behind max_maptrack_frames, as each release's public/domctl.h has them.
    private DomctlCreateDomain ReadCreateDomain(ReadOnlySpan<byte> raw)
    {
        var config = default(DomctlCreateDomain);
        raw[..44].CopyTo(MemoryMarshal.AsBytes(new Span<DomctlCreateDomain>(ref config)));
        var words = MemoryMarshal.Cast<byte, uint>(raw[44..]);
        switch (_release.Minor)
        {
            case 14:
                config.Arch.EmulationFlags = (X86EmulationFlags)words[0];
                break;
            case 15:
                (config.VmtraceSize, config.Arch.EmulationFlags, config.Arch.MiscFlags) = (words[0], (X86EmulationFlags)words[1], words[2]);
                break;
            case 17 or 18:
                (config.GrantOpts, config.VmtraceSize, config.CpupoolId) = (words[0], words[1], words[2]);
                (config.Arch.EmulationFlags, config.Arch.MiscFlags) = ((X86EmulationFlags)words[3], words[4]);
                break;
            case >= 19:
                (config.GrantOpts, config.VmtraceSize, config.CpupoolId) = (words[0], words[2], words[3]);
                (config.Arch.EmulationFlags, config.Arch.MiscFlags) = ((X86EmulationFlags)words[4], words[5]);
                break;
            default:
                throw new NotSupportedException();
        }

        return config;
    }

    private static int Extra(byte* text)
    {
        ".5\0"u8.CopyTo(new Span<byte>(text, XenVersionOp.ExtraVersionBytes));
        return 0;
    }

    private int RawShare(MemSharingOp* operation)
    {
        RawSharing.Add((operation->Op, operation->ForkFlags));
        if (operation->Op == MemSharingOperation.ForkReset && _release.Minor < 17)
        {
            operation->ForkFlags = MemSharingOp.ForkResetState | MemSharingOp.ForkResetMemory;
        }

        return _door.MemoryOp(MemoryOp.SharingOp, new Span<byte>(operation, sizeof(MemSharingOp)), default, default);
    }

    private int RawDomctl(byte* address)
    {
        var op = new Span<byte>(address, XenDomctl.SizeInBytes);
        ref var domctl = ref MemoryMarshal.AsRef<XenDomctl>(op);
        if (domctl.InterfaceVersion != _release.Domctl)
        {
            return -(int)Errno.EACCES;
        }

        RawDomctls.Add(domctl.Command);
        var sent = domctl;
        sent.InterfaceVersion = XenInterface.CoreDomctl;
        if (domctl.Command == DomctlCommand.CreateDomain)
        {
            sent.CreateDomain = ReadCreateDomain(op[16..]);
        }

        var result = Do(ref sent);
        var told = sent.InterfaceVersion;
        sent.InterfaceVersion = domctl.InterfaceVersion;
        Assert.Equal(XenInterface.CoreDomctl, told);
        domctl = sent;
        return result;
    }

    private int RawAltP2m(HvmAltP2mOp* operation)
    {
        var count = (int)operation->SetMemAccessMulti.Nr;
        var lists = operation->Command == AltP2mCommand.SetMemAccessMulti;
        var gfns = lists ? new Span<byte>((void*)operation->SetMemAccessMulti.PfnList, count * sizeof(ulong)) : default;
        var rights = lists ? new Span<byte>((void*)operation->SetMemAccessMulti.AccessList, count) : default;
        if (operation->Command is AltP2mCommand.SetMemAccess)
        {
            operation->MemAccess.Access = _release.FromWire((byte)operation->MemAccess.Access);
        }

        foreach (ref var right in rights)
        {
            right = _release.FromWire(right);
        }

        var result = _door.HvmOp(HvmOp.AltP2m, new Span<byte>(operation, sizeof(HvmAltP2mOp)), gfns, rights);
        if (operation->Command is AltP2mCommand.GetMemAccess)
        {
            operation->MemAccess.Access = _release.ToWire((byte)operation->MemAccess.Access);
        }

        return result;
    }
}
