using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Policies;
using Introspect.Hypervisor.Tests.Domains;

namespace Introspect.Hypervisor.Tests.GuestHypercalls;

/// <summary>A control domain among the guests manages others by its hypercalls, as domain 0 does on Xen.</summary>
public sealed class GuestControlTests : IDisposable
{
    private const ulong Buffer = FakeGuest.Base + 0x1000;

    private readonly TestMachine _lab = new();
    private readonly FakeGuest _guest = new() { Roles = DomainRoles.Control };
    private readonly Domain _target;

    public GuestControlTests()
    {
        _lab.Create(id: 5, roles: DomainRoles.Control);
        _target = _lab.CreateRunning("other", vcpus: 2);
        _guest.Others[_target.Id.Value] = _guest.Events;
        _guest.Toolstack = new LocalToolstack(_lab.Machine, _guest.Caller, waits: false);
    }

    [Fact]
    public void It_pauses_and_asks_for_the_state_of_another_domain()
    {
        Assert.Equal(0, Domctl(DomctlCommand.PauseDomain));
        Assert.Equal(1, _target.ControllerPauseCount);
        Assert.Equal(0, Domctl(DomctlCommand.GetDomainInfo));
        var info = _guest.Get<XenDomctl>().GetDomainInfo;
        Assert.Equal(1u, info.MaxVcpuId);
        Assert.Equal(DomainInfoFlags.Paused, info.Flags & DomainInfoFlags.Paused);
        Assert.Equal(0, Domctl(DomctlCommand.UnpauseDomain));
        Assert.Equal(-(long)Errno.EINVAL, Domctl(DomctlCommand.UnpauseDomain));
    }

    [Fact]
    public void It_creates_a_domain_which_the_machine_has_then()
    {
        var create = new XenDomctl { Command = DomctlCommand.CreateDomain, InterfaceVersion = XenInterface.CoreDomctl };
        create.CreateDomain.Flags = CreateDomainFlags.Hvm | CreateDomainFlags.Hap;
        create.CreateDomain.MaxVcpus = 1;
        create.CreateDomain.Arch.EmulationFlags = X86EmulationFlags.Lapic;
        _guest.Put(create);
        Assert.Equal(0, _guest.Call(HypercallNumber.Domctl, FakeGuest.Base));
        Assert.NotNull(_lab.Machine.Find(_guest.Get<XenDomctl>().Domain));
    }

    [Fact]
    public void It_reads_a_context_into_its_buffer_and_gives_it_back()
    {
        var get = Operation(DomctlCommand.GetHvmContext);
        _guest.Put(get);
        Assert.Equal(0, _guest.Call(HypercallNumber.Domctl, FakeGuest.Base));
        get.HvmContext.Size = _guest.Get<XenDomctl>().HvmContext.Size;
        get.HvmContext.Buffer = Buffer;
        _guest.Put(get);
        Assert.Equal(0, _guest.Call(HypercallNumber.Domctl, FakeGuest.Base));
        Assert.Equal(HvmSaveHeader.FileMagic, _guest.Get<uint>(Buffer + (ulong)Marshal.SizeOf<HvmSaveDescriptor>()));

        var set = Operation(DomctlCommand.SetHvmContext);
        set.HvmContext.Size = _guest.Get<XenDomctl>().HvmContext.Size;
        set.HvmContext.Buffer = Buffer;
        _guest.Put(set);
        Assert.Equal(0, _guest.Call(HypercallNumber.Domctl, FakeGuest.Base));
        set.HvmContext.Buffer = 8;
        _guest.Put(set);
        Assert.Equal(-(long)Errno.EFAULT, _guest.Call(HypercallNumber.Domctl, FakeGuest.Base));
        set.HvmContext.Size = uint.MaxValue;
        _guest.Put(set);
        Assert.Equal(-(long)Errno.E2BIG, _guest.Call(HypercallNumber.Domctl, FakeGuest.Base));
    }

    [Fact]
    public void It_lists_the_domains()
    {
        var list = new XenSysctl { Command = SysctlCommand.GetDomainInfoList, InterfaceVersion = XenInterface.CoreSysctl };
        list.GetDomainInfoList.MaxDomains = 10;
        list.GetDomainInfoList.Buffer = Buffer;
        _guest.Put(list);
        Assert.Equal(0, _guest.Call(HypercallNumber.Sysctl, FakeGuest.Base));
        Assert.Equal(2u, _guest.Get<XenSysctl>().GetDomainInfoList.NumDomains);
        Assert.Equal(_target.Id.Value, _guest.Get<DomctlGetDomainInfo>(Buffer).Domain);
        Assert.Equal(5, _guest.Get<DomctlGetDomainInfo>(Buffer + (ulong)Marshal.SizeOf<DomctlGetDomainInfo>()).Domain);
    }

    [Fact]
    public void It_reads_and_writes_parameters_and_memory_facts_of_another_domain()
    {
        _guest.Put(new HvmParamArgument { Domid = _target.Id.Value, Index = HvmParam.TimerMode, Value = 2 });
        Assert.Equal(0, _guest.Call(HypercallNumber.HvmOp, HvmOp.SetParam, FakeGuest.Base));
        Assert.Equal(2UL, _target.GetParam(HvmParam.TimerMode));
        _guest.Put(new HvmParamArgument { Domid = _target.Id.Value, Index = HvmParam.TimerMode });
        Assert.Equal(0, _guest.Call(HypercallNumber.HvmOp, HvmOp.GetParam, FakeGuest.Base));
        Assert.Equal(2UL, _guest.Get<HvmParamArgument>().Value);
        _guest.Put(new MemoryDomain { Domid = _target.Id.Value });
        Assert.Equal(_target.Ram.TotalPages, _guest.Call(HypercallNumber.MemoryOp, MemoryOp.CurrentReservation, FakeGuest.Base));
        _guest.Put(new MemAccessOp { Op = MemAccessOperation.GetAccess, Domid = _target.Id.Value });
        Assert.Equal(-(long)Errno.ENODEV, _guest.Call(HypercallNumber.MemoryOp, MemoryOp.AccessOp, FakeGuest.Base));

        // Its own parameters have a guest's rights all the same.
        _guest.Put(new HvmParamArgument { Domid = SpecialDomain.Self, Index = HvmParam.TimerMode, Value = 2 });
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(HypercallNumber.HvmOp, HvmOp.SetParam, FakeGuest.Base));
    }

    [Fact]
    public void It_takes_and_gives_frames_of_another_domain()
    {
        var before = _target.Ram.TotalPages;
        _guest.Put(5UL, Buffer);
        _guest.Put(6UL, Buffer + 8);
        _guest.Put(new MemoryReservation { Domid = _target.Id.Value, ExtentStart = Buffer, NrExtents = 2 });
        Assert.Equal(2, _guest.Call(HypercallNumber.MemoryOp, MemoryOp.DecreaseReservation, FakeGuest.Base));
        Assert.Equal(before - 2, _target.Ram.TotalPages);
        Assert.Equal(2, _guest.Call(HypercallNumber.MemoryOp, MemoryOp.PopulatePhysmap, FakeGuest.Base));
        Assert.Equal(before, _target.Ram.TotalPages);
        _guest.Roles = DomainRoles.Hardware;
        Assert.Equal(0, _guest.Call(HypercallNumber.MemoryOp, MemoryOp.DecreaseReservation, FakeGuest.Base));
    }

    [Fact]
    public void It_shuts_another_domain_down_by_sched_op_and_by_dm_op()
    {
        _guest.Put(new SchedRemoteShutdown { DomainId = _target.Id.Value, Reason = (uint)ShutdownReason.Watchdog });
        Assert.Equal(0, _guest.Call(HypercallNumber.SchedOp, SchedOp.RemoteShutdown, FakeGuest.Base));
        Assert.Equal(ShutdownReason.Watchdog, _target.ShutdownReason);

        var second = _lab.CreateRunning();
        _guest.Put(new XenDmOp { Op = DmOpCommand.RemoteShutdown, RemoteShutdownReason = (uint)ShutdownReason.Crash }, Buffer);
        _guest.Put(Buffer);
        _guest.Put((ulong)XenDmOp.SizeInBytes, FakeGuest.Base + 8);
        Assert.Equal(0, _guest.Call(HypercallNumber.DmOp, second.Id.Value, 1, FakeGuest.Base));
        Assert.Equal(ShutdownReason.Crash, second.ShutdownReason);
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(HypercallNumber.DmOp, 5, 1, FakeGuest.Base));
    }

    [Fact]
    public void A_call_whose_turn_it_is_not_is_made_again_and_a_multicall_lets_its_vcpu_go()
    {
        _guest.Put(Operation(DomctlCommand.PauseDomain), Buffer);
        Write(0, HypercallNumber.XenVersion, XenVersionOp.PageSize);
        Write(1, HypercallNumber.Domctl, Buffer);
        var single = default(Core.Hypercalls.Guest.HypercallResult);
        var several = single;
        using (_lab.Machine.ControlLock.EnterScope())
        {
            var vcpu = new Thread(() =>
            {
                single = Dispatch(HypercallNumber.Domctl, Buffer, 0);
                several = Dispatch(HypercallNumber.Multicall, FakeGuest.Base, 2);
            });
            vcpu.Start();
            vcpu.Join();
        }

        Assert.True(single.Continues);
        Assert.Equal(Buffer, single.Next.A1);

        // The first of the calls is done; the second one comes next.
        Assert.True(several.Continues);
        Assert.Equal((FakeGuest.Base + 64, 1UL), (several.Next.A1, several.Next.A2));
        Assert.Equal(4096UL, _guest.Get<ulong>(FakeGuest.Base + 8));
        Assert.Equal(0, _target.ControllerPauseCount);
        Assert.Equal(0, Dispatch(HypercallNumber.Multicall, several.Next.A1, several.Next.A2).Value);
        Assert.Equal(1, _target.ControllerPauseCount);

        void Write(ulong index, uint op, ulong argument)
        {
            _guest.Put((ulong)op, FakeGuest.Base + (index * 64));
            _guest.Put(argument, FakeGuest.Base + (index * 64) + 16);
            _guest.Put(0UL, FakeGuest.Base + (index * 64) + 24);
        }
    }

    [Theory]
    [InlineData(DomainRoles.None)]
    [InlineData(DomainRoles.Hardware)]
    internal void Without_control_rights_it_can_do_none_of_that(DomainRoles roles)
    {
        _guest.Roles = roles;
        _guest.Toolstack = new LocalToolstack(_lab.Machine, _guest.Caller, waits: false);
        Assert.Equal(-(long)Errno.EPERM, Domctl(DomctlCommand.PauseDomain));
        Assert.Equal(-(long)Errno.EPERM, Domctl(DomctlCommand.SetHvmContext));
        _guest.Put(new MemAccessOp { Domid = _target.Id.Value });
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(HypercallNumber.MemoryOp, MemoryOp.AccessOp, FakeGuest.Base));
        _guest.Put(new ForeignMemoryMap { Domid = _target.Id.Value });
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(HypercallNumber.MemoryOp, MemoryOp.SetMemoryMap, FakeGuest.Base));
        Assert.Equal(-(long)Errno.EPERM, _guest.Call(HypercallNumber.DmOp, _target.Id.Value, 1, 8));
        Assert.False(_target.IsShutDown);
    }

    [Theory]
    [InlineData(1024u, 0)]
    [InlineData(1025u, -(int)Errno.EINVAL)]
    public void A_memory_map_has_as_many_entries_as_Xens_at_most(uint entries, int expected)
    {
        _guest.Roles = DomainRoles.None;
        _guest.Put(new ForeignMemoryMap { Domid = SpecialDomain.Self, Map = new() { NrEntries = entries, Buffer = Buffer } });
        _guest.Put(0x1234UL, Buffer);
        Assert.Equal(expected, _guest.Call(HypercallNumber.MemoryOp, MemoryOp.SetMemoryMap, FakeGuest.Base));
        Assert.Equal(expected == 0 ? 1024 : 0, _guest.Map.Length);
        Assert.True(expected != 0 || _guest.Map[0].Addr == 0x1234);
    }

    [Theory]
    [InlineData(DomainRoles.None, 9u, 0u, 1)]
    [InlineData(DomainRoles.None, 10u, 0u, 0)]
    [InlineData(DomainRoles.Hardware, 10u, 0u, 1)]
    [InlineData(DomainRoles.Hardware, 13u, 0u, 0)]
    [InlineData(DomainRoles.Control, 13u, 0u, 1)]
    [InlineData(DomainRoles.Control, 19u, 0u, 0)]
    [InlineData(DomainRoles.None, 0u, 0x100u, 1)]
    [InlineData(DomainRoles.None, 0u, 0x20100u, 0)]
    [InlineData(DomainRoles.Control, 0u, 0x20100u, 1)]
    [InlineData(DomainRoles.Hardware, 0u, 0x20200u, 0)]
    [InlineData(DomainRoles.Hardware, 0u, 0xF000u, 0)]
    internal void How_much_and_from_where_a_domain_may_ask_follows_its_roles(DomainRoles roles, uint order, uint flags, int done)
    {
        _guest.Roles = roles;
        _guest.PageLimit = ulong.MaxValue;
        _guest.Put(0x10_0000UL, Buffer);
        _guest.Put(new MemoryReservation { Domid = SpecialDomain.Self, ExtentStart = Buffer, NrExtents = 1, ExtentOrder = order, MemFlags = flags });
        Assert.Equal(done, _guest.Call(HypercallNumber.MemoryOp, MemoryOp.PopulatePhysmap, FakeGuest.Base));
    }

    [Theory]
    [InlineData(DomainRoles.None, Errno.EACCES)]
    [InlineData(DomainRoles.Control, Errno.EACCES)]
    [InlineData(DomainRoles.Hardware, Errno.EINVAL)]
    [InlineData(DomainRoles.Both, Errno.EINVAL)]
    internal void Device_memory_and_pinning_are_the_hardware_domains_to_ask_for(DomainRoles roles, Errno expected)
    {
        const uint DeviceMemory = 5;
        _guest.Roles = roles;
        _guest.Put(new AddToPhysmap { Domid = SpecialDomain.Self, Space = DeviceMemory });
        Assert.Equal(-(long)expected, _guest.Call(HypercallNumber.MemoryOp, MemoryOp.AddToPhysmap, FakeGuest.Base));
        var pinning = roles.HasFlag(DomainRoles.Hardware) ? Errno.ENOSYS : Errno.EPERM;
        Assert.Equal(-(long)pinning, _guest.Call(HypercallNumber.SchedOp, SchedOp.PinOverride, FakeGuest.Base));
    }

    [Theory]
    [InlineData(DomainRoles.None, "ab")]
    [InlineData(DomainRoles.Control, "ab")]
    [InlineData(DomainRoles.Hardware, "a\u001bb")]
    [InlineData(DomainRoles.Both, "a\u001bb")]
    internal void The_hardware_domains_console_output_is_as_it_wrote_it(DomainRoles roles, string expected)
    {
        _guest.Roles = roles;
        "a\u001bb"u8.CopyTo(_guest.Memory);
        Assert.Equal(0, _guest.Call(HypercallNumber.ConsoleIo, ConsoleIo.Write, 3, FakeGuest.Base));
        ulong position = 0;
        Span<byte> written = stackalloc byte[8];
        var length = _guest.Console.Read(ref position, written);
        Assert.Equal(expected, System.Text.Encoding.ASCII.GetString(written[..length]));
    }

    [Theory]
    [InlineData(DomainRoles.None, false)]
    [InlineData(DomainRoles.Control, false)]
    [InlineData(DomainRoles.Hardware, true)]
    [InlineData(DomainRoles.Both, true)]
    internal void XENFEAT_dom0_is_told_to_the_hardware_domain(DomainRoles roles, bool expected)
    {
        _guest.Roles = roles;
        _guest.Put(default(XenFeatureInfo));
        Assert.Equal(0, _guest.Call(HypercallNumber.XenVersion, XenVersionOp.GetFeatures, FakeGuest.Base));
        Assert.Equal(expected, (_guest.Get<XenFeatureInfo>().Submap & (1u << XenFeature.Dom0)) != 0);
    }

    public void Dispose() => _lab.Dispose();

    private XenDomctl Operation(uint command) =>
        new() { Command = command, InterfaceVersion = XenInterface.CoreDomctl, Domain = _target.Id.Value };

    private long Domctl(uint command)
    {
        _guest.Put(Operation(command));
        return _guest.Call(HypercallNumber.Domctl, FakeGuest.Base);
    }

    private Core.Hypercalls.Guest.HypercallResult Dispatch(uint op, ulong a1, ulong a2)
    {
        var call = new Core.Hypercalls.Guest.HypercallArguments { Op = op, A1 = a1, A2 = a2, Is64 = true };
        return Core.Hypercalls.Guest.GuestHypercalls.Dispatch(in call, _guest);
    }
}
