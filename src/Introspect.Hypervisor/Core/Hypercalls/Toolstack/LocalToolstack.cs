using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Core.Hypercalls.Toolstack;

/// <summary>
/// The door itself: toolstack operations on the domains of a <see cref="Machine"/> in this process, with Xen's
/// checks in Xen's order. Operations come one after the other, so that none meets a domain that is half torn down.
/// </summary>
internal sealed class LocalToolstack : IToolstack, IDescriptorSource
{
    private readonly Machine _machine;
    private readonly ToolstackCaller _caller;
    private readonly DomainOperations _domains;
    private int _nextPort;

    /// <param name="machine">The machine; stays its owner's.</param>
    /// <param name="caller">On whose behalf the calls are made.</param>
    public LocalToolstack(Machine machine, ToolstackCaller caller)
    {
        _machine = machine;
        _caller = caller;
        _domains = new(machine);
    }

    /// <inheritdoc/>
    public string Connection => "in-process";

    /// <inheritdoc/>
    public int Domctl(Span<byte> op, Span<byte> buffer0, Span<byte> buffer1)
    {
        if (op.Length < XenDomctl.SizeInBytes)
        {
            return Negated(Errno.EFAULT);
        }

        ref var domctl = ref MemoryMarshal.AsRef<XenDomctl>(op);
        if (domctl.InterfaceVersion != XenInterface.CoreDomctl)
        {
            return Negated(Errno.EACCES);
        }

        using var _ = _machine.ControlLock.EnterScope();
        var domain = _machine.Find(domctl.Domain);
        var needsNone = domctl.Command is DomctlCommand.CreateDomain or DomctlCommand.GetDomainInfo
            || (domctl.Command == DomctlCommand.VmEventOp && domctl.Domain == SpecialDomain.Invalid);
        if (domain is null && !needsNone)
        {
            return Negated(Errno.ESRCH);
        }

        // Asking for the interface version is free to everybody.
        if (domctl.Command == DomctlCommand.VmEventOp && domctl.VmEventOp.Op == VmEventOperation.GetVersion)
        {
            domctl.VmEventOp.Version = VmEvent.InterfaceVersion;
            return 0;
        }

        if (!_caller.IsControl)
        {
            return Negated(Errno.EPERM);
        }

        try
        {
            return Negated(_domains.Operate(domain, ref domctl, buffer0));
        }
        catch (HypervisorException refused)
        {
            return Negated(refused.Error);
        }
    }

    /// <inheritdoc/>
    public int Sysctl(Span<byte> op, Span<byte> buffer0)
    {
        if (op.Length < XenSysctl.SizeInBytes)
        {
            return Negated(Errno.EFAULT);
        }

        ref var sysctl = ref MemoryMarshal.AsRef<XenSysctl>(op);
        if (sysctl.InterfaceVersion != XenInterface.CoreSysctl)
        {
            return Negated(Errno.EACCES);
        }

        if (!_caller.IsControl)
        {
            return Negated(Errno.EPERM);
        }

        using var _ = _machine.ControlLock.EnterScope();
        return sysctl.Command switch
        {
            SysctlCommand.GetDomainInfoList => SystemOperations.ListDomains(_machine, ref sysctl.GetDomainInfoList, buffer0),
            SysctlCommand.PhysInfo => SystemOperations.PhysicalInfo(_machine, out sysctl.PhysInfo),
            _ => Negated(Errno.ENOSYS),
        };
    }

    /// <inheritdoc/>
    public int HvmOp(uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1)
    {
        using var _ = _machine.ControlLock.EnterScope();
        return command switch
        {
            Abi.HvmOp.SetParam => ParameterOperations.Set(_machine, _caller, argument),
            Abi.HvmOp.GetParam => ParameterOperations.Get(_machine, _caller, argument),
            Abi.HvmOp.GetMemType => ParameterOperations.GetMemType(_machine, _caller, argument),
            Abi.HvmOp.AltP2m => ViewOperations.Operate(_machine, _caller, argument, buffer0, buffer1),
            _ => Negated(Errno.ENOSYS),
        };
    }

    /// <inheritdoc/>
    public int MemoryOp(uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1)
    {
        using var _ = _machine.ControlLock.EnterScope();
        try
        {
            return ToolstackMemoryOperations.Operate(_machine, _caller, command, argument, buffer0, buffer1);
        }
        catch (HypervisorException refused)
        {
            return Negated(refused.Error);
        }
    }

    /// <inheritdoc/>
    public int DmOp(ushort domain, Span<byte> op)
    {
        using var _ = _machine.ControlLock.EnterScope();
        if (_machine.Find(domain) is not { } target)
        {
            return Negated(Errno.ESRCH);
        }

        if (!_caller.IsControl)
        {
            return Negated(Errno.EPERM);
        }

        if (op.Length < XenDmOp.SizeInBytes)
        {
            return Negated(Errno.EFAULT);
        }

        ref var operation = ref MemoryMarshal.AsRef<XenDmOp>(op);
        switch (operation.Op)
        {
            case DmOpCommand.InjectEvent:
                return target.FindVcpu(operation.InjectEvent.VcpuId) is { } vcpu
                    ? Negated(vcpu.Runner.InjectEvent(operation.InjectEvent))
                    : Negated(Errno.EINVAL);
            case DmOpCommand.RemoteShutdown:
                target.Shutdown((ShutdownReason)operation.RemoteShutdownReason);
                return 0;
            case DmOpCommand.NrVcpus:
                operation.NrVcpus = (uint)target.Vcpus.Count;
                return 0;
            default:
                return Negated(Errno.EOPNOTSUPP);
        }
    }

    /// <inheritdoc/>
    public int MapForeign(ushort domain, ReadOnlySpan<ulong> gfns, bool writable, out ForeignMapping? mapping)
    {
        mapping = null;
        var result = HoldPages(domain, gfns, writable, out var pages);
        if (result < 0)
        {
            return result;
        }

        try
        {
            mapping = new LocalForeignMapping(pages!);
            return 0;
        }
        catch (HypervisorException refused)
        {
            pages!.Dispose();
            return Negated(refused.Error);
        }
    }

    /// <inheritdoc/>
    public int ExportForeign(ushort domain, ReadOnlySpan<ulong> gfns, bool writable, out ForeignExport? export)
    {
        var result = HoldPages(domain, gfns, writable, out var pages);
        export = pages is null ? null : new LocalForeignExport(pages);
        return result;
    }

    /// <inheritdoc/>
    public int BindInterdomain(ushort domain, uint remotePort, out EventChannel? channel) =>
        ExportEventChannel(domain, remotePort, out channel, out _);

    /// <inheritdoc/>
    public int ExportEventChannel(ushort domain, uint remotePort, out EventChannel? channel, out EventFd? fromRemote)
    {
        channel = null;
        fromRemote = null;
        using var _ = _machine.ControlLock.EnterScope();
        if (_machine.Find(domain) is not { } target)
        {
            return Negated(Errno.ESRCH);
        }

        // The ring's port is bound to the control domain, which enabled it.
        if (!_caller.IsControl || target.MonitorRing is not { } ring || ring.Port.Port != remotePort)
        {
            return Negated(Errno.EINVAL);
        }

        return Negated(ring.Port.Bind((uint)Interlocked.Increment(ref _nextPort), out channel, out fromRemote));
    }

    /// <inheritdoc/>
    public string? GetDomainName(ushort domain) => _machine.Find(domain) is { Name.Length: > 0 } target ? target.Name : null;

    /// <inheritdoc/>
    public int SetDomainName(ushort domain, string name)
    {
        using var _ = _machine.ControlLock.EnterScope();
        if (_machine.Find(domain) is not { } target)
        {
            return Negated(Errno.ESRCH);
        }

        if (!_caller.IsControl)
        {
            return Negated(Errno.EPERM);
        }

        if (name.Length != 0 && _machine.Domains.Any(other => other != target && other.Name == name))
        {
            return Negated(Errno.EEXIST);
        }

        target.Name = name;
        return 0;
    }

    /// <inheritdoc/>
    public int ReadConsole(ushort domain, ref ulong position, Span<byte> destination)
    {
        using var _ = _machine.ControlLock.EnterScope();
        if (_machine.Find(domain) is not { } target)
        {
            return Negated(Errno.ESRCH);
        }

        return _caller.IsControl ? target.Platform.ReadConsole(ref position, destination) : Negated(Errno.EPERM);
    }

    /// <summary>The machine stays: it is its owner's.</summary>
    public void Dispose()
    {
    }

    /// <summary>An error number as a call returns it.</summary>
    internal static int Negated(Errno error) => -(int)error;

    private int HoldPages(ushort domain, ReadOnlySpan<ulong> gfns, bool writable, out ForeignPages? pages)
    {
        pages = null;
        using var _ = _machine.ControlLock.EnterScope();
        if (_machine.Find(domain) is not { } target)
        {
            return Negated(Errno.ESRCH);
        }

        return _caller.IsControl ? Negated(ForeignPages.Hold(target, gfns, writable, out pages)) : Negated(Errno.EPERM);
    }
}
