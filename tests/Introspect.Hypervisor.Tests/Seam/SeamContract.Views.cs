using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Tests.Domains;

namespace Introspect.Hypervisor.Tests.Seam;

/// <summary>altp2m through the seam.</summary>
public abstract partial class SeamContract
{
    [Fact]
    public void Views_are_for_who_was_allowed_them()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        using var monitor = opened.EnableMonitor();
        var views = monitor.Views;
        Assert.Equal(AltP2mUse.Disabled, views.Use);
        AssertErrno(Errno.EINVAL, () => views.IsActive);
        AssertErrno(Errno.EINVAL, () => views.SetActive(true));
        views.Allow(AltP2mUse.External);
        AssertErrno(Errno.EEXIST, () => views.Allow(AltP2mUse.Mixed));
        Assert.Equal(AltP2mUse.External, views.Use);
        Assert.False(views.IsActive);
        AssertErrno(Errno.EOPNOTSUPP, () => views.Create());
        AssertErrno(Errno.EOPNOTSUPP, () => views.GetView(new(0)));
        views.SetActive(true);
        Assert.True(views.IsActive);
        Assert.Equal(ViewId.Host, views.GetView(new(0)));
        AssertErrno(Errno.EINVAL, () => views.GetView(new(1)));
    }

    [Fact]
    public void Svm_domains_have_no_views()
    {
        var domain = Lab.CreateRunning(vendor: CpuVendor.Svm);
        using var opened = Hypervisor.Open(domain.Id);
        using var monitor = opened.EnableMonitor();
        monitor.Views.Allow(AltP2mUse.External);
        AssertErrno(Errno.EOPNOTSUPP, () => monitor.Views.IsActive);
        AssertErrno(Errno.EOPNOTSUPP, () => monitor.Views.SetActive(true));
    }

    [Fact]
    public void Views_are_made_entered_hidden_and_ended()
    {
        var domain = Lab.CreateRunning(vcpus: 2);
        using var opened = Hypervisor.Open(domain.Id);
        using var monitor = opened.EnableMonitor();
        var views = On(monitor);
        var view = views.Create();
        Assert.Equal(new ViewId(1), view);
        views.SwitchTo(view);
        Assert.Equal((view, view), (views.GetView(new(0)), views.GetView(new(1))));
        AssertErrno(Errno.EBUSY, () => views.Destroy(view));
        AssertErrno(Errno.EBUSY, () => views.Destroy(ViewId.Host));
        views.SetVisible(view, false);
        AssertErrno(Errno.EINVAL, () => views.SwitchTo(view));
        views.SwitchTo(ViewId.Host);
        views.Destroy(view);
        AssertErrno(Errno.EBUSY, () => views.Destroy(view));
        AssertErrno(Errno.EINVAL, () => views.SwitchTo(view));
        AssertErrno(Errno.EINVAL, () => views.SetVisible(view, true));
        for (var n = 1; n < 10; n++)
        {
            views.Create();
        }

        AssertErrno(Errno.EINVAL, () => views.Create());
        TestMachine.Eventually(() => domain.Vcpus.All(static vcpu => vcpu.IsRunning));
    }

    [Fact]
    public void Rights_and_frames_of_views_are_set_and_read()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        using var monitor = opened.EnableMonitor();
        var views = On(monitor);
        var view = views.Create(MemoryAccess.Rx);
        Assert.Equal(MemoryAccess.Rx, views.GetAccess(view, new(~0UL)));
        AssertErrno(Errno.ESRCH, () => views.GetAccess(view, new(3)));
        views.SetAccess(view, new(3), MemoryAccess.R);
        Assert.Equal(MemoryAccess.R, views.GetAccess(view, new(3)));
        Assert.Equal(MemoryAccess.Rwx, monitor.GetMemoryAccess(new(3)));
        AssertErrno(Errno.EINVAL, () => views.SetAccess(new(5), new(3), MemoryAccess.R));
        AssertErrno(Errno.EINVAL, () => views.SetAccess(view, new(3), (MemoryAccess)99));
        views.Remap(view, new(4), new(5));
        AssertErrno(Errno.ESRCH, () => views.Remap(view, new(4), new(0x8000)));
        AssertErrno(Errno.EINVAL, () => views.Remap(new(7), new(4), new(5)));
        views.Restore(view, new(4));
        AssertErrno(Errno.ESRCH, () => views.GetAccess(view, new(4)));
        Assert.True(views.GetSuppressVe(view, new(3)));
        views.SetSuppressVe(view, new(3), new(6), false);
        Assert.False(views.GetSuppressVe(view, new(6)));
        AssertErrno(Errno.ESRCH, () => views.SetSuppressVe(view, new(0x8000), new(0x8001), false));
        AssertErrno(Errno.ESRCH, () => views.GetSuppressVe(view, new(0x8000)));
        views.EnableNotify(new(0), new(3));
        AssertErrno(Errno.EEXIST, () => views.EnableNotify(new(0), new(3)));
        AssertErrno(Errno.EINVAL, () => views.EnableNotify(new(7), new(3)));
        views.DisableNotify(new(0));
        AssertErrno(Errno.EINVAL, () => views.DisableNotify(new(7)));
    }

    [Fact]
    public void Lists_of_rights_may_be_of_any_length()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        using var monitor = opened.EnableMonitor();
        var views = On(monitor);
        var view = views.Create();
        var gfns = new Gfn[300_000];
        var accesses = new MemoryAccess[gfns.Length];
        for (var n = 0; n < gfns.Length; n++)
        {
            (gfns[n], accesses[n]) = (new((ulong)n % 256), MemoryAccess.Rw);
        }

        gfns[^1] = new(300);
        accesses[^1] = MemoryAccess.X;
        views.SetAccess(view, gfns, accesses);
        Assert.Equal((MemoryAccess.Rw, MemoryAccess.X), (views.GetAccess(view, new(7)), views.GetAccess(view, new(300))));
        views.SetAccess(view, [], []);
        AssertErrno(Errno.EINVAL, () => views.SetAccess(new(7), [], []));
        Assert.Throws<ArgumentException>(() => views.SetAccess(view, gfns, accesses.AsSpan(1)));
    }

    [Fact]
    public void A_monitor_that_switched_views_on_switches_them_off_at_the_end()
    {
        var domain = Lab.CreateRunning(vcpus: 2);
        using var opened = Hypervisor.Open(domain.Id);
        var monitor = opened.EnableMonitor();
        var views = On(monitor);
        var view = views.Create();
        views.SetAccess(view, new(3), MemoryAccess.N);

        // View 0 stands for the host table; and a view 0 that cannot be switched to must not keep the end from coming.
        views.SetAccess(ViewId.Host, new(4), MemoryAccess.R);
        views.SwitchTo(view);
        views.SetVisible(ViewId.Host, false);
        Send(domain, 0, sync: true);
        monitor.Dispose();
        AssertEnded(domain);
        Assert.False(domain.AltP2m.IsActive);
        Assert.All(domain.Vcpus, static vcpu => Assert.Equal(AltP2m.NoView, vcpu.View));
        Assert.Equal(MemoryAccess.Rwx, domain.Physmap[4].Access);
    }

    [Fact]
    public void A_monitor_leaves_the_views_of_others_as_it_found_them()
    {
        var domain = Lab.CreateRunning(vcpus: 2);
        domain.SetParam(HvmParam.AltP2m, (ulong)AltP2mMode.External);
        Assert.Equal(Errno.None, domain.AltP2m.SetActive(true));
        Assert.Equal(Errno.None, domain.AltP2m.Create(MemoryAccess.Rwx, out var theirs));
        using var opened = Hypervisor.Open(domain.Id);
        var monitor = opened.EnableMonitor();
        var views = monitor.Views;
        var ours = views.Create();
        var others = new ViewId(theirs);
        views.SetVisible(others, false);
        views.SetVisible(ViewId.Host, false);
        views.SetAccess(others, new(3), MemoryAccess.N);
        views.Remap(others, new(4), new(5));
        views.SetSuppressVe(others, new(6), new(6), false);
        views.EnableNotify(new(1), new(7));
        views.SwitchTo(ours);
        monitor.Dispose();
        AssertEnded(domain);
        Assert.True(domain.AltP2m.IsActive);
        Assert.All(domain.Vcpus, static vcpu => Assert.Equal((0, false), (vcpu.View, vcpu.VirtualizationExceptions.IsEnabled)));
        Assert.Equal(Errno.EBUSY, domain.AltP2m.Destroy(ours.Value));
        Assert.Equal(Errno.None, domain.AltP2m.SwitchAll(theirs));
        Assert.Equal(MemoryAccess.Rwx, domain.Vcpus[0].P2m[3].Access);
        Assert.False(domain.Vcpus[0].P2m[4].IsPresent);
        Assert.True(domain.Vcpus[0].P2m[6].SuppressesVe);
    }

    [Fact]
    public void A_monitor_that_touched_no_view_leaves_the_vcpus_where_they_are()
    {
        var domain = Lab.CreateRunning();
        domain.SetParam(HvmParam.AltP2m, (ulong)AltP2mMode.Mixed);
        Assert.Equal(Errno.None, domain.AltP2m.SetActive(true));
        Assert.Equal(Errno.None, domain.AltP2m.Create(MemoryAccess.Rwx, out var theirs));
        Assert.Equal(Errno.None, domain.AltP2m.SwitchAll(theirs));
        using var opened = Hypervisor.Open(domain.Id);
        var monitor = opened.EnableMonitor();

        // An echo names the view that the vCPU is in.
        Send(domain, 0, sync: true);
        Assert.True(monitor.TryTake(out var request));
        Assert.Equal((VmEventFlags.VcpuPaused | VmEventFlags.AlternateP2m, theirs), (request.Flags, request.AltP2mIndex));
        monitor.Respond(request);
        monitor.Dispose();
        AssertEnded(domain);
        Assert.Equal(theirs, domain.Vcpus[0].View);
    }

    [Fact]
    public void Views_that_somebody_ended_before_do_not_keep_a_monitor_from_ending()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        var monitor = opened.EnableMonitor();
        var views = On(monitor);
        views.SwitchTo(views.Create());
        Assert.Equal(Errno.None, domain.AltP2m.SetActive(false));
        monitor.Dispose();
        AssertEnded(domain);
    }

    [Theory]
    [InlineData(AltP2mUse.External, false)]
    [InlineData(AltP2mUse.Limited, false)]
    [InlineData(AltP2mUse.Mixed, true)]
    public void Recovery_ends_a_dead_monitors_views_where_they_are_the_toolstacks(AltP2mUse use, bool stayOn)
    {
        var domain = Lab.CreateRunning(vcpus: 2);
        using var opened = Hypervisor.Open(domain.Id);
        using (var hypervisor = new CoreHypervisor(Lab.Toolstack))
        {
            var views = hypervisor.Open(domain.Id).EnableMonitor().Views;
            views.Allow(use);
            views.SetActive(true);
            views.SwitchTo(views.Create());
            views.SetVisible(ViewId.Host, false);
        }

        Assert.True(opened.Recover().WasEnabled);
        AssertEnded(domain);
        Assert.Equal(stayOn, domain.AltP2m.IsActive);
        Assert.All(domain.Vcpus, vcpu => Assert.Equal(stayOn ? (ushort)0 : AltP2m.NoView, vcpu.View));
    }

    private static IAltp2m On(IMonitor monitor)
    {
        monitor.Views.Allow(AltP2mUse.External);
        monitor.Views.SetActive(true);
        return monitor.Views;
    }

    private static void AssertEnded(Domain domain)
    {
        Assert.Null(domain.MonitorRing);
        Assert.Equal(0, domain.ControllerPauseCount);
        Assert.All(domain.Vcpus, static vcpu => Assert.Equal((0, 0), (vcpu.PauseCount, vcpu.VmEventPauseCount)));
        TestMachine.Eventually(() => domain.Vcpus.All(static vcpu => vcpu.IsRunning));
    }
}
