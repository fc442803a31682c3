using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Policies;
using Introspect.Hypervisor.Tests.Domains;

namespace Introspect.Hypervisor.Tests.Hypercalls;

/// <summary>The order of checks, version, domain, rights, operation, and that nothing is told to those without rights.</summary>
public sealed class CallerRightsTests : IDisposable
{
    private const ushort Absent = 99;

    private static readonly ToolstackCaller Stranger = new(77, IsControl: false);

    private readonly TestMachine _lab = new();

    public static TheoryData<uint> Commands =>
    [
        DomctlCommand.DestroyDomain, DomctlCommand.PauseDomain, DomctlCommand.UnpauseDomain, DomctlCommand.ResumeDomain,
        DomctlCommand.GetDomainInfo, DomctlCommand.GetVcpuInfo, DomctlCommand.MaxMem, DomctlCommand.MaxVcpus,
        DomctlCommand.SetDomainHandle, DomctlCommand.SetHvmContext, DomctlCommand.GetHvmContext, DomctlCommand.GetHvmContextPartial,
        DomctlCommand.VmEventOp, DomctlCommand.MonitorOp, DomctlCommand.SetAccessRequired, DomctlCommand.GdbsxPauseVcpu,
        DomctlCommand.GdbsxUnpauseVcpu, DomctlCommand.SetAddressSize, DomctlCommand.VmtraceOp, 999,
    ];

    // right | control, the target itself, the xenstore domain, another one
    [Theory]
    [InlineData(CallRight.Target, true, true, false, false)]
    [InlineData(CallRight.DeviceModel, true, false, false, false)]
    [InlineData(CallRight.Xenstore, true, false, true, false)]
    [InlineData(CallRight.Control, true, false, false, false)]
    internal void A_right_is_some_callers(CallRight right, bool control, bool self, bool xenstore, bool other)
    {
        const ushort Target = 3;
        Assert.Equal(control, Has(new(8, IsControl: true)));
        Assert.Equal(self, Has(new(Target, IsControl: false)));
        Assert.Equal(xenstore, Has(new(8, IsControl: false) { IsXenstore = true }));
        Assert.Equal(other, Has(new(8, IsControl: false)));

        bool Has(ToolstackCaller caller) => CallerRights.Check(caller, Target, right) == Errno.None;
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public void Domctl_and_monitor_operations_check_version_then_domain_then_rights(uint command)
    {
        var domain = _lab.Create();
        var wrong = Domctl(command, Absent) with { InterfaceVersion = 3 };
        Assert.Equal(Errno.EACCES, Call(ref wrong, Stranger));
        var absent = Domctl(command, Absent);
        Assert.Equal(Errno.ESRCH, Call(ref absent, Stranger));
        var refused = Domctl(command, domain.Id.Value);
        Assert.Equal(Errno.EPERM, Call(ref refused, Stranger));
        Assert.Equal(1, domain.ControllerPauseCount);
        Assert.NotEmpty(_lab.Machine.Domains);
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public void A_hardware_domain_without_control_rights_may_no_more_than_others_and_a_control_guest_may(uint command)
    {
        var target = _lab.Create();
        var hardware = _lab.Create(roles: DomainRoles.Hardware);
        var control = _lab.Create(roles: DomainRoles.Control);
        var operation = Domctl(command, target.Id.Value);
        Assert.Equal(Errno.EPERM, Call(ref operation, ToolstackCaller.Of(hardware)));
        operation = Domctl(command, target.Id.Value);
        Assert.NotEqual(Errno.EPERM, Call(ref operation, ToolstackCaller.Of(control)));
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public void A_stranger_gets_one_answer_whatever_the_target_is_and_does(uint command)
    {
        var running = _lab.CreateRunning(vcpus: 2);
        var stopped = _lab.CreateRunning(vendor: CpuVendor.Svm);
        stopped.Shutdown(ShutdownReason.Crash);
        var control = _lab.Create(roles: DomainRoles.Both);
        var before = new XenDomctl();
        foreach (var target in new[] { running, stopped, control })
        {
            var operation = Domctl(command, target.Id.Value);
            before = operation;
            Assert.Equal(Errno.EPERM, Call(ref operation, Stranger));
            Assert.Equal(Bytes(ref before), Bytes(ref operation));
        }
    }

    [Fact]
    public void Memory_and_view_operations_tell_a_stranger_nothing()
    {
        var monitored = _lab.Create();
        monitored.SetParam(HvmParam.AltP2m, (ulong)AltP2mMode.External);
        Assert.Equal(Errno.None, monitored.AltP2m.SetActive(true));
        var svm = _lab.Create(vendor: CpuVendor.Svm);
        var toolstack = new LocalToolstack(_lab.Machine, Stranger);
        foreach (var id in new[] { monitored.Id.Value, svm.Id.Value, Absent })
        {
            var expected = -(int)(id == Absent ? Errno.ESRCH : Errno.EPERM);
            var access = new MemAccessOp { Op = MemAccessOperation.GetAccess, Domid = id };
            Assert.Equal(expected, toolstack.MemoryOp(MemoryOp.AccessOp, Bytes(ref access), default, default));
            var sharing = new MemSharingOp { Op = MemSharingOperation.Fork, Domain = id };
            Assert.Equal(expected, toolstack.MemoryOp(MemoryOp.SharingOp, Bytes(ref sharing), default, default));
            var statistic = new MemoryDomain { Domid = id };
            Assert.Equal(expected, toolstack.MemoryOp(MemoryOp.MaximumGpfn, Bytes(ref statistic), default, default));
            var map = new ForeignMemoryMap { Domid = id };
            Assert.Equal(expected, toolstack.MemoryOp(MemoryOp.SetMemoryMap, Bytes(ref map), default, default));
            var view = new HvmAltP2mOp { Version = 1, Command = AltP2mCommand.SwitchP2m, Domain = id };
            Assert.Equal(expected, toolstack.HvmOp(HvmOp.AltP2m, Bytes(ref view), default, default));
            var parameter = new HvmParamArgument { Domid = id, Index = HvmParam.AltP2m };
            Assert.Equal(expected, toolstack.HvmOp(HvmOp.GetParam, Bytes(ref parameter), default, default));
            Assert.Equal(0UL, parameter.Value);
            var type = new HvmGetMemType { Domid = id, Pfn = 1 };
            Assert.Equal(expected, toolstack.HvmOp(HvmOp.GetMemType, Bytes(ref type), default, default));
            var device = new XenDmOp { Op = DmOpCommand.NrVcpus };
            Assert.Equal(expected, toolstack.DmOp(id, Bytes(ref device)));
            Assert.Equal(expected, toolstack.MapForeign(id, [1], writable: false, out _));
            Assert.Equal(expected, toolstack.SetDomainName(id, "mine"));
            ulong position = 0;
            Assert.Equal(expected, toolstack.ReadConsole(id, ref position, new byte[8]));
            Assert.Null(toolstack.GetDomainName(id));
        }
    }

    [Fact]
    public void The_xenstore_domain_may_ask_for_a_domains_state_and_for_nothing_else()
    {
        var target = _lab.Create();
        var xenstore = new ToolstackCaller(50, IsControl: false) { IsXenstore = true };
        var info = Domctl(DomctlCommand.GetDomainInfo, target.Id.Value);
        Assert.Equal(Errno.None, Call(ref info, xenstore));
        Assert.Equal(target.Id.Value, info.Domain);
        var pause = Domctl(DomctlCommand.PauseDomain, target.Id.Value);
        Assert.Equal(Errno.EPERM, Call(ref pause, xenstore));
    }

    [Theory]
    [InlineData(DomctlCommand.PauseDomain, Errno.EINVAL)]
    [InlineData(DomctlCommand.DestroyDomain, Errno.EINVAL)]
    [InlineData(DomctlCommand.ResumeDomain, Errno.EINVAL)]
    [InlineData(DomctlCommand.MaxVcpus, Errno.EINVAL)]
    [InlineData(DomctlCommand.GetHvmContext, Errno.EINVAL)]
    [InlineData(DomctlCommand.SetHvmContext, Errno.EINVAL)]
    [InlineData(DomctlCommand.VmEventOp, Errno.EINVAL)]
    [InlineData(DomctlCommand.MonitorOp, Errno.EPERM)]
    [InlineData(DomctlCommand.SetAccessRequired, Errno.EPERM)]
    [InlineData(DomctlCommand.GetDomainInfo, Errno.None)]
    [InlineData(DomctlCommand.SetDomainHandle, Errno.None)]
    public void A_control_domain_cannot_do_to_itself_what_it_would_have_to_stand_still_for(uint command, Errno expected)
    {
        var control = _lab.CreateRunning(roles: DomainRoles.Control);
        var operation = Domctl(command, control.Id.Value);
        Assert.Equal(expected, Call(ref operation, ToolstackCaller.Of(control)));
        Assert.Equal(0, control.ControllerPauseCount);
        Assert.Contains(control, _lab.Machine.Domains);

        // Another one can.
        if (command is DomctlCommand.PauseDomain or DomctlCommand.DestroyDomain)
        {
            operation = Domctl(command, control.Id.Value);
            Assert.Equal(Errno.None, Call(ref operation, ToolstackCaller.Of(_lab.Create(roles: DomainRoles.Control))));
        }
    }

    [Fact]
    public void Creating_a_domain_and_listing_them_are_rights_over_the_machine()
    {
        var create = Domctl(DomctlCommand.CreateDomain, 0);
        Assert.Equal(Errno.EPERM, Call(ref create, Stranger));
        Assert.Equal(Errno.EINVAL, Call(ref create, new(77, IsControl: true)));
        var list = new XenSysctl { Command = SysctlCommand.GetDomainInfoList, InterfaceVersion = 3 };
        Assert.Equal(-(int)Errno.EACCES, new LocalToolstack(_lab.Machine, Stranger).Sysctl(Bytes(ref list), default));
        list.InterfaceVersion = XenInterface.CoreSysctl;
        Assert.Equal(-(int)Errno.EPERM, new LocalToolstack(_lab.Machine, Stranger).Sysctl(Bytes(ref list), default));
        Assert.Equal(0, new LocalToolstack(_lab.Machine, new(77, IsControl: true)).Sysctl(Bytes(ref list), default));
    }

    [Fact]
    public void Who_may_not_does_not_wait_for_his_turn_and_a_vcpu_never_does()
    {
        var target = _lab.Create();
        var refused = Domctl(DomctlCommand.PauseDomain, target.Id.Value);
        var busy = refused;
        var results = Array.Empty<Errno>();
        using (_lab.Machine.ControlLock.EnterScope())
        {
            var other = new Thread(() => results =
            [
                Call(ref refused, Stranger),
                (Errno)(-new LocalToolstack(_lab.Machine, new(77, IsControl: true), waits: false).Domctl(Bytes(ref busy), default, default)),
            ]);
            other.Start();
            other.Join();
        }

        Assert.Equal([Errno.EPERM, Errno.ERESTART], results);
        Assert.Equal(1, target.ControllerPauseCount);
    }

    public void Dispose() => _lab.Dispose();

    private static XenDomctl Domctl(uint command, ushort domain) =>
        new() { Command = command, InterfaceVersion = XenInterface.CoreDomctl, Domain = domain };

    private Errno Call(ref XenDomctl domctl, ToolstackCaller caller) =>
        (Errno)(-new LocalToolstack(_lab.Machine, caller).Domctl(Bytes(ref domctl), default, default));

    private static Span<byte> Bytes<T>(ref T value)
        where T : unmanaged => MemoryMarshal.AsBytes(new Span<T>(ref value));
}
