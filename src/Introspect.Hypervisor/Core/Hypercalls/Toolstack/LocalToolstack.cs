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
/// Who may ask is decided before the turn, as on Xen: who may not never waits.
/// </summary>
internal sealed class LocalToolstack : IToolstack, IDescriptorSource
{
    private readonly Machine _machine;
    private readonly ToolstackCaller _caller;
    private readonly DomainOperations _domains;
    private readonly bool _waits;
    private int _nextPort;

    /// <param name="machine">The machine; stays its owner's.</param>
    /// <param name="caller">On whose behalf the calls are made.</param>
    /// <param name="waits">
    /// Calls wait for their turn. False for a vCPU, for which those may wait whose turn it is: it gets ERESTART, and
    /// asks again after it could have been stopped.
    /// </param>
    public LocalToolstack(Machine machine, ToolstackCaller caller, bool waits = true)
    {
        _machine = machine;
        _caller = caller;
        _waits = waits;
        _domains = new(machine, caller);
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

        if (_domains.Find(in domctl, out var domain) is var refused and not Errno.None)
        {
            return Negated(refused);
        }

        // Asking for the interface version is free to everybody.
        if (domctl.Command == DomctlCommand.VmEventOp && domctl.VmEventOp.Op == VmEventOperation.GetVersion)
        {
            domctl.VmEventOp.Version = VmEvent.InterfaceVersion;
            return 0;
        }

        if (_domains.CheckRights(domain, in domctl) is var denied and not Errno.None)
        {
            return Negated(denied);
        }

        if (!TryEnter())
        {
            return Negated(Errno.ERESTART);
        }

        try
        {
            // It may have gone while others had their turn.
            var gone = _domains.Find(in domctl, out domain);
            return Negated(gone != Errno.None ? gone : _domains.Operate(domain, ref domctl, buffer0));
        }
        catch (HypervisorException failed)
        {
            return Negated(failed.Error);
        }
        finally
        {
            _machine.ControlLock.Exit();
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

        if (CallerRights.Check(_caller, target: null, CallRight.Control) is var refused and not Errno.None)
        {
            return Negated(refused);
        }

        if (!TryEnter())
        {
            return Negated(Errno.ERESTART);
        }

        try
        {
            return sysctl.Command switch
            {
                SysctlCommand.GetDomainInfoList => SystemOperations.ListDomains(_machine, ref sysctl.GetDomainInfoList, buffer0),
                SysctlCommand.PhysInfo => SystemOperations.PhysicalInfo(_machine, out sysctl.PhysInfo),
                _ => Negated(Errno.ENOSYS),
            };
        }
        finally
        {
            _machine.ControlLock.Exit();
        }
    }

    /// <inheritdoc/>
    public int HvmOp(uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1)
    {
        if (!TryEnter())
        {
            return Negated(Errno.ERESTART);
        }

        try
        {
            return command switch
            {
                Abi.HvmOp.SetParam => ParameterOperations.Set(_machine, _caller, argument),
                Abi.HvmOp.GetParam => ParameterOperations.Get(_machine, _caller, argument),
                Abi.HvmOp.GetMemType => ParameterOperations.GetMemType(_machine, _caller, argument),
                Abi.HvmOp.AltP2m => ViewOperations.Operate(_machine, _caller, argument, buffer0, buffer1),
                _ => Negated(Errno.ENOSYS),
            };
        }
        finally
        {
            _machine.ControlLock.Exit();
        }
    }

    /// <inheritdoc/>
    public int MemoryOp(uint command, Span<byte> argument, Span<byte> buffer0, Span<byte> buffer1)
    {
        if (!TryEnter())
        {
            return Negated(Errno.ERESTART);
        }

        try
        {
            return ToolstackMemoryOperations.Operate(_machine, _caller, command, argument, buffer0, buffer1);
        }
        catch (HypervisorException refused)
        {
            return Negated(refused.Error);
        }
        finally
        {
            _machine.ControlLock.Exit();
        }
    }

    /// <inheritdoc/>
    public int DmOp(ushort domain, Span<byte> op)
    {
        if (CallerRights.Find(_machine, _caller, domain, CallRight.DeviceModel, out var target) is var refused and not Errno.None)
        {
            return Negated(refused);
        }

        // A device model is for another domain.
        if (domain == _caller.DomainId)
        {
            return Negated(Errno.EPERM);
        }

        if (op.Length < XenDmOp.SizeInBytes)
        {
            return Negated(Errno.EFAULT);
        }

        if (!TryEnter())
        {
            return Negated(Errno.ERESTART);
        }

        try
        {
            return target!.IsGone ? Negated(Errno.ESRCH) : Operate(target, ref MemoryMarshal.AsRef<XenDmOp>(op));
        }
        finally
        {
            _machine.ControlLock.Exit();
        }
    }

    private static int Operate(Domain target, ref XenDmOp operation)
    {
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
        if (CallerRights.Find(_machine, _caller, domain, CallRight.Control, out var target) is var refused and not Errno.None)
        {
            // That a port is there and another one's is not told: it is no port to bind to.
            return Negated(refused == Errno.EPERM ? Errno.EINVAL : refused);
        }

        // The ring's port is bound to the control domain, which enabled it.
        if (target!.MonitorRing is not { } ring || ring.Port.Port != remotePort)
        {
            return Negated(Errno.EINVAL);
        }

        return Negated(ring.Port.Bind((uint)Interlocked.Increment(ref _nextPort), out channel, out fromRemote));
    }

    /// <inheritdoc/>
    public string? GetDomainName(ushort domain) =>
        CallerRights.Find(_machine, _caller, domain, CallRight.Xenstore, out var target) == Errno.None && target!.Name.Length != 0 ? target.Name : null;

    /// <inheritdoc/>
    public int SetDomainName(ushort domain, string name)
    {
        using var _ = _machine.ControlLock.EnterScope();
        if (CallerRights.Find(_machine, _caller, domain, CallRight.Control, out var target) is var refused and not Errno.None)
        {
            return Negated(refused);
        }

        if (name.Length != 0 && _machine.Domains.Any(other => other != target && other.Name == name))
        {
            return Negated(Errno.EEXIST);
        }

        target!.Name = name;
        _machine.Store.Rename(domain, name);
        return 0;
    }

    /// <inheritdoc/>
    public int ReadConsole(ushort domain, ref ulong position, Span<byte> destination)
    {
        using var _ = _machine.ControlLock.EnterScope();
        return CallerRights.Find(_machine, _caller, domain, CallRight.Control, out var target) is var refused and not Errno.None
            ? Negated(refused)
            : target!.Platform.ReadConsole(ref position, destination);
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
        return CallerRights.Find(_machine, _caller, domain, CallRight.Target, out var target) is var refused and not Errno.None
            ? Negated(refused)
            : Negated(ForeignPages.Hold(target!, gfns, writable, out pages));
    }

    private bool TryEnter()
    {
        if (!_waits)
        {
            return _machine.ControlLock.TryEnter();
        }

        _machine.ControlLock.Enter();
        return true;
    }
}
