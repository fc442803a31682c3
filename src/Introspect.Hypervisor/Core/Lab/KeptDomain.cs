using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Host;

namespace Introspect.Hypervisor.Core.Lab;

/// <summary>A domain over its reboots. Changed under the keeper's gate.</summary>
internal sealed class KeptDomain(Guid uuid, string name, LabDescription? description)
{
    /// <summary>UUID.</summary>
    public Guid Uuid { get; } = uuid;

    /// <summary>Name.</summary>
    public string Name { get; } = name;

    /// <summary>What it was created from.</summary>
    public LabDescription? Description { get; } = description;

    /// <summary>What it wrote.</summary>
    public LabConsole Console { get; } = new();

    /// <summary>The domain of its present boot, or of its last.</summary>
    public Domain Domain { get; private set; } = null!;

    /// <summary>Times it was built.</summary>
    public int Boot { get; private set; }

    /// <summary>Its life is over.</summary>
    public bool HasEnded { get; set; }

    /// <summary>Why it ended the last time.</summary>
    public string? Reason { get; set; }

    /// <summary>What could not be done at its end.</summary>
    public string? Failure { get; set; }

    /// <summary>What the image of its present boot lacks.</summary>
    public string? Warning { get; set; }

    /// <summary>How it fares.</summary>
    public LabReport Report => new()
    {
        Uuid = Uuid,
        Name = Name,
        Domain = Domain.Id.Value,
        Boot = Boot,
        HasEnded = HasEnded,
        Reason = Reason,
        Failure = Failure,
        Warning = Warning,
        Description = Description,
    };

    /// <summary>It was built.</summary>
    public void Begin(Domain domain)
    {
        (Domain, Boot) = (domain, Boot + 1);
        if (domain.Platform is DomainPlatform platform)
        {
            Console.Add(platform.Console);
        }
    }

    /// <summary>What its end is called.</summary>
    public static string Describe(ShutdownReason reason) => reason switch
    {
        ShutdownReason.Poweroff => "poweroff",
        ShutdownReason.Reboot or ShutdownReason.SoftReset => "reboot",
        ShutdownReason.Suspend => "suspend",
        ShutdownReason.Watchdog => "watchdog",
        _ => "crash",
    };

    /// <summary>What is to become of it when it ended for a reason.</summary>
    public EndAction ActionFor(ShutdownReason reason) => Description is not { } wanted ? EndAction.Preserve : reason switch
    {
        ShutdownReason.Poweroff => wanted.OnPoweroff,
        ShutdownReason.Reboot or ShutdownReason.SoftReset => wanted.OnReboot,
        ShutdownReason.Suspend => EndAction.Preserve,
        ShutdownReason.Watchdog => wanted.OnWatchdog,
        _ => wanted.OnCrash,
    };
}
