using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Building;
using Introspect.Hypervisor.Core.Building.Acpi;
using Introspect.Hypervisor.Core.Building.Demo;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Tests.Policies;

/// <summary>The policies as a domain of the core meets them: its real platform, its real vCPU.</summary>
public sealed class RolesOnCoreTests : IDisposable
{
    private readonly Machine _machine = new(new MachineOptions(
        static domain => new DomainPlatform(domain, new PlatformOptions { Features = CpuFeatures.Implemented.Without(CpuFeature.FsGsBase).Without(CpuFeature.Itsc) }),
        MemoryReservation: 1L << 32));

    [Theory]
    [InlineData(DomainRoles.None, false)]
    [InlineData(DomainRoles.Control, true)]
    [InlineData(DomainRoles.Hardware, true)]
    [InlineData(DomainRoles.Both, true)]
    internal void A_domain_with_a_role_sees_the_real_CPUID_and_is_not_offered_faulting(DomainRoles roles, bool isReal)
    {
        var platform = (DomainPlatform)Create(roles).Platform;
        Assert.Equal(isReal, platform.Policy.Has(CpuFeature.FsGsBase));
        Assert.Equal(isReal, platform.Policy.Has(CpuFeature.Itsc));
        Assert.Equal(!isReal, platform.Msrs.OffersCpuidFaulting);
    }

    [Theory]
    [InlineData(DomainRoles.None)]
    [InlineData(DomainRoles.Control)]
    [InlineData(DomainRoles.Hardware)]
    [InlineData(DomainRoles.Both)]
    internal void A_vcpus_hypercalls_are_made_with_its_domains_roles_and_in_its_name(DomainRoles roles)
    {
        var domain = Create(roles);
        var guest = ((VcpuRunner)domain.Vcpus[0].Runner).Guest;
        Assert.Equal(roles, guest.Roles);
        Assert.Equal(new ToolstackCaller(domain.Id.Value, roles.HasFlag(DomainRoles.Control)), guest.Caller);
        Assert.True(guest.DomainExists(domain.Id.Value));
        Assert.False(guest.DomainExists(99));
    }

    [Theory]
    [InlineData(DomainRoles.None)]
    [InlineData(DomainRoles.Control)]
    [InlineData(DomainRoles.Hardware)]
    [InlineData(DomainRoles.Both)]
    internal void What_is_told_of_a_domain_has_its_roles(DomainRoles roles)
    {
        var domain = Create(roles);
        using var host = new CoreHypervisor(new LocalToolstack(_machine, ToolstackCaller.Control));
        var info = host.ListDomains().Single(found => found.Id == domain.Id);
        Assert.Equal((roles.HasFlag(DomainRoles.Hardware), roles.HasFlag(DomainRoles.Control)), (info.IsHardwareDomain, info.IsControlDomain));
    }

    [Fact]
    public void A_domain_that_is_built_reads_by_hypercall_the_memory_map_of_its_start_info()
    {
        Assert.True(KernelImage.TryParse(DemoGuest.Build().Image, out var image, out _));
        using var building = DomainUnderConstruction.Create(new LocalToolstack(_machine, ToolstackCaller.Control), new DomainConfig { MemoryBytes = 8 << 20 });
        Assert.True(PvhLoader.TryLoad(image, new PvhBootOptions(), building, out _, out _));
        var guest = ((VcpuRunner)_machine.Find(building.Id.Value)!.Vcpus[0].Runner).Guest;
        Assert.Equal(
            GuestMemoryMap.Entries(8 << 20, PvhAcpi.Build(1, rsdpInBios: false)),
            guest.MemoryMap.ToArray().Select(static entry => new MemoryMapEntry(entry.Addr, entry.Size, entry.Type)));
    }

    [Fact]
    public void The_memory_map_that_a_toolstack_gives_is_the_one_that_the_guest_reads()
    {
        var domain = Create(DomainRoles.None);
        var argument = new ForeignMemoryMap { Domid = domain.Id.Value, Map = new() { NrEntries = 1 } };
        Span<E820Entry> entries = [new() { Addr = 0x1000, Size = 0x2000 }];
        Assert.Equal(0, new LocalToolstack(_machine, ToolstackCaller.Control).MemoryOp(
            MemoryOp.SetMemoryMap,
            MemoryMarshal.AsBytes(new Span<ForeignMemoryMap>(ref argument)),
            MemoryMarshal.AsBytes(entries),
            default));
        Assert.Equal(0x2000UL, ((VcpuRunner)domain.Vcpus[0].Runner).Guest.MemoryMap[0].Size);
    }

    public void Dispose() => _machine.Dispose();

    private Domain Create(DomainRoles roles)
    {
        using var building = DomainUnderConstruction.Create(
            new LocalToolstack(_machine, ToolstackCaller.Control), new DomainConfig { MemoryBytes = 1 << 20, Roles = roles });
        return _machine.Find(building.Id.Value)!;
    }
}
