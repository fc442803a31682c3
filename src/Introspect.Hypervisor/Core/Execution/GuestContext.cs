using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Hypercalls.Guest;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>The calling vCPU and its domain as hypercalls see them.</summary>
internal sealed partial class GuestContext : IGuestHypercallContext
{
    private readonly VcpuRunner _runner;
    private readonly Domain _domain;
    private readonly DomainPlatform _platform;
    private readonly byte[] _handle = new byte[16];

    public GuestContext(VcpuRunner runner)
    {
        _runner = runner;
        _domain = runner.Vcpu.Domain;
        _platform = runner.Platform;
        Caller = ToolstackCaller.Of(_domain);
        Toolstack = new LocalToolstack(_domain.Machine, Caller, waits: false);
    }

    /// <inheritdoc/>
    public ushort DomainId => _domain.Id.Value;

    /// <inheritdoc/>
    public ReadOnlySpan<byte> DomainHandle
    {
        get
        {
            _domain.Handle.TryWriteBytes(_handle, bigEndian: true, out _);
            return _handle;
        }
    }

    /// <inheritdoc/>
    public DomainRoles Roles => _domain.Roles;

    /// <inheritdoc/>
    public ToolstackCaller Caller { get; }

    /// <inheritdoc/>
    public IToolstack Toolstack { get; }

    /// <inheritdoc/>
    public CpuVendor Vendor => _domain.Personality.Vendor;

    /// <inheritdoc/>
    public int Cpl
    {
        get
        {
            // Real mode has no privilege to show: Xen refuses its hypercalls as it does those of vm86.
            ref var state = ref _runner.Cpu.Registers;
            return (state.Mode & Core.Cpu.CpuMode.RealOrVm86) != 0 ? 3 : state.Cpl;
        }
    }

    /// <inheritdoc/>
    public bool GuestRequestFromUserspace => _domain.Monitor.GuestRequestUserspace;

    /// <inheritdoc/>
    public ulong SystemTime => _platform.Clock.ToNanoseconds(_platform.ReadCycles(_runner.Vcpu, _runner.Cpu.RetiredNow));

    /// <inheritdoc/>
    public GuestConsole Console => _platform.Console;

    /// <inheritdoc/>
    public EventChannelTable Events => _platform.Events;

    /// <inheritdoc/>
    public SharedInfoPage Shared => _platform.Shared;

    /// <inheritdoc/>
    public DomainTimers Timers => _platform.Timers;

    /// <inheritdoc/>
    public bool DomainExists(ushort domainId) => domainId == DomainId || _domain.Machine.Find(domainId) is not null;

    /// <inheritdoc/>
    public EventChannelTable? FindEvents(ushort domainId) =>
        domainId == DomainId ? Events : (_domain.Machine.Find(domainId)?.Platform as DomainPlatform)?.Events;

    /// <inheritdoc/>
    public ulong ReadHvmParam(uint index) => _domain.GetParam(index);

    /// <inheritdoc/>
    public int WriteHvmParam(uint index, ulong value)
    {
        var error = _platform.HvmParamSet(index, value);
        if (error != Errno.None)
        {
            return -(int)error;
        }

        _domain.SetParam(index, value);
        return 0;
    }

    /// <inheritdoc/>
    public void RaiseGuestRequest() => _runner.MonitorGuestRequest();

    /// <inheritdoc/>
    public void Shutdown(ShutdownReason reason) => _platform.ShutDown(reason);

    /// <inheritdoc/>
    public void SetShutdownCode(ShutdownReason reason) => _platform.KeepShutdownReason(reason);
}
