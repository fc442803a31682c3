using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Tests.Domains;

/// <summary>A machine with fake CPUs, and domains on it made through the door as the product makes them.</summary>
internal sealed class TestMachine : IDisposable
{
    public const ulong MemoryBytes = 2 << 20;

    private Machine? _machine;

    public Machine Machine => _machine ??= new(FakePlatform.Options() with { HardwareDomain = HardwareDomain });

    /// <summary>Who takes over the hardware domain's role.</summary>
    public DomainId? HardwareDomain { get; init; }

    public LocalToolstack Toolstack => new(Machine, ToolstackCaller.Control);

    /// <summary>Makes a domain that is ready to run and still paused.</summary>
    public Domain Create(string name = "", uint vcpus = 1, CpuVendor vendor = CpuVendor.Vmx, ushort id = 0, DomainRoles roles = DomainRoles.None)
    {
        using var building = DomainUnderConstruction.Create(
            Toolstack,
            new DomainConfig { Name = name, MemoryBytes = MemoryBytes, Vcpus = vcpus, Vendor = vendor, Id = id, Roles = roles });
        building.Start(new PvhEntryState(0x100000, 0x1000).ToVcpuState());
        return Machine.Find(building.Id.Value)!;
    }

    /// <summary>Makes a domain whose vCPUs are up and run.</summary>
    public Domain CreateRunning(string name = "", uint vcpus = 1, CpuVendor vendor = CpuVendor.Vmx, ushort id = 0, DomainRoles roles = DomainRoles.None)
    {
        var domain = Create(name, vcpus, vendor, id, roles);
        foreach (var vcpu in domain.Vcpus)
        {
            vcpu.ClearFlag(VcpuPauseFlags.Down);
        }

        Assert.Equal(Errno.None, domain.ControllerUnpause());
        return domain;
    }

    public static FakeRunner Runner(Domain domain, int vcpu = 0) => (FakeRunner)domain.Vcpus[vcpu].Runner;

    /// <summary>Waits until something becomes true that another thread makes so.</summary>
    public static void Eventually(Func<bool> condition) =>
        Assert.True(SpinWait.SpinUntil(condition, TimeSpan.FromSeconds(30)), "it did not happen");

    public void Dispose() => _machine?.Dispose();
}
