using Introspect.Hypervisor;

namespace Introspect.Rules.Language;

/// <summary>What of a domain an expression can ask for; made once a domain, so that events allocate nothing.</summary>
public sealed class RuleDomain
{
    /// <summary>Takes what matters of a domain.</summary>
    public RuleDomain(DomainInfo info)
    {
        ArgumentNullException.ThrowIfNull(info);
        Id = info.Id;
        Name = info.Name;
        Uuid = info.Uuid.ToString("D");
        Vendor = info.Vendor;
    }

    /// <summary>Number.</summary>
    public DomainId Id { get; }

    /// <summary>Name, empty where it has none.</summary>
    public string Name { get; }

    /// <summary>UUID in lower case.</summary>
    public string Uuid { get; }

    /// <summary>Whose processor the domain has.</summary>
    public CpuVendor Vendor { get; }
}

/// <summary>What an expression sees besides the event, and what its evaluation came to.</summary>
public struct EvaluationContext
{
    /// <summary>Makes the context of an event.</summary>
    /// <param name="domain">The domain of the event.</param>
    /// <param name="memory">Its memory; without, every read of memory fails.</param>
    /// <param name="time">When the event was taken, UTC.</param>
    public EvaluationContext(RuleDomain domain, IGuestMemory? memory, DateTime time)
    {
        ArgumentNullException.ThrowIfNull(domain);
        Domain = domain;
        Memory = memory;
        Time = time;
    }

    /// <summary>The domain of the event.</summary>
    public RuleDomain Domain { get; }

    /// <summary>Its memory.</summary>
    public IGuestMemory? Memory { get; }

    /// <summary>When the event was taken, UTC.</summary>
    public DateTime Time { get; }

    /// <summary>Reads of guest memory since the context was made, failed ones among them.</summary>
    public int MemoryReads { get; internal set; }

    /// <summary>Reads of guest memory that failed: the comparison that they were for is not true.</summary>
    public int FailedMemoryReads { get; internal set; }

    /// <summary>Set while a comparison is made, when something in it has no value.</summary>
    internal bool IsUnknown;
}
