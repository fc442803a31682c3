using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;

namespace Introspect.Hypervisor.Xen;

/// <summary>Domctl operations.</summary>
internal sealed partial class XenToolstack
{
    // XEN_X86_MSR_RELAXED and XEN_X86_ASSISTED_XAPIC: what Xen itself knows of misc_flags; the bits above are the core's.
    private const uint XenMiscFlags = 3;

    /// <inheritdoc/>
    public int Domctl(Span<byte> op, Span<byte> buffer0, Span<byte> buffer1)
    {
        ref var domctl = ref MemoryMarshal.AsRef<XenDomctl>(op);
        var domain = domctl.Domain;
        switch (domctl.Command)
        {
            case DomctlCommand.PauseDomain:
                return Control.Pause(domain);
            case DomctlCommand.UnpauseDomain:
                return Control.Unpause(domain);
            case DomctlCommand.DestroyDomain:
                return Control.Destroy(domain);
            case DomctlCommand.GetDomainInfo:
                return GetDomainInfo(ref domctl);
            case DomctlCommand.GetVcpuInfo:
                return Control.GetVcpuInfo(domain, ref domctl.VcpuInfo);
            case DomctlCommand.MaxMem:
                return Control.SetMaxMem(domain, domctl.MaxMem.MaxMemKb);
            case DomctlCommand.GetHvmContext:
                var size = Control.GetContext(domain, buffer0);
                domctl.HvmContext.Size = (uint)Math.Max(size, 0);
                return Math.Min(size, 0);
            case DomctlCommand.SetHvmContext:
                return Control.SetContext(domain, buffer0);
            case DomctlCommand.GetHvmContextPartial:
                return Control.GetContextPartial(domain, domctl.HvmContextPartial.Type, domctl.HvmContextPartial.Instance, buffer0);
            case DomctlCommand.SetAccessRequired:
                return Control.SetAccessRequired(domain, domctl.AccessRequired.AccessRequired != 0);
            case DomctlCommand.VmEventOp when domctl.VmEventOp.Mode == VmEventMode.Monitor:
                return OperateRing(op, ref domctl);
            case DomctlCommand.MonitorOp:
                return OperateMonitor(op, ref domctl);
            case DomctlCommand.CreateDomain:
                return CreateDomain(ref domctl);
            default:
                // Whoever adds an operation with a buffer must say where its handle is.
                return buffer0.IsEmpty ? CallAsIs(op) : -(int)Errno.ENOSYS;
        }
    }

    private int CallAsIs(Span<byte> op)
    {
        MemoryMarshal.AsRef<XenDomctl>(op).InterfaceVersion = Release.Domctl;
        return Hypercalls.Call(HypercallNumber.Domctl, op);
    }

    private bool Exists(ushort domain)
    {
        Span<byte> record = stackalloc byte[Release.DomainInfoBytes];
        return Control.GetInfoList(domain, 1, record) == 1 && MemoryMarshal.Read<ushort>(record) == domain;
    }

    // Xen answers with the next domain where this one does not exist; the caller compares.
    private int GetDomainInfo(ref XenDomctl domctl)
    {
        Span<byte> record = stackalloc byte[Release.DomainInfoBytes];
        var result = Control.GetInfoList(domctl.Domain, 1, record);
        if (result < 1)
        {
            return result < 0 ? result : -(int)Errno.ESRCH;
        }

        domctl.GetDomainInfo = ReadInfo(record);
        domctl.Domain = domctl.GetDomainInfo.Domain;
        return 0;
    }

    private int ListDomains(ref SysctlGetDomainInfoList list, Span<DomctlGetDomainInfo> domains)
    {
        var most = (uint)Math.Min(list.MaxDomains, domains.Length);
        var records = new byte[most * Release.DomainInfoBytes];
        var count = Control.GetInfoList(list.FirstDomain, most, records);
        for (var i = 0; i < count; i++)
        {
            domains[i] = ReadInfo(records.AsSpan(i * Release.DomainInfoBytes, Release.DomainInfoBytes));
        }

        list.NumDomains = (uint)Math.Max(count, 0);
        return Math.Min(count, 0);
    }

    private DomctlGetDomainInfo ReadInfo(ReadOnlySpan<byte> record)
    {
        // Up to the architecture's settings all releases have the same fields.
        const int CommonBytes = 96;
        var info = default(DomctlGetDomainInfo);
        record[..CommonBytes].CopyTo(MemoryMarshal.AsBytes(new Span<DomctlGetDomainInfo>(ref info)));
        info.ArchConfig.EmulationFlags = (X86EmulationFlags)MemoryMarshal.Read<uint>(record[Release.DomainInfoArchOffset..]);

        // The settings' second word tells the vendor here, as the core tells it; Xen leaves that to the processors.
        var misc = Release.HasMiscFlags ? MemoryMarshal.Read<uint>(record[(Release.DomainInfoArchOffset + sizeof(uint))..]) : 0;
        info.ArchConfig.MiscFlags = (misc & XenMiscFlags) | (_vendor == CpuVendor.Svm ? CoreDomainFlags.Svm : 0);
        return info;
    }

    private int CreateDomain(ref XenDomctl domctl)
    {
        Span<byte> op = stackalloc byte[XenDomctl.SizeInBytes];
        op.Clear();
        ref var sent = ref MemoryMarshal.AsRef<XenDomctl>(op);
        (sent.Command, sent.Domain) = (domctl.Command, domctl.Domain);
        WriteCreateDomain(domctl.CreateDomain, op[(int)Marshal.OffsetOf<XenDomctl>(nameof(XenDomctl.CreateDomain))..]);
        var result = CallAsIs(op);
        domctl.Domain = sent.Domain;
        return result;
    }

    private void WriteCreateDomain(in DomctlCreateDomain config, Span<byte> destination)
    {
        // ssidref to max_maptrack_frames are the same in all releases; then come what this release has.
        const int CommonBytes = 44;
        var at = CommonBytes;
        MemoryMarshal.AsBytes(new ReadOnlySpan<DomctlCreateDomain>(in config))[..CommonBytes].CopyTo(destination);
        var (grantOpts, altP2m, vmtraceSize, cpupoolId) = Release.CreateDomainFields;
        Put(destination, ref at, grantOpts, config.GrantOpts);
        Put(destination, ref at, altP2m, 0);
        Put(destination, ref at, vmtraceSize, config.VmtraceSize);
        Put(destination, ref at, cpupoolId, config.CpupoolId);
        Put(destination, ref at, true, (uint)config.Arch.EmulationFlags);
        Put(destination, ref at, Release.HasMiscFlags, config.Arch.MiscFlags & XenMiscFlags);
    }

    private static void Put(Span<byte> destination, ref int at, bool has, uint value)
    {
        if (has)
        {
            MemoryMarshal.Write(destination[at..], in value);
            at += sizeof(uint);
        }
    }

    private int OperateRing(Span<byte> op, ref XenDomctl domctl)
    {
        switch (domctl.VmEventOp.Op)
        {
            case VmEventOperation.Disable:
                return Control.DisableMonitor(domctl.Domain);
            case VmEventOperation.Resume:
                return Control.ResumeMonitor(domctl.Domain);
            case VmEventOperation.GetVersion:
                var version = Control.GetVmEventVersion();
                domctl.VmEventOp.Version = (uint)Math.Max(version, 0);
                return Math.Min(version, 0);
            default:
                // ENABLE alone: xc_monitor_enable does in one go what the caller does step by step, with the domain paused.
                return CallAsIs(op);
        }
    }

    private int OperateMonitor(Span<byte> op, ref XenDomctl domctl)
    {
        ref var operation = ref domctl.MonitorOp;
        switch (operation.Op)
        {
            case MonitorOperation.GetCapabilities:
                return Control.GetCapabilities(domctl.Domain, out operation.Event);
            case MonitorOperation.EmulateEachRep:
                return Control.EmulateEachRep(domctl.Domain, operation.Event != 0);
            case MonitorOperation.Enable:
                RefuseWhatKills(domctl.Domain, operation);
                return Control.SwitchEvent(domctl.Domain, operation);
            case MonitorOperation.Disable:
                return Control.SwitchEvent(domctl.Domain, operation);
            default:
                // CONTROL_REGISTERS, for which libxenctrl has no call.
                return CallAsIs(op);
        }
    }

    private void RefuseWhatKills(ushort domain, in DomctlMonitorOp operation)
    {
        if ((MonitorEventKind)operation.Event == MonitorEventKind.MovToMsr && operation.MovToMsr.Msr == Msr.Efer && _vendor == CpuVendor.Svm)
        {
            throw new HypervisorException(
                Errno.EOPNOTSUPP,
                $"MSR EFER of domain {domain} is not monitored: on AMD processors Xen crashes a guest whose EFER writes are intercepted; watch CR0 and CR4 instead");
        }

        if ((MonitorEventKind)operation.Event == MonitorEventKind.Io && operation.IoAsync != 0)
        {
            throw new HypervisorException(Errno.EOPNOTSUPP, $"port accesses of domain {domain} cannot be watched without waiting: Xen's I/O events are always sync");
        }
    }
}
