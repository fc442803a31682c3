using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Tests.Domains;

namespace Introspect.Hypervisor.Tests.Hypercalls;

public sealed class LocalToolstackTests : IDisposable
{
    private static readonly ToolstackCaller Guest = new(7, false);

    private readonly TestMachine _machine = new();

    [Fact]
    public void The_interface_version_is_checked_before_the_domain_and_the_domain_before_the_privilege()
    {
        var domain = _machine.Create();
        var wrong = Domctl(DomctlCommand.PauseDomain, 99);
        wrong.InterfaceVersion = 0x14;
        Assert.Equal(Errno.EACCES, Call(ref wrong, caller: Guest));
        var absent = Domctl(DomctlCommand.PauseDomain, 99);
        Assert.Equal(Errno.ESRCH, Call(ref absent, caller: Guest));
        var refused = Domctl(DomctlCommand.PauseDomain, domain.Id.Value);
        Assert.Equal(Errno.EPERM, Call(ref refused, caller: Guest));
        Assert.Equal(1, domain.ControllerPauseCount);
        Assert.Equal(Errno.None, Call(ref refused));
        Assert.Equal(2, domain.ControllerPauseCount);
    }

    [Fact]
    public void Everybody_may_ask_for_the_vm_event_version_without_a_domain()
    {
        var domctl = Domctl(DomctlCommand.VmEventOp, SpecialDomain.Invalid);
        domctl.VmEventOp.Op = VmEventOperation.GetVersion;
        Assert.Equal(Errno.None, Call(ref domctl, caller: Guest));
        Assert.Equal(7u, domctl.VmEventOp.Version);
    }

    [Fact]
    public void An_unknown_operation_is_ENOSYS_and_a_short_structure_EFAULT()
    {
        var domain = _machine.Create();
        var domctl = Domctl(999, domain.Id.Value);
        Assert.Equal(Errno.ENOSYS, Call(ref domctl));
        Assert.Equal(-(int)Errno.EFAULT, _machine.Toolstack.Domctl(new byte[16], default, default));
        Assert.Equal(-(int)Errno.ENOSYS, _machine.Toolstack.HvmOp(9999, default, default, default));
        Assert.Equal(-(int)Errno.ENOSYS, _machine.Toolstack.MemoryOp(63, default, default, default));
    }

    [Theory]
    [InlineData(0u, 1u, 1u, 0u, Errno.EINVAL)]
    [InlineData(3u, 0u, 1u, 0u, Errno.EINVAL)]
    [InlineData(3u, 129u, 1u, 0u, Errno.EINVAL)]
    [InlineData(3u, 1u, 1u, 2u, Errno.EINVAL)]
    [InlineData(3u, 1u, 0u, 0u, Errno.EOPNOTSUPP)]
    [InlineData(3u | 32u, 1u, 1u, 0u, Errno.EINVAL)]
    public void A_domain_that_cannot_be_is_refused(uint flags, uint vcpus, uint emulation, uint misc, Errno expected)
    {
        var domctl = Domctl(DomctlCommand.CreateDomain, 0);
        domctl.CreateDomain.Flags = (CreateDomainFlags)flags;
        domctl.CreateDomain.MaxVcpus = vcpus;
        domctl.CreateDomain.Arch.EmulationFlags = (X86EmulationFlags)emulation;
        domctl.CreateDomain.Arch.MiscFlags = misc;
        Assert.Equal(expected, Call(ref domctl));
        Assert.Empty(_machine.Machine.Domains);
    }

    [Fact]
    public void Numbers_are_given_in_turn_and_a_taken_one_is_EEXIST()
    {
        var first = _machine.Create();
        var second = _machine.Create();
        Assert.Equal(first.Id.Value + 1, second.Id.Value);
        var taken = Creation(first.Id.Value);
        Assert.Equal(Errno.EEXIST, Call(ref taken));
        _machine.Machine.DestroyDomain(first);
        var chosen = Creation(77);
        Assert.Equal(Errno.None, Call(ref chosen));
        Assert.Equal(77, chosen.Domain);
    }

    [Fact]
    public void Info_tells_the_state_and_goes_on_to_the_next_domain()
    {
        var domain = _machine.Create(vcpus: 2, vendor: CpuVendor.Svm);
        var domctl = Domctl(DomctlCommand.GetDomainInfo, 0);
        Assert.Equal(Errno.None, Call(ref domctl));
        Assert.Equal(domain.Id.Value, domctl.Domain);
        ref var info = ref domctl.GetDomainInfo;
        Assert.Equal(1u, info.MaxVcpuId);
        Assert.Equal(1u, info.NrOnlineVcpus);
        Assert.Equal((TestMachine.MemoryBytes >> 12) + 8, info.TotPages);
        Assert.Equal(domain.Handle, DomainHandle.Read(info));
        Assert.Equal(DomainInfoFlags.Paused, info.Flags & (DomainInfoFlags.Paused | DomainInfoFlags.Shutdown | DomainInfoFlags.Dying));
        Assert.Equal(CpuVendor.Svm, CoreDomainFlags.VendorOf(info.ArchConfig.MiscFlags));

        domctl = Domctl(DomctlCommand.GetDomainInfo, (ushort)(domain.Id.Value + 1));
        Assert.Equal(Errno.ESRCH, Call(ref domctl));
        domctl = Domctl(DomctlCommand.GetDomainInfo, DomainId.FirstReserved);
        Assert.Equal(Errno.EINVAL, Call(ref domctl));
    }

    [Fact]
    public void The_list_starts_where_it_is_told_and_is_as_long_as_it_may_be()
    {
        var domains = Enumerable.Range(0, 3).Select(_ => _machine.Create()).ToArray();
        var buffer = new DomctlGetDomainInfo[3];
        var sysctl = new XenSysctl { Command = SysctlCommand.GetDomainInfoList, InterfaceVersion = XenInterface.CoreSysctl };
        sysctl.GetDomainInfoList.FirstDomain = domains[1].Id.Value;
        sysctl.GetDomainInfoList.MaxDomains = 3;
        Assert.Equal(0, _machine.Toolstack.Sysctl(Bytes(ref sysctl), MemoryMarshal.AsBytes(buffer.AsSpan())));
        Assert.Equal(2u, sysctl.GetDomainInfoList.NumDomains);
        Assert.Equal(domains[2].Id.Value, buffer[1].Domain);
        sysctl.GetDomainInfoList.FirstDomain = 0;
        sysctl.GetDomainInfoList.MaxDomains = 1;
        Assert.Equal(0, _machine.Toolstack.Sysctl(Bytes(ref sysctl), MemoryMarshal.AsBytes(buffer.AsSpan())));
        Assert.Equal(1u, sysctl.GetDomainInfoList.NumDomains);
        Assert.Equal(-(int)Errno.EFAULT, _machine.Toolstack.Sysctl(Bytes(ref sysctl), default));
    }

    [Fact]
    public void Parameters_have_rights_and_values_that_cannot_be()
    {
        var domain = _machine.Create();
        Assert.Equal(Errno.EINVAL, SetParam(domain, HvmParam.Count, 0));
        Assert.Equal(Errno.EINVAL, SetParam(domain, 4, 0));
        Assert.Equal(Errno.EPERM, SetParam(domain, HvmParam.TimerMode, 0, Guest));
        Assert.Equal(Errno.EINVAL, SetParam(domain, HvmParam.TimerMode, 4));
        Assert.Equal(Errno.None, SetParam(domain, HvmParam.TimerMode, 3));
        Assert.Equal(Errno.EEXIST, SetParam(domain, HvmParam.IoreqPfn, 1));
        Assert.Equal(Errno.None, SetParam(domain, HvmParam.IoreqPfn, domain.GetParam(HvmParam.IoreqPfn)));
        Assert.Equal(Errno.EINVAL, SetParam(domain, HvmParam.AltP2m, 4));
        var argument = new HvmParamArgument { Domid = domain.Id.Value, Index = HvmParam.TimerMode };
        Assert.Equal(0, _machine.Toolstack.HvmOp(HvmOp.GetParam, Bytes(ref argument), default, default));
        Assert.Equal(3UL, argument.Value);
    }

    [Fact]
    public void Populating_stops_at_max_mem_and_tells_how_many_it_did()
    {
        var domain = _machine.Create();
        domain.Ram.MaxPages = domain.Ram.TotalPages + 2;
        Assert.Equal(2, Reserve(domain, MemoryOp.PopulatePhysmap, 0, 0x9000, 0x9001, 0x9002));
        Assert.False(domain.Physmap[0x9002].IsPresent);
        Assert.Equal(2, Reserve(domain, MemoryOp.DecreaseReservation, 0, 0x9000, 0x9001, 0x9002));
        Assert.False(domain.Physmap[0x9000].IsPresent);
        Assert.Equal(1, Reserve(domain, MemoryOp.PopulatePhysmap, 1, 0x9010));
        Assert.True(domain.Physmap[0x9011].IsPresent);
    }

    [Fact]
    public void A_frame_beyond_the_physmap_is_not_populated()
    {
        var domain = _machine.Create();
        var before = domain.Ram.TotalPages;
        Assert.Equal(0, Reserve(domain, MemoryOp.PopulatePhysmap, 0, ulong.MaxValue));
        Assert.Equal(before, domain.Ram.TotalPages);
    }

    [Fact]
    public void A_page_taken_out_lives_in_the_mappings_of_others()
    {
        var domain = _machine.Create();
        Assert.Equal(0, _machine.Toolstack.MapForeign(domain.Id.Value, [5], writable: true, out var mapping));
        mapping!.AsSpan()[0] = 77;
        Assert.Equal(1, Reserve(domain, MemoryOp.DecreaseReservation, 0, 5));
        Assert.Equal(1, Reserve(domain, MemoryOp.PopulatePhysmap, 0, 5));
        Assert.Equal(77, mapping!.AsSpan()[0]);
        Assert.Equal(0, _machine.Toolstack.MapForeign(domain.Id.Value, [5], writable: false, out var fresh));
        Assert.Equal(0, fresh!.AsSpan()[0]);
        mapping!.Dispose();
        fresh!.Dispose();
        Assert.Equal(-(int)Errno.EFAULT, _machine.Toolstack.MapForeign(domain.Id.Value, [5, 0x8000], writable: false, out _));
    }

    [Fact]
    public void A_mapping_outlives_its_domain()
    {
        var domain = _machine.Create();
        _machine.Toolstack.MapForeign(domain.Id.Value, [5], writable: true, out var mapping);
        _machine.Machine.DestroyDomain(domain);
        Assert.Equal(1, _machine.Machine.Memory.ExtentCount);
        mapping!.AsSpan()[0] = 1;
        mapping!.Dispose();
        Assert.Equal(0, _machine.Machine.Memory.ExtentCount);
    }

    [Fact]
    public void Writing_from_outside_drops_what_was_decoded()
    {
        var domain = _machine.CreateRunning();
        var page = domain.Physmap[5].MachineAddress;
        SetDecoded(page);
        _machine.Toolstack.MapForeign(domain.Id.Value, [5], writable: true, out var mapping);

        // While it is mapped, letting the domain go on after a stop is when a write may have happened.
        domain.Pause();
        domain.Unpause();
        TestMachine.Eventually(() => TestMachine.Runner(domain).DroppedCode.Contains(page >> 12));
        mapping!.Dispose();
        TestMachine.Eventually(() => TestMachine.Runner(domain).DroppedCode.Count == 2);
    }

    [Fact]
    public void Shared_info_is_in_one_place_at_a_time()
    {
        var domain = _machine.Create();
        var pages = domain.Ram.TotalPages;
        Assert.Equal(0, Add(domain, PhysMapSpace.SharedInfo, 0, 0x20));
        Assert.Equal(domain.SharedInfoAddress, domain.Physmap[0x20].MachineAddress);
        Assert.Equal(pages - 1, domain.Ram.TotalPages);
        Assert.Equal(0, Add(domain, PhysMapSpace.SharedInfo, 0, 0x9000));
        Assert.False(domain.Physmap[0x20].IsPresent);
        Assert.Equal(-(int)Errno.EINVAL, Add(domain, PhysMapSpace.SharedInfo, 1, 0x9000));
    }

    [Fact]
    public void A_page_moves_to_another_frame()
    {
        var domain = _machine.Create();
        var page = domain.Physmap[6].MachineAddress;
        var pages = domain.Ram.TotalPages;
        Assert.Equal(0, Add(domain, PhysMapSpace.Gmfn, 6, 7));
        Assert.False(domain.Physmap[6].IsPresent);
        Assert.Equal(page, domain.Physmap[7].MachineAddress);
        Assert.Equal(pages - 1, domain.Ram.TotalPages);
        Assert.Equal(-(int)Errno.EINVAL, Add(domain, PhysMapSpace.Gmfn, 6, 8));
    }

    [Fact]
    public void Access_operations_need_privilege_then_vmx_then_a_ring()
    {
        var svm = _machine.Create(vendor: CpuVendor.Svm);
        var vmx = _machine.Create();
        Assert.Equal(Errno.ESRCH, Access(99, Guest));
        Assert.Equal(Errno.EPERM, Access(svm.Id.Value, Guest));
        Assert.Equal(Errno.EINVAL, Access(svm.Id.Value, ToolstackCaller.Control));
        Assert.Equal(Errno.EPERM, Access(vmx.Id.Value, Guest));
        Assert.Equal(Errno.ENODEV, Access(vmx.Id.Value, ToolstackCaller.Control));
    }

    [Fact]
    public void Vm_event_operations_have_Xens_answers()
    {
        var creation = Creation(0);
        Assert.Equal(Errno.None, Call(ref creation));
        Assert.Equal(Errno.EINVAL, VmEventOp(creation.Domain, VmEventOperation.Enable));

        var domain = _machine.Create();
        var id = domain.Id.Value;
        Assert.Equal(Errno.ENOSYS, VmEventOp(id, VmEventOperation.Enable, VmEventMode.Paging));
        Assert.Equal(Errno.EINVAL, VmEventOp(id, VmEventOperation.Disable));
        Assert.Equal(Errno.ENODEV, VmEventOp(id, VmEventOperation.Resume));
        var gfn = domain.GetParam(HvmParam.MonitorRingPfn);
        domain.SetParam(HvmParam.MonitorRingPfn, 0);
        Assert.Equal(Errno.EOPNOTSUPP, VmEventOp(id, VmEventOperation.Enable));
        domain.SetParam(HvmParam.MonitorRingPfn, 0x8888);
        Assert.Equal(Errno.EINVAL, VmEventOp(id, VmEventOperation.Enable));
        domain.SetParam(HvmParam.MonitorRingPfn, gfn);
        Assert.Equal(Errno.None, VmEventOp(id, VmEventOperation.Enable));
        Assert.True(TestMachine.Runner(domain).HasMonitor);
        Assert.Equal(Errno.EBUSY, VmEventOp(id, VmEventOperation.Enable));
        Assert.Equal(Errno.None, VmEventOp(id, VmEventOperation.Disable));
        Assert.False(TestMachine.Runner(domain).HasMonitor);
        Assert.Equal(0, FakePlatform.All[domain].PortsTaken);
    }

    [Fact]
    public void A_trap_is_injected_once_at_a_time_and_into_vcpus_that_exist()
    {
        var domain = _machine.Create();
        var operation = new XenDmOp { Op = DmOpCommand.InjectEvent };
        operation.InjectEvent.Vector = 3;
        Assert.Equal(0, _machine.Toolstack.DmOp(domain.Id.Value, Bytes(ref operation)));
        Assert.Equal(-(int)Errno.EBUSY, _machine.Toolstack.DmOp(domain.Id.Value, Bytes(ref operation)));
        Assert.Equal(3, Assert.Single(TestMachine.Runner(domain).Injected).Vector);
        operation.InjectEvent.VcpuId = 5;
        Assert.Equal(-(int)Errno.EINVAL, _machine.Toolstack.DmOp(domain.Id.Value, Bytes(ref operation)));
        Assert.Equal(-(int)Errno.ESRCH, _machine.Toolstack.DmOp(99, Bytes(ref operation)));
    }

    [Fact]
    public void Names_are_unique()
    {
        var first = _machine.Create("one");
        var second = _machine.Create();
        Assert.Equal("one", _machine.Toolstack.GetDomainName(first.Id.Value));
        Assert.Null(_machine.Toolstack.GetDomainName(second.Id.Value));
        Assert.Equal(-(int)Errno.EEXIST, _machine.Toolstack.SetDomainName(second.Id.Value, "one"));
        Assert.Equal(0, _machine.Toolstack.SetDomainName(second.Id.Value, "two"));
    }

    public void Dispose() => _machine.Dispose();

    private static XenDomctl Domctl(uint command, ushort domain) =>
        new() { Command = command, InterfaceVersion = XenInterface.CoreDomctl, Domain = domain };

    private static XenDomctl Creation(ushort id)
    {
        var domctl = Domctl(DomctlCommand.CreateDomain, id);
        domctl.CreateDomain.Flags = CreateDomainFlags.Hvm | CreateDomainFlags.Hap;
        domctl.CreateDomain.MaxVcpus = 1;
        domctl.CreateDomain.Arch.EmulationFlags = X86EmulationFlags.Lapic;
        return domctl;
    }

    private static Span<byte> Bytes<T>(ref T value)
        where T : unmanaged => MemoryMarshal.AsBytes(new Span<T>(ref value));

    private unsafe void SetDecoded(ulong page) => _machine.Machine.Memory.PageInfo[page >> 12] |= (byte)PageInfoBits.HasCode;

    private Errno Call(ref XenDomctl domctl, ToolstackCaller? caller = null) =>
        (Errno)(-new LocalToolstack(_machine.Machine, caller ?? ToolstackCaller.Control).Domctl(Bytes(ref domctl), default, default));

    private Errno SetParam(Domain domain, uint index, ulong value, ToolstackCaller? caller = null)
    {
        var argument = new HvmParamArgument { Domid = domain.Id.Value, Index = index, Value = value };
        return (Errno)(-new LocalToolstack(_machine.Machine, caller ?? ToolstackCaller.Control).HvmOp(HvmOp.SetParam, Bytes(ref argument), default, default));
    }

    private int Reserve(Domain domain, uint command, uint order, params ulong[] gfns)
    {
        var reservation = new MemoryReservation { NrExtents = (ulong)gfns.Length, ExtentOrder = order, Domid = domain.Id.Value };
        return _machine.Toolstack.MemoryOp(command, Bytes(ref reservation), MemoryMarshal.AsBytes(gfns.AsSpan()), default);
    }

    private int Add(Domain domain, uint space, ulong index, ulong gfn)
    {
        var argument = new AddToPhysmap { Domid = domain.Id.Value, Space = space, Index = index, Gpfn = gfn };
        return _machine.Toolstack.MemoryOp(MemoryOp.AddToPhysmap, Bytes(ref argument), default, default);
    }

    private Errno Access(ushort domain, ToolstackCaller caller)
    {
        var argument = new MemAccessOp { Op = MemAccessOperation.GetAccess, Domid = domain };
        return (Errno)(-new LocalToolstack(_machine.Machine, caller).MemoryOp(MemoryOp.AccessOp, Bytes(ref argument), default, default));
    }

    private Errno VmEventOp(ushort domain, VmEventOperation operation, VmEventMode mode = VmEventMode.Monitor)
    {
        var domctl = Domctl(DomctlCommand.VmEventOp, domain);
        domctl.VmEventOp.Op = operation;
        domctl.VmEventOp.Mode = mode;
        return Call(ref domctl);
    }
}
