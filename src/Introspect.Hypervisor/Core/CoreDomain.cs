using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Core;

/// <summary>A domain of the core, through the toolstack's door.</summary>
internal sealed partial class CoreDomain : IDomain
{
    // A control tool's pauses are a byte's worth on Xen.
    private const int MaxPauses = 256;

    private readonly ToolstackCalls _calls;
    private readonly GuestMemory _memory;

    public CoreDomain(ToolstackCalls calls, DomainId id)
    {
        _calls = calls;
        Id = id;
        _memory = new GuestMemory(new Mapper(calls, id.Value));
    }

    /// <inheritdoc/>
    public DomainId Id { get; }

    /// <inheritdoc/>
    public IGuestMemory Memory => _memory;

    private ushort Number => Id.Value;

    /// <summary>What is told of a domain, in the seam's words.</summary>
    public static DomainInfo Describe(ToolstackCalls calls, in DomctlGetDomainInfo info) => new(
        new(info.Domain),
        calls.Toolstack.GetDomainName(info.Domain) ?? "",
        DomainHandle.Read(info),
        CoreDomainFlags.VendorOf(info.ArchConfig.MiscFlags),
        (int)unchecked(info.MaxVcpuId + 1),
        new((info.Flags & DomainInfoFlags.Dying) != 0 ? 0 : calls.MaximumGfn(info.Domain)),
        info.TotPages * Gfn.PageSize,
        StateOf(info),
        info.PauseCount)
    {
        Parent = ParentOf(calls, info),
        IsHardwareDomain = (CoreDomainFlags.RolesOf(info.ArchConfig.MiscFlags) & DomainRoles.Hardware) != 0,
        IsControlDomain = (CoreDomainFlags.RolesOf(info.ArchConfig.MiscFlags) & DomainRoles.Control) != 0,
    };

    /// <inheritdoc/>
    public DomainInfo GetInfo() => Describe(_calls, _calls.GetDomainInfo(Number));

    /// <inheritdoc/>
    public void Pause() => _calls.Domctl(DomctlCommand.PauseDomain, Number, $"pausing domain {Id}");

    /// <inheritdoc/>
    public void Unpause() => _calls.Domctl(DomctlCommand.UnpauseDomain, Number, $"unpausing domain {Id}");

    /// <inheritdoc/>
    public void PauseVcpu(VcpuId vcpu) => Hold(DomctlCommand.GdbsxPauseVcpu, vcpu, "holding");

    /// <inheritdoc/>
    public void UnpauseVcpu(VcpuId vcpu) => Hold(DomctlCommand.GdbsxUnpauseVcpu, vcpu, "letting go of");

    /// <inheritdoc/>
    public Gfn AddFrame()
    {
        GrowBy(1);
        var gfn = _calls.MaximumGfn(Number) + 1;
        try
        {
            _calls.Populate(Number, [gfn]);
            return new(gfn);
        }
        catch (HypervisorException)
        {
            GrowBy(-1);
            throw;
        }
    }

    /// <inheritdoc/>
    public void RemoveFrame(Gfn gfn)
    {
        if (!_calls.TryDepopulate(Number, [gfn.Value]))
        {
            throw new HypervisorException(Errno.EINVAL, $"taking frame {gfn} of domain {Id}: it is not there");
        }

        InvalidateMemory();
        GrowBy(-1);
    }

    /// <inheritdoc/>
    public VcpuState ReadVcpu(VcpuId vcpu)
    {
        ToolstackCalls.Check(ReadVcpu(vcpu, out var state), $"reading vCPU {vcpu} of domain {Id}");
        return state;
    }

    /// <summary>Reads a vCPU's registers. False: it has none now, since it is down.</summary>
    internal bool TryReadVcpu(VcpuId vcpu, out VcpuState state) => ReadVcpu(vcpu, out state) == Errno.None;

    private Errno ReadVcpu(VcpuId vcpu, out VcpuState state)
    {
        var domctl = ToolstackCalls.Domctl(DomctlCommand.GetHvmContextPartial, Number);
        var record = default(HvmHwCpu);
        domctl.HvmContextPartial.Type = HvmSaveCode.Cpu;
        domctl.HvmContextPartial.Instance = vcpu.Value;
        domctl.HvmContextPartial.BufferSize = (ulong)Marshal.SizeOf<HvmHwCpu>();
        domctl.HvmContextPartial.Buffer = 1;
        var result = _calls.TryCall(ref domctl, MemoryMarshal.AsBytes(new Span<HvmHwCpu>(ref record)));
        state = VcpuRecord.ToState(record);
        return result;
    }

    /// <inheritdoc/>
    public void WriteVcpu(VcpuId vcpu, in VcpuState state)
    {
        // As every toolstack does it: the whole context, with one record changed. A pause keeps the others' states still.
        Pause();
        try
        {
            var context = ReadContext();
            var record = FindRecord(context, HvmSaveCode.Cpu, vcpu.Value);
            if (record.IsEmpty)
            {
                throw new HypervisorException(Errno.EINVAL, $"domain {Id} has no vCPU {vcpu} that is up");
            }

            ref var cpu = ref MemoryMarshal.AsRef<HvmHwCpu>(record);
            VcpuRecord.Store(state, ref cpu);
            WriteContext(context, $"writing vCPU {vcpu} of domain {Id}");
        }
        finally
        {
            Unpause();
        }
    }

    /// <inheritdoc/>
    public void InjectTrap(VcpuId vcpu, in TrapInjection trap)
    {
        var operation = new XenDmOp { Op = DmOpCommand.InjectEvent };
        operation.InjectEvent.VcpuId = vcpu.Value;
        operation.InjectEvent.Vector = trap.Vector;
        operation.InjectEvent.Type = trap.Type;
        operation.InjectEvent.InsnLength = trap.InsnLength;
        operation.InjectEvent.ErrorCode = trap.ErrorCode;
        operation.InjectEvent.Cr2 = trap.Cr2;
        _calls.DmOp(Number, ref operation, $"injecting vector {trap.Vector} into vCPU {vcpu} of domain {Id}");
    }

    /// <inheritdoc/>
    public IMonitor EnableMonitor() => CoreMonitor.Enable(_calls, this);

    /// <inheritdoc/>
    public RecoveryReport Recover()
    {
        Pause();
        MonitorRecovery.Found found;
        try
        {
            found = MonitorRecovery.Run(_calls, this);
            LetGoOfVcpus();
        }
        finally
        {
            Unpause();
        }

        var undone = 0;
        while (undone < MaxPauses && (_calls.GetDomainInfo(Number).Flags & DomainInfoFlags.Paused) != 0)
        {
            Unpause();
            undone++;
        }

        return new RecoveryReport(found.WasEnabled, found.Unanswered, found.Released, undone) { TellsHeldVcpus = _calls.Toolstack.TellsHeldVcpus };
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    /// <summary>The whole hvm context.</summary>
    internal byte[] ReadContext()
    {
        var domctl = ToolstackCalls.Domctl(DomctlCommand.GetHvmContext, Number);
        _calls.Call(ref domctl, default, $"asking for the size of the context of domain {Id}");
        var context = new byte[domctl.HvmContext.Size];
        domctl.HvmContext.Buffer = 1;
        _calls.Call(ref domctl, context, $"reading the context of domain {Id}");
        return context[..(int)domctl.HvmContext.Size];
    }

    /// <summary>Loads a whole hvm context.</summary>
    internal void WriteContext(byte[] context, string what)
    {
        var domctl = ToolstackCalls.Domctl(DomctlCommand.SetHvmContext, Number);
        domctl.HvmContext.Size = (uint)context.Length;
        domctl.HvmContext.Buffer = 1;
        _calls.Call(ref domctl, context, what);
    }

    /// <summary>Lets go of what is mapped: the physmap changes.</summary>
    internal void InvalidateMemory() => _memory.Invalidate();

    private void GrowBy(long pages)
    {
        const ulong KibibytesPerPage = Gfn.PageSize / 1024;
        var limit = ToolstackCalls.Domctl(DomctlCommand.MaxMem, Number);
        limit.MaxMem.MaxMemKb = (_calls.GetDomainInfo(Number).MaxPages + (ulong)pages) * KibibytesPerPage;
        _calls.Call(ref limit, default, $"changing the memory limit of domain {Id} by {pages} pages");
    }

    private void Hold(uint command, VcpuId vcpu, string what) =>
        ToolstackCalls.Check(TryHold(command, vcpu), $"{what} vCPU {vcpu} of domain {Id}");

    private Errno TryHold(uint command, VcpuId vcpu)
    {
        var domctl = ToolstackCalls.Domctl(command, Number);
        domctl.GdbsxPauseVcpu.Vcpu = vcpu.Value;
        return _calls.TryCall(ref domctl, default);
    }

    // A monitor that dies in the step of one vCPU leaves the others held.
    private void LetGoOfVcpus()
    {
        var vcpus = unchecked(_calls.GetDomainInfo(Number).MaxVcpuId + 1);
        for (uint vcpu = 0; vcpu < vcpus; vcpu++)
        {
            for (var pauses = 0; pauses < MaxPauses && TryHold(DomctlCommand.GdbsxUnpauseVcpu, new(vcpu)) == Errno.None; pauses++)
            {
            }
        }
    }

    private static Span<byte> FindRecord(Span<byte> context, ushort type, uint instance)
    {
        var descriptorBytes = Marshal.SizeOf<HvmSaveDescriptor>();
        while (MemoryMarshal.TryRead<HvmSaveDescriptor>(context, out var descriptor) && descriptor.TypeCode != HvmSaveCode.End)
        {
            context = context[descriptorBytes..];
            if (descriptor.TypeCode == type && descriptor.Instance == instance)
            {
                return context[..(int)descriptor.Length];
            }

            context = context[(int)descriptor.Length..];
        }

        return default;
    }

    private static DomainState StateOf(in DomctlGetDomainInfo info) =>
        (info.Flags & DomainInfoFlags.Dying) != 0 ? DomainState.Dying
        : (info.Flags & DomainInfoFlags.Shutdown) != 0 ? info.ShutdownReason switch
        {
            ShutdownReason.Poweroff => DomainState.PowerOff,
            ShutdownReason.Reboot or ShutdownReason.SoftReset => DomainState.Reboot,
            ShutdownReason.Suspend => DomainState.Suspend,
            _ => DomainState.Crash,
        }
        : (info.Flags & DomainInfoFlags.Paused) != 0 ? DomainState.Paused
        : (info.Flags & (DomainInfoFlags.Blocked | DomainInfoFlags.Running)) == DomainInfoFlags.Blocked ? DomainState.Blocked
        : DomainState.Running;

    private sealed class Mapper(ToolstackCalls calls, ushort domain) : IForeignMapper
    {
        public ForeignMapping? TryMap(ulong gfn, bool writable) => calls.TryMap(domain, [gfn], writable);
    }
}
