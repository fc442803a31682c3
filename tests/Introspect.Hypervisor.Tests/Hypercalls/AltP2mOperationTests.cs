using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Tests.Domains;

namespace Introspect.Hypervisor.Tests.Hypercalls;

/// <summary>HVMOP_altp2m as a toolstack makes it: every error number, in the order in which Xen looks.</summary>
public sealed class AltP2mOperationTests : IDisposable
{
    private const ulong Absent = 0x8000;
    private const ulong InvalidGfn = ulong.MaxValue;

    private readonly TestMachine _machine = new();

    // command | mode | whether it is on | whether the caller controls | expected
    [Theory]
    [InlineData(0u, AltP2mUse.External, true, true, Errno.EOPNOTSUPP)]
    [InlineData(17u, AltP2mUse.External, true, true, Errno.EOPNOTSUPP)]
    [InlineData(4u, AltP2mUse.Disabled, false, true, Errno.EOPNOTSUPP)]
    [InlineData(1u, AltP2mUse.Disabled, false, true, Errno.EINVAL)]
    [InlineData(1u, AltP2mUse.Disabled, false, false, Errno.EPERM)]
    [InlineData(4u, AltP2mUse.External, false, false, Errno.EPERM)]
    [InlineData(1u, AltP2mUse.External, false, false, Errno.EPERM)]
    [InlineData(4u, AltP2mUse.Limited, true, false, Errno.EPERM)]
    [InlineData(4u, AltP2mUse.Mixed, true, false, Errno.EPERM)]
    [InlineData(4u, AltP2mUse.Limited, true, true, Errno.None)]
    [InlineData(4u, AltP2mUse.Mixed, true, true, Errno.None)]
    [InlineData(4u, AltP2mUse.External, true, true, Errno.None)]
    public void Who_may_do_what_follows_the_mode(uint command, AltP2mUse use, bool active, bool isControl, Errno expected)
    {
        var domain = _machine.Create();
        domain.SetParam(HvmParam.AltP2m, (ulong)use);
        if (active)
        {
            Assert.Equal(Errno.None, domain.AltP2m.SetActive(true));
        }

        var caller = isControl ? ToolstackCaller.Control : new ToolstackCaller(77, false);
        var operation = Operation(domain, command);
        Assert.Equal(expected, Call(ref operation, caller: caller));
    }

    [Fact]
    public void The_header_comes_before_the_domain()
    {
        var operation = new HvmAltP2mOp { Version = 2, Command = AltP2mCommand.GetDomainState, Domain = 99 };
        Assert.Equal(Errno.EINVAL, Call(ref operation));
        operation.Version = 1;
        MemoryMarshal.AsBytes(new Span<HvmAltP2mOp>(ref operation))[13] = 1;
        Assert.Equal(Errno.EINVAL, Call(ref operation));
        operation = new HvmAltP2mOp { Version = 1, Command = 99, Domain = 99 };
        Assert.Equal(Errno.EOPNOTSUPP, Call(ref operation));
        operation.Command = AltP2mCommand.GetDomainState;
        Assert.Equal(Errno.ESRCH, Call(ref operation));
        operation.Domain = SpecialDomain.Self;
        Assert.Equal(Errno.EOPNOTSUPP, Call(ref operation));
        Assert.Equal(-(int)Errno.EFAULT, _machine.Toolstack.HvmOp(HvmOp.AltP2m, new byte[79], default, default));
    }

    [Fact]
    public void An_svm_domain_has_none_whatever_is_asked()
    {
        var domain = _machine.Create(vendor: CpuVendor.Svm);
        domain.SetParam(HvmParam.AltP2m, (ulong)AltP2mMode.External);
        var operation = Operation(domain, AltP2mCommand.SetDomainState);
        operation.DomainState = 1;
        operation.Version = 9;
        Assert.Equal(Errno.EOPNOTSUPP, Call(ref operation));
        operation.Version = 1;
        Assert.Equal(Errno.EOPNOTSUPP, Call(ref operation));
    }

    [Fact]
    public void The_mode_is_chosen_once()
    {
        var domain = _machine.Create();
        var calls = new ToolstackCalls(_machine.Toolstack);
        AssertErrno(Errno.EINVAL, () => calls.SetParam(domain.Id.Value, HvmParam.AltP2m, 4));
        calls.SetParam(domain.Id.Value, HvmParam.AltP2m, (ulong)AltP2mMode.External);
        calls.SetParam(domain.Id.Value, HvmParam.AltP2m, (ulong)AltP2mMode.External);
        AssertErrno(Errno.EEXIST, () => calls.SetParam(domain.Id.Value, HvmParam.AltP2m, (ulong)AltP2mMode.Mixed));
        AssertErrno(Errno.EEXIST, () => calls.SetParam(domain.Id.Value, HvmParam.AltP2m, 0));
    }

    [Fact]
    public void There_are_ten_views_and_the_eleventh_is_EINVAL()
    {
        var domain = On();
        for (ushort view = 1; view < 10; view++)
        {
            Assert.Equal((Errno.None, view), Create(domain));
        }

        Assert.Equal((Errno.EINVAL, ushort.MaxValue), Create(domain));
        Assert.Equal(Errno.None, View(domain, AltP2mCommand.DestroyP2m, 4));
        Assert.Equal((Errno.None, (ushort)4), Create(domain));
    }

    [Theory]
    [InlineData(11u)]
    [InlineData(0x107u)]
    public void A_view_needs_an_access_that_there_is(uint access)
    {
        var domain = On();
        Assert.Equal((Errno.EINVAL, ushort.MaxValue), Create(domain, access));
        var operation = Access(domain, AltP2mCommand.SetMemAccess, 0, 3, access);
        Assert.Equal(Errno.EINVAL, Call(ref operation));
        operation = Access(domain, AltP2mCommand.SetMemAccess, 0, InvalidGfn, access);
        Assert.Equal(Errno.EINVAL, Call(ref operation));
        Assert.Equal(MemoryAccess.Rwx, domain.Physmap.DefaultAccess);
    }

    [Theory]
    [InlineData((ushort)0)]
    [InlineData((ushort)5)]
    [InlineData((ushort)10)]
    [InlineData((ushort)600)]
    public void A_view_that_cannot_go_is_EBUSY(ushort view) => Assert.Equal(Errno.EBUSY, View(On(), AltP2mCommand.DestroyP2m, view));

    [Fact]
    public void A_view_with_a_vcpu_in_it_is_EBUSY()
    {
        var domain = On(vcpus: 2);
        var (_, view) = Create(domain);
        Assert.True(domain.AltP2m.Switch(domain.Vcpus[1], view, visibleOnly: false));
        Assert.Equal(Errno.EBUSY, View(domain, AltP2mCommand.DestroyP2m, view));
        Assert.Equal(Errno.None, View(domain, AltP2mCommand.SwitchP2m, 0));
        Assert.Equal(Errno.None, View(domain, AltP2mCommand.DestroyP2m, view));
    }

    [Fact]
    public void Only_a_visible_view_is_switched_to()
    {
        var domain = On(vcpus: 2);
        var (_, view) = Create(domain);
        Assert.Equal(Errno.EINVAL, View(domain, AltP2mCommand.SwitchP2m, 7));
        Assert.Equal(Errno.EINVAL, View(domain, AltP2mCommand.SwitchP2m, 600));
        Assert.Equal(Errno.None, Visibility(domain, view, visible: false));
        Assert.Equal(Errno.EINVAL, View(domain, AltP2mCommand.SwitchP2m, view));
        Assert.Equal(Errno.None, Visibility(domain, view, visible: true));
        Assert.Equal(Errno.None, View(domain, AltP2mCommand.SwitchP2m, view));
        Assert.Equal([view, view], domain.Vcpus.Select(vcpu => vcpu.View));
        Assert.Equal(Errno.EINVAL, Visibility(domain, 7, visible: true));
    }

    [Fact]
    public void The_view_of_a_vcpu_is_told_of_those_that_there_are()
    {
        var domain = On();
        var operation = Operation(domain, AltP2mCommand.GetP2mIdx);
        Assert.Equal(Errno.None, Call(ref operation));
        Assert.Equal(0, operation.VcpuP2mIndex.AltP2mIndex);
        operation.VcpuP2mIndex.VcpuId = 1;
        Assert.Equal(Errno.EINVAL, Call(ref operation));
    }

    [Fact]
    public void Padding_is_looked_at_where_Xen_looks()
    {
        var domain = On();
        foreach (var (command, offset) in new (uint, int)[]
        {
            (AltP2mCommand.VcpuEnableNotify, 4), (AltP2mCommand.SetMemAccess, 4), (AltP2mCommand.GetMemAccess, 7), (AltP2mCommand.SetMemAccessMulti, 3),
            (AltP2mCommand.ChangeGfn, 2), (AltP2mCommand.ChangeGfn, 7), (AltP2mCommand.SetSuppressVe, 3), (AltP2mCommand.SetSuppressVe, 4),
            (AltP2mCommand.GetSuppressVe, 7), (AltP2mCommand.SetSuppressVeMulti, 3), (AltP2mCommand.SetVisibility, 3),
        })
        {
            var operation = Operation(domain, command);
            MemoryMarshal.AsBytes(new Span<HvmAltP2mOp>(ref operation))[16 + offset] = 1;
            Assert.Equal((command, Errno.EINVAL), (command, Call(ref operation)));
        }
    }

    [Fact]
    public void Rights_of_a_view_are_set_and_read()
    {
        var domain = On();
        var (_, view) = Create(domain, (uint)MemoryAccess.Rx);
        Assert.Equal((Errno.ESRCH, 0), Get(domain, view, 3));
        var operation = Access(domain, AltP2mCommand.SetMemAccess, view, 3, (uint)MemoryAccess.R);
        Assert.Equal(Errno.None, Call(ref operation));
        Assert.Equal((Errno.None, (int)MemoryAccess.R), Get(domain, view, 3));
        Assert.Equal((Errno.None, (int)MemoryAccess.Rwx), Get(domain, 0, 3));
        Assert.Equal((Errno.None, (int)MemoryAccess.Rx), Get(domain, view, InvalidGfn));
        Assert.Equal((Errno.EINVAL, 0), Get(domain, 9, 3));
        Assert.Equal((Errno.ESRCH, 0), Get(domain, 0, Absent));

        // A frame without RAM takes none, silently; the host table has an end.
        operation = Access(domain, AltP2mCommand.SetMemAccess, view, Absent, 1);
        Assert.Equal(Errno.None, Call(ref operation));
        operation = Access(domain, AltP2mCommand.SetMemAccess, 0, 1UL << 36, 1);
        Assert.Equal(Errno.EINVAL, Call(ref operation));
        operation = Access(domain, AltP2mCommand.SetMemAccess, 9, 3, 1);
        Assert.Equal(Errno.EINVAL, Call(ref operation));

        // Frame ~0 sets the host's default, whatever the view.
        operation = Access(domain, AltP2mCommand.SetMemAccess, view, InvalidGfn, (uint)MemoryAccess.Rw);
        Assert.Equal(Errno.None, Call(ref operation));
        Assert.Equal(MemoryAccess.Rw, domain.Physmap.DefaultAccess);
    }

    [Fact]
    public void Lists_of_rights_are_done_up_to_what_is_wrong_with_them()
    {
        var domain = On();
        var (_, view) = Create(domain);
        ulong[] gfns = [3, 4, 5];
        byte[] accesses = [1, 99, 1];
        Assert.Equal(Errno.EINVAL, Multi(domain, view, 3, 0, gfns, accesses));
        Assert.Equal((Errno.None, 1), Get(domain, view, 3));
        Assert.Equal(Errno.ESRCH, Get(domain, view, 4).Result);

        // A list that is shorter than it says.
        accesses = [2, 2];
        Assert.Equal(Errno.EFAULT, Multi(domain, view, 3, 0, gfns, accesses));
        Assert.Equal((Errno.None, 2), Get(domain, view, 4));
        Assert.Equal(Errno.ESRCH, Get(domain, view, 5).Result);

        // Continued in the middle, and behind the end.
        accesses = [4, 4, 4];
        Assert.Equal(Errno.None, Multi(domain, view, 3, 2, gfns, accesses));
        Assert.Equal([2, 2, 4], gfns.Select(gfn => Get(domain, view, gfn).Access));
        Assert.Equal(Errno.None, Multi(domain, view, 3, 3, gfns, accesses));
        Assert.Equal(Errno.EINVAL, Multi(domain, view, 3, 4, gfns, accesses));
        Assert.Equal(Errno.EINVAL, Multi(domain, 9, 3, 0, gfns, accesses));
    }

    [Fact]
    public void A_frame_is_remapped_and_restored()
    {
        var domain = On();
        var (_, view) = Create(domain);
        Assert.Equal(Errno.EINVAL, Change(domain, 9, 3, 4));
        Assert.Equal(Errno.ESRCH, Change(domain, view, Absent, 4));
        Assert.Equal(Errno.ESRCH, Change(domain, view, 3, Absent));
        Assert.Equal(Errno.None, Change(domain, view, 3, 4));
        Assert.Equal(Errno.None, View(domain, AltP2mCommand.SwitchP2m, view));
        Assert.Equal(domain.Physmap[4].MachineAddress, domain.Vcpus[0].P2m[3].MachineAddress);
        Assert.Equal(Errno.None, Change(domain, view, 3, InvalidGfn));
        Assert.False(domain.Vcpus[0].P2m[3].IsPresent);
        Assert.Equal(Errno.None, Change(domain, view, 3, InvalidGfn));

        // View 0 is itself here, not the host table.
        Assert.Equal(Errno.None, Change(domain, 0, 3, 4));
        Assert.NotEqual(domain.Physmap[4].MachineAddress, domain.Physmap[3].MachineAddress);
    }

    [Fact]
    public void Suppressing_ve_is_set_by_default_and_switched_frame_by_frame()
    {
        var domain = On();
        var (_, view) = Create(domain);
        Assert.Equal(Errno.EINVAL, Suppress(domain, 9, 3, suppress: false));
        Assert.Equal(Errno.ESRCH, Suppress(domain, view, Absent, suppress: false));
        Assert.Equal(Errno.None, Suppress(domain, 0, Absent, suppress: false));
        Assert.Equal(Errno.EINVAL, Suppress(domain, 0, 1UL << 36, suppress: false));
        Assert.Equal(Errno.ESRCH, Suppress(domain, view, InvalidGfn, suppress: false));
        Assert.Equal((Errno.ESRCH, true), Suppressed(domain, view, 3));
        Assert.Equal((Errno.None, true), Suppressed(domain, 0, 3));
        Assert.Equal(Errno.EINVAL, Suppressed(domain, 9, 3).Result);
        Assert.Equal(Errno.None, Suppress(domain, view, 3, suppress: false));
        Assert.Equal((Errno.None, false), Suppressed(domain, view, 3));

        // Other rights leave it as it is.
        var operation = Access(domain, AltP2mCommand.SetMemAccess, view, 3, 1);
        Assert.Equal(Errno.None, Call(ref operation));
        Assert.Equal((Errno.None, false), Suppressed(domain, view, 3));
    }

    [Fact]
    public void A_range_tells_its_first_error_and_is_done_all_the_same()
    {
        var domain = On();
        var (_, view) = Create(domain);
        domain.Ram.TryDepopulate(domain.Physmap, 4);
        var operation = Range(domain, view, 3, 5);
        Assert.Equal(Errno.None, Call(ref operation));
        var range = operation.SuppressVeMulti;
        Assert.Equal((-(int)Errno.ESRCH, 4UL, 6UL), (range.FirstError, range.FirstErrorGfn, range.FirstGfn));
        Assert.Equal((Errno.None, false), Suppressed(domain, view, 5));

        // Up to the highest address there is; the frames without RAM are not gone through one by one.
        operation = Range(domain, view, 5, InvalidGfn);
        Assert.Equal(Errno.None, Call(ref operation));
        Assert.Equal(1UL << 46, operation.SuppressVeMulti.FirstGfn);
        operation = Range(domain, view, 6, 5);
        Assert.Equal(Errno.EINVAL, Call(ref operation));
        operation = Range(domain, 9, 3, 5);
        Assert.Equal(Errno.EINVAL, Call(ref operation));
    }

    [Fact]
    public void Ve_needs_a_vcpu_and_plain_RAM_and_is_given_once()
    {
        var domain = On();
        Assert.Equal(Errno.EINVAL, Notify(domain, 1, 3));
        Assert.Equal(Errno.EINVAL, Notify(domain, 0, Absent));
        Assert.Equal(Errno.None, domain.MapSharedInfo(5));
        Assert.Equal(Errno.EINVAL, Notify(domain, 0, 5));
        Assert.Equal(Errno.None, Notify(domain, 0, 3));
        Assert.Equal(Errno.EEXIST, Notify(domain, 0, Absent));
        var off = Operation(domain, AltP2mCommand.VcpuDisableNotify);
        Assert.Equal(Errno.None, Call(ref off));
        Assert.Equal(Errno.None, Call(ref off));
        Assert.True(domain.Vcpus[0].VirtualizationExceptions.HasVmFunctions);
        off.DisableNotifyVcpu = 1;
        Assert.Equal(Errno.EINVAL, Call(ref off));
        Assert.Equal(Errno.None, Notify(domain, 0, 3));
        Assert.Equal(Errno.None, domain.AltP2m.SetActive(false));
        Assert.Equal((false, false), (domain.Vcpus[0].VirtualizationExceptions.IsEnabled, domain.Vcpus[0].VirtualizationExceptions.HasVmFunctions));
    }

    [Theory]
    [InlineData(512u, 512)]
    [InlineData(0u, 10)]
    public void A_domain_has_as_many_views_as_it_was_made_for(uint asked, int limit)
    {
        using var built = DomainUnderConstruction.Create(_machine.Toolstack, new DomainConfig { MemoryBytes = TestMachine.MemoryBytes, AltP2mViews = asked });
        var domain = _machine.Machine.Find(built.Id.Value)!;
        Assert.Equal(limit, domain.AltP2m.Limit);
        domain.SetParam(HvmParam.AltP2m, (ulong)AltP2mMode.External);
        Assert.Equal(Errno.None, domain.AltP2m.SetActive(true));
        for (var view = 1; view < limit; view++)
        {
            Assert.Equal((Errno.None, (ushort)view), Create(domain));
        }

        Assert.Equal(Errno.EINVAL, Create(domain).Result);
        Assert.Equal(Errno.None, View(domain, AltP2mCommand.SwitchP2m, (ushort)(limit - 1)));
    }

    [Fact]
    public void More_views_than_fit_the_list_of_vmfunc_are_EINVAL() =>
        AssertErrno(Errno.EINVAL, () => DomainUnderConstruction.Create(_machine.Toolstack, new DomainConfig { MemoryBytes = TestMachine.MemoryBytes, AltP2mViews = 513 }).Dispose());

    public void Dispose() => _machine.Dispose();

    private static HvmAltP2mOp Operation(Domain domain, uint command) => new() { Version = 1, Command = command, Domain = domain.Id.Value };

    private static HvmAltP2mOp Access(Domain domain, uint command, ushort view, ulong gfn, uint access)
    {
        var operation = Operation(domain, command);
        operation.MemAccess.View = view;
        operation.MemAccess.Gfn = gfn;
        operation.MemAccess.Access = (ushort)access;
        return operation;
    }

    private static HvmAltP2mOp Range(Domain domain, ushort view, ulong first, ulong last)
    {
        var operation = Operation(domain, AltP2mCommand.SetSuppressVeMulti);
        operation.SuppressVeMulti.View = view;
        operation.SuppressVeMulti.FirstGfn = first;
        operation.SuppressVeMulti.LastGfn = last;
        return operation;
    }

    private static void AssertErrno(Errno expected, Action action) =>
        Assert.Equal(expected, Assert.Throws<HypervisorException>(action).Error);

    private Domain On(uint vcpus = 1)
    {
        var domain = _machine.Create(vcpus: vcpus);
        domain.SetParam(HvmParam.AltP2m, (ulong)AltP2mMode.External);
        var operation = Operation(domain, AltP2mCommand.SetDomainState);
        operation.DomainState = 1;
        Assert.Equal(Errno.None, Call(ref operation));
        Assert.Equal(Errno.None, Call(ref operation));
        return domain;
    }

    private (Errno Result, ushort View) Create(Domain domain, uint access = (uint)MemoryAccess.Default)
    {
        var operation = Operation(domain, AltP2mCommand.CreateP2m);
        operation.View.View = ushort.MaxValue;
        operation.View.DefaultAccess = (ushort)access;
        return (Call(ref operation), operation.View.View);
    }

    private Errno View(Domain domain, uint command, ushort view)
    {
        var operation = Operation(domain, command);
        operation.View.View = view;
        return Call(ref operation);
    }

    private Errno Visibility(Domain domain, ushort view, bool visible)
    {
        var operation = Operation(domain, AltP2mCommand.SetVisibility);
        operation.Visibility.AltP2mIndex = view;
        operation.Visibility.Visible = visible ? (byte)1 : (byte)0;
        return Call(ref operation);
    }

    private (Errno Result, int Access) Get(Domain domain, ushort view, ulong gfn)
    {
        var operation = Access(domain, AltP2mCommand.GetMemAccess, view, gfn, 0);
        return (Call(ref operation), operation.MemAccess.Access);
    }

    private Errno Change(Domain domain, ushort view, ulong gfn, ulong target)
    {
        var operation = Operation(domain, AltP2mCommand.ChangeGfn);
        operation.ChangeGfn.View = view;
        operation.ChangeGfn.OldGfn = gfn;
        operation.ChangeGfn.NewGfn = target;
        return Call(ref operation);
    }

    private Errno Suppress(Domain domain, ushort view, ulong gfn, bool suppress)
    {
        var operation = Operation(domain, AltP2mCommand.SetSuppressVe);
        operation.SuppressVe.View = view;
        operation.SuppressVe.Gfn = gfn;
        operation.SuppressVe.SuppressVe = suppress ? (byte)1 : (byte)0;
        return Call(ref operation);
    }

    private (Errno Result, bool Suppressed) Suppressed(Domain domain, ushort view, ulong gfn)
    {
        var operation = Operation(domain, AltP2mCommand.GetSuppressVe);
        operation.SuppressVe.View = view;
        operation.SuppressVe.Gfn = gfn;
        operation.SuppressVe.SuppressVe = 1;
        return (Call(ref operation), operation.SuppressVe.SuppressVe != 0);
    }

    private Errno Notify(Domain domain, uint vcpu, ulong gfn)
    {
        var operation = Operation(domain, AltP2mCommand.VcpuEnableNotify);
        operation.EnableNotify.VcpuId = vcpu;
        operation.EnableNotify.Gfn = gfn;
        return Call(ref operation);
    }

    private Errno Multi(Domain domain, ushort view, uint count, ulong opaque, ulong[] gfns, byte[] accesses)
    {
        var operation = Operation(domain, AltP2mCommand.SetMemAccessMulti);
        operation.SetMemAccessMulti.View = view;
        operation.SetMemAccessMulti.Nr = count;
        operation.SetMemAccessMulti.Opaque = opaque;
        return Call(ref operation, MemoryMarshal.AsBytes(gfns.AsSpan()), accesses);
    }

    private Errno Call(ref HvmAltP2mOp operation, Span<byte> gfns = default, Span<byte> accesses = default, ToolstackCaller? caller = null)
    {
        var toolstack = new LocalToolstack(_machine.Machine, caller ?? ToolstackCaller.Control);
        return (Errno)(-toolstack.HvmOp(HvmOp.AltP2m, MemoryMarshal.AsBytes(new Span<HvmAltP2mOp>(ref operation)), gfns, accesses));
    }
}
