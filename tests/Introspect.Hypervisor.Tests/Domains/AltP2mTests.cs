using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Tests.Domains;

/// <summary>How views follow the host table, and which vCPU is in which.</summary>
public sealed class AltP2mTests : IDisposable
{
    private readonly TestMachine _machine = new();

    [Fact]
    public void A_view_is_empty_until_something_needs_a_page_and_then_has_the_hosts_entry()
    {
        var domain = On(out var views, 1);
        domain.Physmap.SetAccess(3, 1, MemoryAccess.Rx);
        views.SwitchAll(1);
        var view = (P2mView)domain.Vcpus[0].P2m;
        Assert.False(view[3].IsPresent);
        Assert.True(view.CopyFromHost(3));
        Assert.Equal(domain.Physmap[3], view[3]);
        Assert.False(view.CopyFromHost(0x8000));
    }

    [Fact]
    public void What_is_written_on_the_host_is_written_where_a_view_has_the_frame()
    {
        var domain = On(out var views, 2);
        Set(views, 1, 3, MemoryAccess.R);
        domain.Physmap.SetAccess(3, 1, MemoryAccess.Rx);
        Assert.Equal((Errno.None, MemoryAccess.Rx), Get(views, 1, 3));
        Assert.Equal(Errno.ESRCH, Get(views, 2, 3).Result);

        // Rights that the host had already are written all the same: a reset of the host resets the views.
        Set(views, 1, 3, MemoryAccess.N);
        domain.Physmap.SetAccess(3, 1, MemoryAccess.Rx);
        Assert.Equal((Errno.None, MemoryAccess.Rx), Get(views, 1, 3));
    }

    [Fact]
    public void Suppress_ve_of_a_view_stays_when_the_host_changes_and_the_hosts_own_never_gets_there()
    {
        var domain = On(out var views, 1);
        Set(views, 1, 3, MemoryAccess.R);
        var range = new AltP2mSuppressVeMulti { View = 1, FirstGfn = 3, LastGfn = 3 };
        Assert.Equal(Errno.None, views.SetSuppressVe(ref range, 1));
        domain.Physmap.SetAccess(3, 1, MemoryAccess.Rx);
        views.GetSuppressVe(1, 3, out var suppressed);
        Assert.False(suppressed);
        Set(views, 1, 4, MemoryAccess.R);
        range = new AltP2mSuppressVeMulti { View = 0, FirstGfn = 4, LastGfn = 4 };
        Assert.Equal(Errno.None, views.SetSuppressVe(ref range, 1));
        views.GetSuppressVe(0, 4, out var host);
        views.GetSuppressVe(1, 4, out var view);
        Assert.Equal((false, true), (host, view));

        // The write itself arrives, with the host's rights.
        Assert.Equal((Errno.None, MemoryAccess.Rwx), Get(views, 1, 4));
    }

    [Fact]
    public void A_page_that_goes_goes_from_the_views()
    {
        var domain = On(out var views, 1);
        Set(views, 1, 3, MemoryAccess.R);
        Set(views, 1, 4, MemoryAccess.R);
        domain.Ram.TryDepopulate(domain.Physmap, 3);
        Assert.Equal(Errno.ESRCH, Get(views, 1, 3).Result);
        Assert.Equal((Errno.None, MemoryAccess.R), Get(views, 1, 4));
    }

    [Fact]
    public void A_remapped_frame_stays_until_the_host_writes_that_frame()
    {
        var domain = On(out var views, 1);
        views.Remap(1, 3, 4, suppressVe: true);
        views.SwitchAll(1);
        domain.Physmap.SetAccess(4, 1, MemoryAccess.R);
        Assert.Equal(domain.Physmap[4].MachineAddress, domain.Vcpus[0].P2m[3].MachineAddress);
        domain.Physmap.SetAccess(3, 1, MemoryAccess.R);
        Assert.Equal(domain.Physmap[3].MachineAddress, domain.Vcpus[0].P2m[3].MachineAddress);
    }

    [Fact]
    public void A_page_that_goes_empties_the_view_that_leads_to_it_and_two_such_empty_all()
    {
        var domain = On(out var views, 3);
        foreach (ushort view in new[] { 1, 2, 3 })
        {
            Set(views, view, 8, MemoryAccess.R);
        }

        views.Remap(1, 3, 5, suppressVe: true);
        views.Remap(1, 3, 7, suppressVe: true);
        domain.Ram.TryDepopulate(domain.Physmap, 4);
        Assert.Equal(Errno.None, Get(views, 1, 8).Result);

        // Anything between the lowest and the highest frame that was led to.
        domain.Ram.TryDepopulate(domain.Physmap, 6);
        Assert.Equal([Errno.ESRCH, Errno.None, Errno.None], new ushort[] { 1, 2, 3 }.Select(view => Get(views, view, 8).Result));
        views.Remap(1, 3, 7, suppressVe: true);
        views.Remap(2, 3, 7, suppressVe: true);
        domain.Ram.TryDepopulate(domain.Physmap, 7);
        Assert.All(new ushort[] { 1, 2, 3 }, view => Assert.Equal(Errno.ESRCH, Get(views, view, 8).Result));
    }

    [Fact]
    public void The_guests_own_remapping_lets_violations_become_ve()
    {
        On(out var views, 1);
        views.Remap(1, 3, 4, suppressVe: false);
        views.GetSuppressVe(1, 3, out var suppressed);
        Assert.False(suppressed);
    }

    [Fact]
    public void Rights_are_lifted_in_the_view_that_was_violated()
    {
        var domain = On(out var views, 1);
        Set(views, 1, 3, MemoryAccess.Rx2Rw);
        Set(views, 1, 4, MemoryAccess.N2Rwx);
        views.SwitchAll(1);
        domain.Vcpus[0].P2m.LiftAccess(3);
        domain.Vcpus[0].P2m.LiftAccess(4);
        domain.Vcpus[0].P2m.LiftAccess(9);
        Assert.Equal((MemoryAccess.Rw, MemoryAccess.Rwx), (Get(views, 1, 3).Access, Get(views, 1, 4).Access));
        Assert.Equal(Errno.ESRCH, Get(views, 1, 9).Result);
    }

    [Fact]
    public void Every_vcpu_is_in_view_0_when_it_goes_on_and_on_the_host_when_it_goes_off()
    {
        var domain = On(out var views, 1, vcpus: 3);
        Assert.All(domain.Vcpus, vcpu => Assert.Equal(0, vcpu.View));
        Assert.NotSame(domain.Physmap, domain.Vcpus[0].P2m);
        Assert.True(views.Switch(domain.Vcpus[1], 1, visibleOnly: false));
        Assert.False(views.Switch(domain.Vcpus[1], 2, visibleOnly: false));
        Assert.Equal([0, 1, 0], domain.Vcpus.Select(vcpu => (int)vcpu.View));
        Assert.Equal(Errno.EBUSY, views.Destroy(1));
        Assert.Equal(Errno.None, views.SetActive(false));
        Assert.All(domain.Vcpus, vcpu => Assert.Equal((AltP2m.NoView, (P2mTable)domain.Physmap), (vcpu.View, vcpu.P2m)));
        Assert.False(views.Switch(domain.Vcpus[1], 0, visibleOnly: false));

        // The views of before are gone with what was in them.
        Assert.Equal(Errno.None, views.SetActive(true));
        Assert.Equal(Errno.EINVAL, views.SwitchAll(1));
    }

    [Fact]
    public void A_flush_reaches_the_vcpus_in_the_view_while_they_run()
    {
        var domain = _machine.CreateRunning(vcpus: 2);
        var views = domain.AltP2m;
        Assert.Equal(Errno.None, views.SetActive(true));
        views.Create(MemoryAccess.Rwx, out var view);
        Set(views, view, 3, MemoryAccess.Rwx);
        Assert.Equal(Errno.None, views.SwitchAll(view));
        TestMachine.Eventually(() => domain.Vcpus.All(static vcpu => vcpu.IsRunning));
        var before = domain.Vcpus.Select(static vcpu => TestMachine.Runner(vcpu.Domain, (int)vcpu.Id).FlushesSeen).ToArray();
        Set(views, view, 3, MemoryAccess.R);
        TestMachine.Eventually(() => domain.Vcpus.All(vcpu => TestMachine.Runner(domain, (int)vcpu.Id).FlushesSeen > before[vcpu.Id]));
    }

    [Fact]
    public void Vcpus_that_switch_the_whole_domain_at_once_do_not_wait_for_each_other()
    {
        const int Rounds = 200;
        var domain = _machine.CreateRunning(vcpus: 3);
        var views = domain.AltP2m;
        Assert.Equal(Errno.None, views.SetActive(true));
        views.Create(MemoryAccess.Rwx, out var view);
        using var done = new CountdownEvent(domain.Vcpus.Count);
        foreach (var vcpu in domain.Vcpus)
        {
            TestMachine.Runner(domain, (int)vcpu.Id).Do(self =>
            {
                for (var round = 0; round < Rounds; round++)
                {
                    views.SwitchAll(round % 2 == 0 ? view : (ushort)0, self);
                    _ = views.Destroy(view, self);
                    Set(views, 0, 3, round % 2 == 0 ? MemoryAccess.R : MemoryAccess.Rwx);
                }

                done.Signal();
            });
        }

        Assert.True(done.Wait(TimeSpan.FromSeconds(60)), "the vCPUs wait for each other");
        TestMachine.Eventually(() => domain.Vcpus.All(static vcpu => vcpu.IsRunning));
        Assert.All(domain.Vcpus, static vcpu => Assert.Equal(0, vcpu.PauseCount));
    }

    public void Dispose() => _machine.Dispose();

    private static void Set(AltP2m views, ushort view, ulong gfn, MemoryAccess access) =>
        Assert.Equal(Errno.None, views.SetAccess(view, [gfn], [(byte)access]));

    private static (Errno Result, MemoryAccess Access) Get(AltP2m views, ushort view, ulong gfn) => (views.GetAccess(view, gfn, out var access), access);

    private Domain On(out AltP2m views, int made, uint vcpus = 1)
    {
        var domain = _machine.Create(vcpus: vcpus);
        views = domain.AltP2m;
        Assert.Equal(Errno.None, views.SetActive(true));
        for (var n = 0; n < made; n++)
        {
            Assert.Equal(Errno.None, views.Create(MemoryAccess.Rwx, out _));
        }

        return domain;
    }
}
