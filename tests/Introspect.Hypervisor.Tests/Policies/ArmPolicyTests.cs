using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Tests.Policies;

/// <summary>The Arm side of the table: Xen's values for ordinary domains, the machine's for the hardware domain.</summary>
public sealed class ArmPolicyTests
{
    private static readonly ArmMachine Machine = new(160, new(0xF901_0000, 0x1_0000), new(0xF902_0000, 0x2_0000), new(20, 21, 22), new ArmRange(0xFF00_0000, 0x1000));

    // policy | others, the hardware domain; GICv2 then GICv3
    [Theory]
    [InlineData("virtual UART", 2, "none", "0xff000000+0x1000")]
    [InlineData("GIC shared lines", 2, "40", "128")]
    [InlineData("GIC distributor", 2, "0x03001000+0x1000", "0xf9010000+0x10000")]
    [InlineData("GIC CPU interface", 2, "0x03002000+0x2000", "0xf9020000+0x20000")]
    [InlineData("GIC distributor", 3, "0x03001000+0x10000", "0xf9010000+0x10000")]
    [InlineData("GIC redistributors", 3, "0x03020000+0x1000000", "0xf9020000+0x20000")]
    [InlineData("virtual timer interrupt", 2, "27", "20")]
    [InlineData("secure physical timer interrupt", 2, "29", "21")]
    [InlineData("non-secure physical timer interrupt", 2, "30", "22")]
    [InlineData("event channel interrupt", 2, "31", "one that is free")]
    [InlineData("sets interrupt types", 2, "no", "yes")]
    [InlineData("sees interrupt translation services", 3, "no", "yes")]
    [InlineData("takes page tables from all free memory", 2, "no", "yes")]
    [InlineData("maps device memory on touch (ACPI)", 2, "no", "yes")]
    [InlineData("calls the platform's firmware", 2, "no", "yes")]
    [InlineData("sees the machine's PCI bridges", 2, "no", "yes")]
    public void A_policy_decides_for_all_four_combinations(string name, int gic, string others, string hardware)
    {
        var policy = Assert.Single(ArmPolicyTable.For(Machine, (GicVersion)gic, 40), policy => policy.Name == name);
        Assert.Equal([others, others, hardware, hardware], PolicyEntry.Columns.Select(policy.Decide));
        Assert.StartsWith("arch/arm/", policy.Site, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_policy_is_expected_something_of_and_a_GICv2_has_no_translation_services()
    {
        Assert.Equal(13, ArmPolicyTable.For(Machine, GicVersion.V2, 0).Count);
        Assert.Equal(14, ArmPolicyTable.For(Machine, GicVersion.V3, 0).Count);
    }

    [Fact]
    public void A_machine_without_a_UART_of_its_own_gives_none_and_a_large_GIC_no_more_than_Xen_does()
    {
        var large = Machine with { Uart = null, GicLines = 1020 };
        Assert.Null(ArmPolicies.VirtualUart(DomainRoles.Both, large));
        Assert.Equal(960u, ArmPolicies.SharedLines(DomainRoles.Hardware, large, 0));
    }
}
