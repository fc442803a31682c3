using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;
using Introspect.Hypervisor.Core.Policies;
using Introspect.Hypervisor.Tests.Domains;

namespace Introspect.Hypervisor.Tests.Policies;

/// <summary>Who is the hardware domain, and who is a control domain.</summary>
public sealed class RoleTests
{
    private const ushort Named = 5;

    [Fact]
    public void The_boot_domain_has_both_roles_and_an_ordinary_domain_none()
    {
        using var lab = new TestMachine();
        var domain = lab.Create();
        Assert.Equal(DomainRoles.Both, lab.Machine.BootDomain.Roles);
        Assert.False(domain.IsHardwareDomain);
        Assert.False(domain.IsControlDomain);
        Assert.Equal(DomainRoles.None, domain.Roles);
    }

    [Fact]
    public void The_boot_domain_holds_the_hardware_role_until_the_named_domain_is_created()
    {
        using var lab = new TestMachine { HardwareDomain = new(Named) };
        var other = lab.Create();
        Assert.Equal(DomainRoles.Both, lab.Machine.BootDomain.Roles);

        var named = lab.Create(id: Named);
        Assert.True(named.IsHardwareDomain);
        Assert.False(other.IsHardwareDomain);
        Assert.Equal(DomainRoles.Control, lab.Machine.BootDomain.Roles);
    }

    [Fact]
    public void A_hardware_domain_has_no_control_rights_of_its_own_and_a_control_domain_is_not_the_hardware_domain()
    {
        using var lab = new TestMachine { HardwareDomain = new(Named) };
        var hardware = lab.Create(id: Named);
        var control = lab.Create(roles: DomainRoles.Control);
        Assert.Equal(DomainRoles.Hardware, hardware.Roles);
        Assert.Equal(DomainRoles.Control, control.Roles);
    }

    [Fact]
    public void There_can_be_several_control_domains()
    {
        using var lab = new TestMachine();
        var controls = Enumerable.Range(0, 3).Select(_ => lab.Create(roles: DomainRoles.Control)).ToList();
        Assert.All(controls, static domain => Assert.True(domain.IsControlDomain));
        Assert.All(controls, static domain => Assert.False(domain.IsHardwareDomain));
    }

    [Fact]
    public void A_domain_created_with_both_roles_has_both()
    {
        using var lab = new TestMachine();
        var both = lab.Create(roles: DomainRoles.Both);
        Assert.Equal(DomainRoles.Both, both.Roles);
        Assert.Equal(DomainRoles.Control, lab.Machine.BootDomain.Roles);
    }

    [Fact]
    public void The_role_is_taken_over_once_and_a_later_one_is_EINVAL()
    {
        using var lab = new TestMachine { HardwareDomain = new(Named) };
        var named = lab.Create(id: Named);
        Refused(Errno.EINVAL, () => lab.Create(roles: DomainRoles.Hardware));
        Assert.True(named.IsHardwareDomain);

        // Not even the named one again, once the first of that number has gone: nobody has the role.
        lab.Machine.DestroyDomain(named);
        Refused(Errno.EINVAL, () => lab.Create(id: Named));
        Assert.Equal(DomainRoles.Control, lab.Machine.BootDomain.Roles);
        Assert.Empty(lab.Machine.Domains);
    }

    [Fact]
    public void A_failed_creation_leaves_the_role_with_the_old_holder_and_it_can_be_taken_over_later()
    {
        var fails = true;
        Domain? seen = null;
        using var machine = new Machine(FakePlatform.Options() with
        {
            HardwareDomain = new(Named),
            CreatePlatform = domain =>
            {
                seen = domain;
                Assert.True(domain.IsHardwareDomain, "its parts are to be made for a hardware domain");
                return fails ? throw new HypervisorException(Errno.ENOMEM, "no room for a device") : new FakePlatform(domain);
            },
        });
        var config = new DomctlCreateDomain { MaxVcpus = 1 };
        var refused = Assert.Throws<HypervisorException>(() => machine.CreateDomain(Named, config, CpuVendor.Vmx));
        Assert.Equal(Errno.ENOMEM, refused.Error);
        Assert.Equal(DomainRoles.Both, machine.BootDomain.Roles);
        Assert.False(seen!.IsHardwareDomain);
        Assert.Empty(machine.Domains);

        fails = false;
        Assert.True(machine.CreateDomain(Named, config, CpuVendor.Vmx).IsHardwareDomain);
    }

    [Fact]
    public void A_taken_number_fails_before_the_role_moves()
    {
        using var lab = new TestMachine();
        lab.Create(id: Named);
        Refused(Errno.EEXIST, () => lab.Create(id: Named, roles: DomainRoles.Hardware));
        Assert.Equal(DomainRoles.Both, lab.Machine.BootDomain.Roles);
    }

    [Fact]
    public void The_hardware_domain_cannot_be_named_by_a_reserved_number_and_the_boot_domains_changes_nothing()
    {
        var refused = Assert.Throws<HypervisorException>(() => new HardwareRole(new(DomainId.FirstReserved)));
        Assert.Equal(Errno.EINVAL, refused.Error);
        using var lab = new TestMachine { HardwareDomain = new(BootDomain.Number) };
        lab.Create();
        Assert.Equal(DomainRoles.Both, lab.Machine.BootDomain.Roles);
    }

    [Fact]
    public void A_domain_that_asks_for_any_number_does_not_become_the_hardware_domain_by_asking()
    {
        // The number in createdomain is 0 then, which is the boot domain's.
        using var lab = new TestMachine();
        Assert.Equal(DomainRoles.None, lab.Create(id: BootDomain.Number).Roles);
    }

    [Theory]
    [InlineData(DomainRoles.None)]
    [InlineData(DomainRoles.Control)]
    [InlineData(DomainRoles.Hardware)]
    [InlineData(DomainRoles.Both)]
    internal void Getdomaininfo_tells_the_roles(DomainRoles roles)
    {
        using var lab = new TestMachine();
        var info = new ToolstackCalls(lab.Toolstack).GetDomainInfo(lab.Create(roles: roles).Id.Value);
        Assert.Equal(roles, CoreDomainFlags.RolesOf(info.ArchConfig.MiscFlags));
    }

    [Fact]
    public void Getdomaininfo_tells_a_role_that_came_with_the_number()
    {
        using var lab = new TestMachine { HardwareDomain = new(Named) };
        var info = new ToolstackCalls(lab.Toolstack).GetDomainInfo(lab.Create(id: Named).Id.Value);
        Assert.Equal(DomainRoles.Hardware, CoreDomainFlags.RolesOf(info.ArchConfig.MiscFlags));
    }

    [Fact]
    public void A_fork_of_a_domain_with_roles_has_none()
    {
        using var lab = new TestMachine();
        var both = lab.CreateRunning(roles: DomainRoles.Both);
        using var parent = new CoreHypervisor(lab.Toolstack).Open(both.Id);
        using var fork = parent.Fork();
        Assert.Equal(DomainRoles.None, lab.Machine.Find(fork.Id.Value)!.Roles);
        Assert.True(both.IsHardwareDomain);
    }

    private static void Refused(Errno error, Action creation) =>
        Assert.Equal(error, Assert.Throws<HypervisorException>(creation).Error);
}
