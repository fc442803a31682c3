using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Tests.Xen;

/// <summary>libxenctrl.</summary>
internal sealed unsafe partial class FakeXenLibraries
{
    private void AddControl()
    {
        _functions["xc_interface_open"] = new OpenControlFunction((_, _, _) => 0x1002);
        _functions["xc_interface_close"] = new HandleFunction(_ => 0);
        _functions["xc_domain_pause"] = new DomainFunction((_, domain) => Do(DomctlCommand.PauseDomain, domain));
        _functions["xc_domain_unpause"] = new DomainFunction((_, domain) => Do(DomctlCommand.UnpauseDomain, domain));
        _functions["xc_domain_destroy"] = new DomainFunction((_, domain) => Do(DomctlCommand.DestroyDomain, domain));
        _functions["xc_domain_setmaxmem"] = new SetMaxMemFunction((_, domain, kibibytes) =>
        {
            var domctl = Domctl(DomctlCommand.MaxMem, domain);
            domctl.MaxMem.MaxMemKb = kibibytes;
            return Told(Do(ref domctl));
        });
        _functions["xc_domain_getinfolist"] = new InfoListFunction((_, first, most, records) => Told(List(first, most, (byte*)records)));
        _functions["xc_vcpu_getinfo"] = new VcpuInfoFunction((_, domain, vcpu, info) =>
        {
            var domctl = Domctl(DomctlCommand.GetVcpuInfo, domain);
            domctl.VcpuInfo.Vcpu = vcpu;
            var result = Do(ref domctl);
            *(DomctlVcpuInfo*)info = domctl.VcpuInfo;
            return Told(result);
        });
        _functions["xc_domain_hvm_getcontext"] = new ContextFunction((_, domain, buffer, size) =>
        {
            var domctl = Domctl(DomctlCommand.GetHvmContext, domain);
            (domctl.HvmContext.Size, domctl.HvmContext.Buffer) = (size, buffer == 0 ? 0u : 1);
            var result = Do(ref domctl, new Span<byte>((void*)buffer, (int)size));
            return Told(result < 0 ? result : (int)domctl.HvmContext.Size);
        });
        _functions["xc_domain_hvm_setcontext"] = new ContextFunction((_, domain, buffer, size) =>
        {
            var domctl = Domctl(DomctlCommand.SetHvmContext, domain);
            domctl.HvmContext.Size = size;
            domctl.HvmContext.Buffer = 1;
            return Told(Do(ref domctl, new Span<byte>((void*)buffer, (int)size)));
        });
        _functions["xc_domain_hvm_getcontext_partial"] = new PartialContextFunction((_, domain, type, instance, buffer, size) =>
        {
            var domctl = Domctl(DomctlCommand.GetHvmContextPartial, domain);
            (domctl.HvmContextPartial.Type, domctl.HvmContextPartial.Instance) = (type, instance);
            (domctl.HvmContextPartial.BufferSize, domctl.HvmContextPartial.Buffer) = (size, 1);
            return Told(Do(ref domctl, new Span<byte>((void*)buffer, (int)size)));
        });
        _functions["xc_hvm_param_get"] = new GetParamFunction((_, domain, index, value) =>
        {
            var argument = new HvmParamArgument { Domid = (ushort)domain, Index = index };
            var result = _door.HvmOp(HvmOp.GetParam, MemoryMarshal.AsBytes(new Span<HvmParamArgument>(ref argument)), default, default);
            *(ulong*)value = argument.Value;
            return Told(result);
        });
        _functions["xc_hvm_param_set"] = new SetParamFunction((_, domain, index, value) =>
        {
            var argument = new HvmParamArgument { Domid = (ushort)domain, Index = index, Value = value };
            return Told(_door.HvmOp(HvmOp.SetParam, MemoryMarshal.AsBytes(new Span<HvmParamArgument>(ref argument)), default, default));
        });
        _functions["xc_hvm_inject_trap"] = new InjectFunction((_, domain, vcpu, vector, type, error, length, cr2) =>
        {
            var operation = new XenDmOp { Op = DmOpCommand.InjectEvent };
            operation.InjectEvent = new() { VcpuId = (uint)vcpu, Vector = vector, Type = type, ErrorCode = error, InsnLength = length, Cr2 = cr2 };
            return Told(_door.DmOp((ushort)domain, MemoryMarshal.AsBytes(new Span<XenDmOp>(ref operation))));
        });
        _functions["xc_domain_maximum_gpfn"] = new MaximumGfnFunction((_, domain, gfn) =>
        {
            var argument = new MemoryDomain { Domid = (ushort)domain };
            var result = _door.MemoryOp(MemoryOp.MaximumGpfn, MemoryMarshal.AsBytes(new Span<MemoryDomain>(ref argument)), default, default);
            *(ulong*)gfn = (ulong)Math.Max(result, 0);
            return Told(Math.Min(result, 0));
        });
        _functions["xc_domain_populate_physmap"] = new PopulateFunction((_, domain, count, order, _, frames) =>
            Told(Reserve(MemoryOp.PopulatePhysmap, domain, (int)count, order, frames)));
        _functions["xc_domain_decrease_reservation"] = new DecreaseFunction((_, domain, count, order, frames) =>
            Told(Reserve(MemoryOp.DecreaseReservation, domain, (int)count, order, frames)));
    }

    private int Reserve(uint command, uint domain, int count, uint order, nint frames)
    {
        var reservation = new MemoryReservation { ExtentStart = 1, NrExtents = (ulong)count, ExtentOrder = order, Domid = (ushort)domain };
        return _door.MemoryOp(
            command, MemoryMarshal.AsBytes(new Span<MemoryReservation>(ref reservation)), new Span<byte>((void*)frames, count * sizeof(ulong)), default);
    }

    // Each release's own layout: the architecture's settings are at the end, wherever that is.
    private int List(uint first, uint most, byte* records)
    {
        var domains = new DomctlGetDomainInfo[most];
        var sysctl = new XenSysctl { Command = SysctlCommand.GetDomainInfoList, InterfaceVersion = XenInterface.CoreSysctl };
        (sysctl.GetDomainInfoList.FirstDomain, sysctl.GetDomainInfoList.MaxDomains, sysctl.GetDomainInfoList.Buffer) = ((ushort)first, most, 1);
        var result = _door.Sysctl(MemoryMarshal.AsBytes(new Span<XenSysctl>(ref sysctl)), MemoryMarshal.AsBytes(domains.AsSpan()));
        if (result < 0)
        {
            return result;
        }

        var (stride, arch) = _release.Minor >= 16 ? (112, 104) : (104, 96);
        for (var i = 0; i < sysctl.GetDomainInfoList.NumDomains; i++)
        {
            var record = new Span<byte>(records + (i * stride), stride);
            record.Fill(0xAA);
            MemoryMarshal.AsBytes(new ReadOnlySpan<DomctlGetDomainInfo>(in domains[i]))[..96].CopyTo(record);
            MemoryMarshal.Write(record[arch..], in domains[i].ArchConfig.EmulationFlags);
            MemoryMarshal.Write(record[(arch + 4)..], 0u);
        }

        return (int)sysctl.GetDomainInfoList.NumDomains;
    }

    private void AddMonitor()
    {
        _functions["xc_vm_event_get_version"] = new HandleFunction(_ => (int)_release.VmEvent);
        _functions["xc_monitor_disable"] = new DomainFunction((_, domain) => Ring(domain, VmEventOperation.Disable));
        _functions["xc_monitor_resume"] = new DomainFunction((_, domain) => Ring(domain, VmEventOperation.Resume));
        _functions["xc_monitor_get_capabilities"] = new CapabilitiesFunction((_, domain, capabilities) =>
        {
            var domctl = Domctl(DomctlCommand.MonitorOp, domain);
            domctl.MonitorOp.Op = MonitorOperation.GetCapabilities;
            var result = Do(ref domctl);
            *(uint*)capabilities = domctl.MonitorOp.Event;
            return Told(result);
        });
        _functions["xc_monitor_write_ctrlreg"] = new WriteCtrlregFunction((_, domain, index, enable, sync, bitmask, onChangeOnly) =>
        {
            var domctl = Event(domain, MonitorEventKind.WriteCtrlreg, enable);
            (domctl.MonitorOp.MovToCr.Index, domctl.MonitorOp.MovToCr.Sync) = ((byte)index, sync);
            (domctl.MonitorOp.MovToCr.BitMask, domctl.MonitorOp.MovToCr.OnChangeOnly) = (bitmask, onChangeOnly);
            return Told(Do(ref domctl));
        });
        _functions["xc_monitor_mov_to_msr"] = new MovToMsrFunction((_, domain, msr, enable, onChangeOnly) =>
        {
            var domctl = Event(domain, MonitorEventKind.MovToMsr, enable);
            (domctl.MonitorOp.MovToMsr.Msr, domctl.MonitorOp.MovToMsr.OnChangeOnly) = (msr, onChangeOnly);
            return Told(Do(ref domctl));
        });
        _functions["xc_monitor_guest_request"] = new ThreeFlagsFunction((_, domain, enable, sync, userspace) =>
        {
            var domctl = Event(domain, MonitorEventKind.GuestRequest, enable);
            (domctl.MonitorOp.GuestRequest.Sync, domctl.MonitorOp.GuestRequest.AllowUserspace) = (sync, userspace);
            return Told(Do(ref domctl));
        });
        _functions["xc_monitor_debug_exceptions"] = new TwoFlagsFunction((_, domain, enable, sync) => Synced(domain, MonitorEventKind.DebugException, enable, sync));
        AddSimple("xc_monitor_singlestep", MonitorEventKind.Singlestep);
        AddSimple("xc_monitor_software_breakpoint", MonitorEventKind.SoftwareBreakpoint);
        AddSimple("xc_monitor_cpuid", MonitorEventKind.Cpuid);
        AddSimple("xc_monitor_descriptor_access", MonitorEventKind.DescAccess);
        AddSimple("xc_monitor_emul_unimplemented", MonitorEventKind.EmulUnimplemented);
        AddSimple("xc_monitor_inguest_pagefault", MonitorEventKind.InguestPagefault);
        if (_release.Minor >= 17)
        {
            _functions["xc_monitor_vmexit"] = new TwoFlagsFunction((_, domain, enable, sync) => Synced(domain, MonitorEventKind.VmExit, enable, sync));
        }

        if (_release.Minor >= 18)
        {
            AddSimple("xc_monitor_io", MonitorEventKind.Io);
        }

        _functions["xc_monitor_emulate_each_rep"] = new FlagFunction((_, domain, enable) =>
        {
            var domctl = Domctl(DomctlCommand.MonitorOp, domain);
            (domctl.MonitorOp.Op, domctl.MonitorOp.Event) = (MonitorOperation.EmulateEachRep, enable);
            return Told(Do(ref domctl));
        });
        _functions["xc_domain_set_access_required"] = new AccessRequiredFunction((_, domain, required) =>
        {
            var domctl = Domctl(DomctlCommand.SetAccessRequired, domain);
            domctl.AccessRequired.AccessRequired = (byte)required;
            return Told(Do(ref domctl));
        });
        _functions["xc_set_mem_access"] = new SetAccessFunction((_, domain, access, first, count) =>
        {
            var operation = new MemAccessOp { Op = MemAccessOperation.SetAccess, Access = _release.FromWire((byte)access), Domid = (ushort)domain, Pfn = first, Nr = count };
            return Told(Access(ref operation, default, default));
        });
        _functions["xc_set_mem_access_multi"] = new SetAccessMultiFunction((_, domain, access, gfns, count) =>
        {
            var operation = new MemAccessOp { Op = MemAccessOperation.SetAccessMulti, Domid = (ushort)domain, Nr = count };
            var rights = new ReadOnlySpan<byte>((void*)access, (int)count).ToArray();
            foreach (ref var right in rights.AsSpan())
            {
                right = _release.FromWire(right);
            }

            return Told(Access(ref operation, new Span<byte>((void*)gfns, (int)count * sizeof(ulong)), rights));
        });
        _functions["xc_get_mem_access"] = new GetAccessFunction((_, domain, gfn, access) =>
        {
            var operation = new MemAccessOp { Op = MemAccessOperation.GetAccess, Domid = (ushort)domain, Pfn = gfn };
            var result = Access(ref operation, default, default);
            *(int*)access = _release.ToWire(operation.Access);
            return Told(result);
        });
    }

    private void AddSimple(string name, MonitorEventKind kind) => _functions[name] = new FlagFunction((_, domain, enable) =>
    {
        var domctl = Event(domain, kind, enable);
        return Told(Do(ref domctl));
    });

    private int Synced(uint domain, MonitorEventKind kind, byte enable, byte sync)
    {
        // Both events have the flag at the same place.
        var domctl = Event(domain, kind, enable);
        domctl.MonitorOp.DebugExceptionSync = sync;
        return Told(Do(ref domctl));
    }

    private XenDomctl Event(uint domain, MonitorEventKind kind, byte enable)
    {
        // A C compiler gives a bool one byte; anything but 0 and 1 there is a caller's mistake.
        Assert.InRange(enable, (byte)0, (byte)1);
        var domctl = Domctl(DomctlCommand.MonitorOp, domain);
        (domctl.MonitorOp.Op, domctl.MonitorOp.Event) = (enable != 0 ? MonitorOperation.Enable : MonitorOperation.Disable, (uint)kind);
        return domctl;
    }

    private int Ring(uint domain, VmEventOperation operation)
    {
        var domctl = Domctl(DomctlCommand.VmEventOp, domain);
        (domctl.VmEventOp.Op, domctl.VmEventOp.Mode) = (operation, VmEventMode.Monitor);
        return Told(Do(ref domctl));
    }

    private int Access(ref MemAccessOp operation, Span<byte> gfns, Span<byte> rights) =>
        _door.MemoryOp(MemoryOp.AccessOp, MemoryMarshal.AsBytes(new Span<MemAccessOp>(ref operation)), gfns, rights);
}
