using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Xen;

/// <summary>
/// The toolstack's door on real Xen. What libxenctrl has a call for goes through it; the rest goes as it is through
/// libxencall, with the release's interface version. The structures that come in are those of 4.17; where a
/// release has another layout or other numbers, <see cref="XenRelease"/> says so and this class translates.
/// </summary>
internal sealed partial class XenToolstack : IToolstack
{
    private readonly XenLibraries _libraries;
    private readonly LibXenStore.Connection _store;
    private readonly CpuVendor _vendor;

    /// <param name="libraries">The libraries; owned from now on.</param>
    /// <param name="vendor">Whose virtualisation the processors have.</param>
    public XenToolstack(XenLibraries libraries, CpuVendor vendor)
    {
        _libraries = libraries;
        _vendor = vendor;
        _store = libraries.Store.Open();
    }

    /// <inheritdoc/>
    public string Connection => Control.Soname;

    /// <inheritdoc/>
    public bool TellsHeldVcpus => false;

    private XenRelease Release => _libraries.Release;

    private LibXenCtrl Control => _libraries.Control;

    private LibXenCall Hypercalls => _libraries.Call;

    /// <inheritdoc/>
    public int Sysctl(Span<byte> op, Span<byte> buffer0)
    {
        ref var sysctl = ref MemoryMarshal.AsRef<XenSysctl>(op);
        if (sysctl.Command == SysctlCommand.GetDomainInfoList)
        {
            return ListDomains(ref sysctl.GetDomainInfoList, MemoryMarshal.Cast<byte, DomctlGetDomainInfo>(buffer0));
        }

        if (!buffer0.IsEmpty)
        {
            // Whoever adds such an operation must say where its handle is.
            return -(int)Errno.ENOSYS;
        }

        sysctl.InterfaceVersion = Release.Sysctl;
        return Hypercalls.Call(HypercallNumber.Sysctl, op);
    }

    /// <inheritdoc/>
    public int HvmOp(uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1)
    {
        switch (command)
        {
            case Abi.HvmOp.GetParam:
                ref var read = ref MemoryMarshal.AsRef<HvmParamArgument>(argument);
                return Control.GetParam(read.Domid, read.Index, out read.Value);
            case Abi.HvmOp.SetParam:
                ref readonly var written = ref MemoryMarshal.AsRef<HvmParamArgument>(argument);
                return Control.SetParam(written.Domid, written.Index, written.Value);
            case Abi.HvmOp.AltP2m:
                return AltP2m(ref MemoryMarshal.AsRef<HvmAltP2mOp>(argument), buffer0, buffer1);
            default:
                return buffer0.IsEmpty ? Hypercalls.Call(HypercallNumber.HvmOp, command, argument) : -(int)Errno.ENOSYS;
        }
    }

    /// <inheritdoc/>
    public int MemoryOp(uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1)
    {
        switch (command)
        {
            case Abi.MemoryOp.MaximumGpfn:
                var result = Control.GetMaximumGfn(MemoryMarshal.AsRef<MemoryDomain>(argument).Domid, out var gfn);
                return result < 0 ? result : (int)Math.Min(gfn, int.MaxValue);
            case Abi.MemoryOp.PopulatePhysmap:
                ref readonly var populated = ref MemoryMarshal.AsRef<MemoryReservation>(argument);
                return Control.Populate(populated.Domid, MemoryMarshal.Cast<byte, ulong>(buffer0), populated.ExtentOrder, populated.MemFlags);
            case Abi.MemoryOp.DecreaseReservation:
                ref readonly var taken = ref MemoryMarshal.AsRef<MemoryReservation>(argument);
                return Control.Decrease(taken.Domid, MemoryMarshal.Cast<byte, ulong>(buffer0), taken.ExtentOrder);
            case Abi.MemoryOp.AccessOp:
                return Access(ref MemoryMarshal.AsRef<MemAccessOp>(argument), MemoryMarshal.Cast<byte, ulong>(buffer0), buffer1);
            case Abi.MemoryOp.SharingOp:
                return Share(argument);
            default:
                return buffer0.IsEmpty ? Hypercalls.Call(HypercallNumber.MemoryOp, command, argument) : -(int)Errno.ENOSYS;
        }
    }

    /// <inheritdoc/>
    public int DmOp(ushort domain, Span<byte> op)
    {
        ref readonly var operation = ref MemoryMarshal.AsRef<XenDmOp>(op);
        return operation.Op == DmOpCommand.InjectEvent ? Control.InjectTrap(domain, operation.InjectEvent) : -(int)Errno.EOPNOTSUPP;
    }

    /// <inheritdoc/>
    public int MapForeign(ushort domain, ReadOnlySpan<ulong> gfns, bool writable, out ForeignMapping? mapping)
    {
        var result = _libraries.ForeignMemory.Map(domain, gfns, writable, out mapping);

        // A page that is not there and a domain that is not there look the same to the kernel.
        return result == -(int)Errno.EFAULT && !Exists(domain) ? -(int)Errno.ESRCH : result;
    }

    /// <inheritdoc/>
    public int BindInterdomain(ushort domain, uint remotePort, out EventChannel? channel) =>
        XenEventChannel.Bind(_libraries.EventChannels, domain, remotePort, out channel);

    /// <inheritdoc/>
    public string? GetDomainName(ushort domain) => _store.Read(NamePath(domain));

    /// <inheritdoc/>
    public int SetDomainName(ushort domain, string name) => _store.Write(NamePath(domain), name);

    /// <inheritdoc/>
    /// <remarks>A guest's console is read by xenconsoled, which does not share it.</remarks>
    public int ReadConsole(ushort domain, ref ulong position, Span<byte> destination) => -(int)Errno.EOPNOTSUPP;

    /// <inheritdoc/>
    public void Dispose()
    {
        _store.Dispose();
        _libraries.Dispose();
    }

    private static string NamePath(ushort domain) => $"/local/domain/{domain}/name";

    private int AltP2m(ref HvmAltP2mOp operation, ReadOnlySpan<byte> gfns, Span<byte> accesses)
    {
        switch (operation.Command)
        {
            case AltP2mCommand.CreateP2m:
                operation.View.DefaultAccess = Release.ToWire((byte)operation.View.DefaultAccess);
                break;
            case AltP2mCommand.SetMemAccess:
                operation.MemAccess.Access = Release.ToWire((byte)operation.MemAccess.Access);
                break;
            default:
                break;
        }

        foreach (ref var access in accesses)
        {
            access = Release.ToWire(access);
        }

        using var frames = Hypercalls.Allocate(gfns);
        using var rights = Hypercalls.Allocate(accesses);
        if (operation.Command == AltP2mCommand.SetMemAccessMulti)
        {
            operation.SetMemAccessMulti.PfnList = frames.Address;
            operation.SetMemAccessMulti.AccessList = rights.Address;
        }

        var result = Hypercalls.Call(HypercallNumber.HvmOp, Abi.HvmOp.AltP2m, MemoryMarshal.AsBytes(new Span<HvmAltP2mOp>(ref operation)));
        if (operation.Command is AltP2mCommand.GetMemAccess or AltP2mCommand.SetMemAccess)
        {
            operation.MemAccess.Access = Release.FromWire((byte)operation.MemAccess.Access);
        }

        return result;
    }

    private int Share(Span<byte> argument)
    {
        // Whatever is asked, Xen enables memory sharing on the domain first. So nothing goes there but what is meant for it.
        ref var operation = ref MemoryMarshal.AsRef<MemSharingOp>(argument);
        switch (operation.Op)
        {
            case MemSharingOperation.Fork:
                break;
            case MemSharingOperation.ForkReset when Release.HasPartialForkReset:
                break;
            case MemSharingOperation.ForkReset when operation.ForkFlags == (MemSharingOp.ForkResetState | MemSharingOp.ForkResetMemory):
                operation.ForkFlags = 0;
                break;
            case MemSharingOperation.ForkReset when operation.ForkFlags == 0:
                return -(int)Errno.EINVAL;
            default:
                return -(int)Errno.EOPNOTSUPP;
        }

        return Hypercalls.Call(HypercallNumber.MemoryOp, Abi.MemoryOp.SharingOp, argument);
    }

    private int Access(ref MemAccessOp operation, ReadOnlySpan<ulong> gfns, Span<byte> accesses) => operation.Op switch
    {
        MemAccessOperation.SetAccess => Control.SetAccess(operation.Domid, operation.Access, operation.Pfn, operation.Nr),
        MemAccessOperation.SetAccessMulti => Control.SetAccess(operation.Domid, gfns, accesses),
        MemAccessOperation.GetAccess => Control.GetAccess(operation.Domid, operation.Pfn, out operation.Access),
        _ => -(int)Errno.ENOSYS,
    };
}
