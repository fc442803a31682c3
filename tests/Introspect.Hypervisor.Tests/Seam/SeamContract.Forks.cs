using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Tests.Domains;

namespace Introspect.Hypervisor.Tests.Seam;

/// <summary>What the seam keeps of forks.</summary>
public abstract partial class SeamContract
{
    /// <summary>A fork's parent is told, as Xen tells nobody.</summary>
    private protected virtual bool TellsForkParents => true;

    /// <summary>A fork's state and its memory can be taken back each for itself.</summary>
    private protected virtual bool HasPartialForkReset => true;

    [Fact]
    public void A_fork_is_a_domain_of_its_own_with_its_parents_memory()
    {
        var domain = Lab.CreateRunning("parent", vcpus: 2);
        using var parent = Hypervisor.Open(domain.Id);
        parent.Memory.WritePhysical(new(0x3000), [1, 2, 3]);
        var uuid = Guid.NewGuid();
        using var fork = parent.Fork(new ForkOptions { Name = "fork", Uuid = uuid, BlockInterrupts = true });
        var info = fork.GetInfo();
        Assert.Equal(("fork", uuid, 2, DomainState.Paused), (info.Name, info.Uuid, info.VcpuCount, info.State));
        Assert.Equal((ParentAsTold(parent), parent.GetInfo().MaxGfn), (info.Parent, info.MaxGfn));
        Assert.Null(parent.GetInfo().Parent);
        Assert.Contains(Hypervisor.ListDomains(), listed => listed.Id == fork.Id && listed.Parent == ParentAsTold(parent));
        Assert.True(info.MemoryBytes < parent.GetInfo().MemoryBytes / 8);
        Assert.All(domain.Vcpus, static vcpu => Assert.False(vcpu.IsRunning));

        var read = new byte[3];
        fork.Memory.ReadPhysical(new(0x3000), read);
        Assert.Equal([1, 2, 3], read);
        fork.Memory.WritePhysical(new(0x3000), [9]);
        fork.Memory.ReadPhysical(new(0x3000), read);
        Assert.Equal([9, 2, 3], read);
        parent.Memory.ReadPhysical(new(0x3000), read);
        Assert.Equal([1, 2, 3], read);
        AssertErrno(Errno.EFAULT, () => fork.Memory.ReadPhysical(new(0xfee0_0000), read));

        fork.Destroy();
        AssertErrno(Errno.ESRCH, () => fork.GetInfo());
        AssertErrno(Errno.ESRCH, fork.Destroy);
        TestMachine.Eventually(() => domain.Vcpus[0].IsRunning);
    }

    [Fact]
    public void A_fork_is_reset_to_its_parents_state_and_memory()
    {
        var domain = Lab.Create("parent");
        using var parent = Hypervisor.Open(domain.Id);
        parent.Memory.WritePhysical(new(0x3000), [1]);
        var before = parent.ReadVcpu(new(0));
        using var fork = parent.Fork();
        Change();
        fork.ResetFork(state: true, memory: true);
        Assert.Equal((before, 1), State());
        if (HasPartialForkReset)
        {
            Change();
            fork.ResetFork(state: false, memory: true);
            Assert.Equal((0x1234UL, 1), (State().Registers.Rip, State().Byte));
            Change();
            fork.ResetFork(state: true, memory: false);
            Assert.Equal((before, 2), State());
        }
        else
        {
            AssertErrno(Errno.EOPNOTSUPP, () => fork.ResetFork(state: false, memory: true));
            AssertErrno(Errno.EOPNOTSUPP, () => fork.ResetFork(state: true, memory: false));
        }

        AssertErrno(Errno.EINVAL, () => fork.ResetFork(state: false, memory: false));
        AssertErrno(Errno.ENOSYS, () => parent.ResetFork(state: true, memory: true));
        Lab.Machine.DestroyDomain(domain);
        AssertErrno(Errno.EINVAL, () => fork.ResetFork(state: true, memory: true));
        fork.Destroy();

        void Change()
        {
            var state = before;
            state.Rip = 0x1234;
            fork.WriteVcpu(new(0), in state);
            fork.Memory.WritePhysical(new(0x3000), [2]);
        }

        (VcpuState Registers, byte Byte) State()
        {
            var read = new byte[1];
            fork.Memory.ReadPhysical(new(0x3000), read);
            return (fork.ReadVcpu(new(0)), read[0]);
        }
    }

    [Fact]
    public void A_fork_can_be_forked_and_monitored()
    {
        var domain = Lab.Create("parent");
        using var parent = Hypervisor.Open(domain.Id);
        using var child = parent.Fork(new ForkOptions { Name = "child" });
        child.Memory.WritePhysical(new(0x3000), [5]);
        using var grandchild = child.Fork(new ForkOptions { Name = "grandchild" });
        Assert.Equal(ParentAsTold(child), grandchild.GetInfo().Parent);
        var read = new byte[1];
        grandchild.Memory.ReadPhysical(new(0x3000), read);
        Assert.Equal(5, read[0]);
        grandchild.Unpause();
        using var monitor = grandchild.EnableMonitor();
        var inside = Lab.Machine.Find(grandchild.Id.Value)!;
        TestMachine.Runner(inside).Do(static vcpu => Send(vcpu, sync: true));
        VmEvent request;
        while (!monitor.TryTake(out request))
        {
            Assert.True(monitor.Wait(TimeSpan.FromSeconds(Wait), CancellationToken.None) || monitor.UnconsumedRequests > 0);
        }

        grandchild.Memory.WritePhysical(new(0x3000), [6]);
        request.Flags |= VmEventFlags.ResetForkMemory | VmEventFlags.ResetForkState;
        monitor.Respond(request);
        monitor.Notify();
        TestMachine.Eventually(() => inside.Vcpus[0].VmEventPauseCount == 0);
        TestMachine.Eventually(() => !inside.Physmap[3].IsPresent || inside.Physmap[3].Type == Core.Memory.P2mType.RamShared);
    }

    [Fact]
    public void What_cannot_be_forked_leaves_no_domain_behind()
    {
        var domain = Lab.Create("svm", vendor: CpuVendor.Svm);
        using var opened = Hypervisor.Open(domain.Id);
        AssertErrno(Errno.EOPNOTSUPP, () => opened.Fork());
        var other = Lab.Create("other");
        using var vmx = Hypervisor.Open(other.Id);
        AssertErrno(Errno.EEXIST, () => vmx.Fork(new ForkOptions { Name = "svm" }));
        Assert.Equal([domain.Id, other.Id], Hypervisor.ListDomains().Select(static listed => listed.Id));
        Assert.Equal(1, other.PauseCount);
    }

    private DomainId? ParentAsTold(IDomain parent) => TellsForkParents ? parent.Id : null;
}
