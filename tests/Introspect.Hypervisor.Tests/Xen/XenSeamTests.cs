using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Tests.Seam;
using Introspect.Hypervisor.Xen;

namespace Introspect.Hypervisor.Tests.Xen;

/// <summary>The seam on Xen's libraries, which stand in front of the core here: what a release's functions are asked is what the core does.</summary>
public abstract class XenSeamTests : SeamContract
{
    private readonly FakeXenLibraries _libraries;

    protected XenSeamTests(int minor)
    {
        _libraries = new FakeXenLibraries(Lab.Toolstack, minor);
        Hypervisor = XenHypervisor.Open(_libraries, CpuVendor.Vmx);
        Minor = minor;
    }

    protected int Minor { get; }

    private protected override IHypervisor Hypervisor { get; }

    private protected override bool TellsVendorByDomain => false;

    private protected override bool TellsForkParents => false;

    [Fact]
    public void It_says_what_it_is() =>
        Assert.Equal(new HypervisorInfo("xen", $"4.{Minor}.5", $"libxenctrl.so.4.{Minor}"), Hypervisor.Info);

    [Fact]
    public void Looking_at_a_domain_asks_nothing_of_memory_sharing()
    {
        var domain = Lab.Create();
        using var opened = Hypervisor.Open(domain.Id);
        Assert.Null(opened.GetInfo().Parent);
        Assert.Single(Hypervisor.ListDomains());
        Assert.Empty(_libraries.RawSharing);
    }

    [Fact]
    public void Recovery_tells_every_vcpu_to_go_on_and_does_not_say_which_were_held()
    {
        var domain = Lab.CreateRunning(vcpus: 2);
        using var opened = Hypervisor.Open(domain.Id);
        Assert.Equal(new RecoveryReport(false, 0, 2, 0) { TellsHeldVcpus = false }, opened.Recover());
    }

    [Fact]
    public void Asking_for_denials_is_a_raw_hypercall()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        using var monitor = opened.EnableMonitor();
        monitor.ControlRegisters();
        Assert.Equal([DomctlCommand.VmEventOp, DomctlCommand.MonitorOp], _libraries.RawDomctls);
    }

    [Fact]
    public void A_monitor_lets_go_of_its_channel_and_its_pages()
    {
        var domain = Lab.CreateRunning();
        using var opened = Hypervisor.Open(domain.Id);
        var monitor = opened.EnableMonitor();
        Assert.Equal((1, 1), (_libraries.BoundChannels, _libraries.MappedPages));
        monitor.Dispose();
        Assert.Equal((0, 0), (_libraries.BoundChannels, _libraries.MappedPages));
    }

    private protected override void Cleanup()
    {
        base.Cleanup();
        _libraries.Dispose();
    }
}

/// <summary>As Xen 4.15 has it: the older layout of a domain's record, no vmexit events.</summary>
public sealed class Xen15SeamTests() : XenSeamTests(15)
{
    private protected override bool HasVmExit => false;

    private protected override bool HasPartialForkReset => false;
}

/// <summary>As Xen 4.17 has it.</summary>
public sealed class Xen17SeamTests() : XenSeamTests(17);

/// <summary>As Xen 4.22 has it: other numbers of access rights.</summary>
public sealed class Xen22SeamTests() : XenSeamTests(22);
