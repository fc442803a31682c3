using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Daemon.Describing;

/// <summary>For which processors a domain is described.</summary>
internal enum DescribedArchitecture
{
    /// <summary>x86, which the core executes.</summary>
    X86,

    /// <summary>Arm, of which the core knows what Xen decides and executes nothing.</summary>
    Arm,
}

/// <summary>What <c>introspect domain describe</c> was asked for.</summary>
/// <param name="Path">A file with the description; null: there is none but the options.</param>
/// <param name="Complete">Puts what the options say over what the file says.</param>
/// <param name="Json">For a program.</param>
internal sealed record DescribeRequest(string? Path, Func<DomainDescription, DomainDescription> Complete, bool Json);

/// <summary>A domain of which it is to be told what Xen decides by its roles.</summary>
internal sealed record DomainDescription
{
    /// <summary>Name; null for none.</summary>
    public string? Name { get; init; }

    /// <summary>For which processors.</summary>
    public DescribedArchitecture Architecture { get; init; }

    /// <summary>Its roles.</summary>
    public DomainRoles Roles { get; init; }

    /// <summary>Arm: the GIC of the machine.</summary>
    public GicVersion Gic { get; init; } = GicVersion.V2;

    /// <summary>Arm: shared interrupt lines that it asks for (<c>nr_spis</c>).</summary>
    public uint SharedLines { get; init; }

    /// <summary>Arm: the machine, whose values the hardware domain has; null for QEMU's <c>virt</c> board with that GIC.</summary>
    public ArmMachine? Machine { get; init; }

    /// <summary>The decisions about it.</summary>
    public IReadOnlyList<PolicyEntry> Policies => Architecture == DescribedArchitecture.Arm
        ? ArmPolicyTable.For(Machine ?? ArmMachine.QemuVirt(Gic), Gic, SharedLines)
        : X86PolicyTable.All;
}
