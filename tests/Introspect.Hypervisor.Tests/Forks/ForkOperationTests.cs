using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Tests.Domains;

namespace Introspect.Hypervisor.Tests.Forks;

/// <summary>The raw operations: what is refused, in which order, with which error.</summary>
public sealed class ForkOperationTests : IDisposable
{
    private const ushort Nobody = 99;

    private readonly TestMachine _lab = new();

    [Fact]
    public void A_child_that_a_tool_paused_becomes_a_fork_and_its_parent_stands_still()
    {
        var parent = _lab.CreateRunning("parent", vcpus: 2);
        var child = CreateChild(vcpus: 2);
        Assert.Empty(child.Vcpus);
        Assert.Equal(Errno.None, Fork(child, parent));
        Assert.Equal((parent, 1, 1), (child.Parent, parent.ForkCount, parent.PauseCount));
        Assert.Equal(0, parent.ControllerPauseCount);
        Assert.All(parent.Vcpus, static vcpu => Assert.False(vcpu.IsRunning));
        Assert.Equal(2, child.Vcpus.Count);
        Assert.Equal(parent.Ram.MaxPages, child.Ram.MaxPages);
        Assert.Equal(parent.Physmap.MaxMappedGfn, child.Physmap.MaxMappedGfn);
        Assert.Equal(parent.GetParam(HvmParam.ConsolePfn), child.GetParam(HvmParam.ConsolePfn));
    }

    [Fact]
    public void Domains_that_do_not_exist_are_ESRCH()
    {
        var parent = _lab.Create();
        var child = CreateChild();
        Assert.Equal(Errno.ESRCH, Operate(ForkOf(Nobody, parent.Id.Value)));
        Assert.Equal(Errno.ESRCH, Operate(ForkOf(child.Id.Value, Nobody)));
        Assert.Equal(Errno.ESRCH, Operate(ResetOf(Nobody, MemSharingOp.ForkResetState)));
    }

    [Fact]
    public void Who_is_no_control_tool_gets_EPERM_once_the_domain_is_known()
    {
        var parent = _lab.Create();
        var child = CreateChild();
        var guest = new LocalToolstack(_lab.Machine, new ToolstackCaller(5, IsControl: false));
        Assert.Equal(Errno.EPERM, Operate(ForkOf(child.Id.Value, parent.Id.Value), guest));
        Assert.Equal(Errno.EPERM, Operate(ResetOf(child.Id.Value, 0), guest));
        Assert.Equal(Errno.ESRCH, Operate(ForkOf(Nobody, parent.Id.Value), guest));
    }

    [Fact]
    public void Padding_and_unknown_flags_are_EINVAL()
    {
        var parent = _lab.Create();
        var child = CreateChild();
        var padded = ForkOf(child.Id.Value, parent.Id.Value);
        padded.ForkPad = 1;
        Assert.Equal(Errno.EINVAL, Operate(padded));
        Assert.Equal(Errno.EINVAL, Operate(ForkOf(child.Id.Value, parent.Id.Value, MemSharingOp.ForkResetState)));
        Assert.Equal(Errno.EINVAL, Operate(ForkOf(child.Id.Value, parent.Id.Value, 1 << 4)));

        // Before the parent is looked for.
        Assert.Equal(Errno.EINVAL, Operate(ForkOf(child.Id.Value, Nobody, 1 << 4)));
        Assert.Equal(Errno.None, Operate(ForkOf(child.Id.Value, parent.Id.Value, MemSharingOp.ForkWithIommuAllowed | MemSharingOp.ForkBlockInterrupts)));
        Assert.True(child.BlocksInterrupts);
    }

    [Fact]
    public void Another_number_of_vcpus_is_EINVAL_whether_the_child_is_paused_or_not()
    {
        var parent = _lab.Create(vcpus: 2);
        var child = CreateChild(vcpus: 1);
        Assert.Equal(Errno.EINVAL, Fork(child, parent));
        Assert.Equal(Errno.None, child.ControllerUnpause());
        Assert.Equal(Errno.EINVAL, Fork(child, parent));
        Assert.Equal((0, 1), (parent.ForkCount, parent.PauseCount));
    }

    [Fact]
    public void A_child_that_no_tool_paused_is_EBUSY()
    {
        var parent = _lab.Create();
        var child = CreateChild();
        Assert.Equal(Errno.None, child.ControllerUnpause());
        child.Pause();
        Assert.Equal(Errno.EBUSY, Fork(child, parent));
        Assert.Null(child.Parent);
    }

    [Theory]
    [InlineData(CpuVendor.Svm, CpuVendor.Vmx)]
    [InlineData(CpuVendor.Vmx, CpuVendor.Svm)]
    [InlineData(CpuVendor.Svm, CpuVendor.Svm)]
    public void Forks_are_for_vmx_domains(CpuVendor childs, CpuVendor parents)
    {
        var parent = _lab.Create(vendor: parents);
        var child = CreateChild(vendor: childs);
        Assert.Equal(Errno.EOPNOTSUPP, Fork(child, parent));
        Assert.Equal(0, parent.ForkCount);
    }

    [Fact]
    public void Nobody_is_his_own_ancestor()
    {
        var first = _lab.Create();
        var second = CreateChild();
        var third = CreateChild();
        Assert.Equal(Errno.EINVAL, Fork(first, first));
        Assert.Equal(Errno.None, Fork(second, first));
        Assert.Equal(Errno.None, Fork(third, second));
        Assert.Equal(Errno.EINVAL, Fork(first, third));
    }

    [Fact]
    public void Forking_a_fork_from_its_parent_again_gives_it_the_state_again_and_from_another_is_EBUSY()
    {
        var parent = _lab.Create();
        var other = _lab.Create();
        var child = CreateChild();
        Assert.Equal(Errno.None, Fork(child, parent));
        child.SetParam(HvmParam.ConsoleEvtchn, 77);
        parent.SetParam(HvmParam.ConsoleEvtchn, 5);
        Assert.Equal(Errno.None, Fork(child, parent));
        Assert.Equal(5UL, child.GetParam(HvmParam.ConsoleEvtchn));
        Assert.Equal((1, 2), (parent.ForkCount, parent.PauseCount));
        Assert.Equal(Errno.EBUSY, Fork(child, other));
        Assert.Equal((0, 1), (other.ForkCount, other.PauseCount));
    }

    [Fact]
    public void A_state_that_the_child_cannot_take_leaves_no_fork()
    {
        var parent = _lab.CreateRunning();
        var child = CreateChild();
        child.CreateVcpus();
        TestMachine.Runner(child).Refuses = true;
        Assert.Equal(Errno.EINVAL, Fork(child, parent));
        Assert.Null(child.Parent);
        Assert.Equal((0, 0), (parent.ForkCount, parent.PauseCount));
        TestMachine.Eventually(() => parent.Vcpus[0].IsRunning);
    }

    [Fact]
    public void A_reset_asks_for_something_that_it_knows_of_a_fork()
    {
        var parent = _lab.Create();
        var child = CreateChild();
        Assert.Equal(Errno.ENOSYS, Operate(ResetOf(parent.Id.Value, MemSharingOp.ForkResetState)));
        Assert.Equal(Errno.None, Fork(child, parent));
        Assert.Equal(Errno.EINVAL, Operate(ResetOf(child.Id.Value, 0)));
        Assert.Equal(Errno.EINVAL, Operate(ResetOf(parent.Id.Value, 0)));
        Assert.Equal(Errno.EINVAL, Operate(ResetOf(child.Id.Value, MemSharingOp.ForkResetState | MemSharingOp.ForkBlockInterrupts)));
        var padded = ResetOf(child.Id.Value, MemSharingOp.ForkResetState);
        padded.ForkPad = 1;
        Assert.Equal(Errno.EINVAL, Operate(padded));
        foreach (var flags in new[] { MemSharingOp.ForkResetState, MemSharingOp.ForkResetMemory, (ushort)(MemSharingOp.ForkResetState | MemSharingOp.ForkResetMemory) })
        {
            Assert.Equal(Errno.None, Operate(ResetOf(child.Id.Value, flags)));
        }

        Assert.Equal(1, child.PauseCount);
    }

    [Theory]
    [InlineData(MemSharingOperation.NominateGfn)]
    [InlineData(MemSharingOperation.Share)]
    [InlineData(MemSharingOperation.AddPhysmap)]
    [InlineData(MemSharingOperation.Audit)]
    [InlineData(MemSharingOperation.RangeShare)]
    public void Sharing_by_hand_is_not_there(byte operation) =>
        Assert.Equal(Errno.ENOSYS, Operate(new MemSharingOp { Op = operation, Domain = _lab.Create().Id.Value }));

    [Fact]
    public void A_short_argument_is_EFAULT() =>
        Assert.Equal(-(int)Errno.EFAULT, _lab.Toolstack.MemoryOp(MemoryOp.SharingOp, new byte[8], default, default));

    public void Dispose() => _lab.Dispose();

    private Domain CreateChild(uint vcpus = 1, CpuVendor vendor = CpuVendor.Vmx) => CreateChild(_lab, vcpus, vendor);

    /// <summary>A domain as createdomain leaves it.</summary>
    internal static Domain CreateChild(TestMachine lab, uint vcpus = 1, CpuVendor vendor = CpuVendor.Vmx)
    {
        var create = ToolstackCalls.Domctl(DomctlCommand.CreateDomain, 0);
        create.CreateDomain.Flags = CreateDomainFlags.Hvm | CreateDomainFlags.Hap;
        create.CreateDomain.MaxVcpus = vcpus;
        create.CreateDomain.Arch.EmulationFlags = X86EmulationFlags.Lapic;
        create.CreateDomain.Arch.MiscFlags = vendor == CpuVendor.Svm ? CoreDomainFlags.Svm : 0;
        new ToolstackCalls(lab.Toolstack).Call(ref create, default, "creating");
        return lab.Machine.Find(create.Domain)!;
    }

    private Errno Fork(Domain child, Domain parent) => Operate(ForkOf(child.Id.Value, parent.Id.Value));

    private Errno Operate(MemSharingOp operation, LocalToolstack? caller = null) =>
        (Errno)(-(caller ?? _lab.Toolstack).MemoryOp(
            MemoryOp.SharingOp, MemoryMarshal.AsBytes(new Span<MemSharingOp>(ref operation)), default, default));

    private static MemSharingOp ForkOf(ushort child, ushort parent, ushort flags = 0) =>
        new() { Op = MemSharingOperation.Fork, Domain = child, ForkParent = parent, ForkFlags = flags };

    private static MemSharingOp ResetOf(ushort child, ushort flags) =>
        new() { Op = MemSharingOperation.ForkReset, Domain = child, ForkFlags = flags };
}
