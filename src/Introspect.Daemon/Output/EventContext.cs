using Introspect.Hypervisor;

namespace Introspect.Daemon.Output;

/// <summary>What is to be told of an event beside the event itself.</summary>
/// <param name="Sequence">Number of the event on its domain, from 1.</param>
/// <param name="Time">When it was taken from the ring.</param>
/// <param name="SinceStart">How long after watching began.</param>
/// <param name="Domain">The domain.</param>
/// <param name="DomainName">The domain's name, empty where it has none.</param>
/// <param name="Vendor">The domain's vendor personality, which exit numbers follow.</param>
/// <param name="Verdict">What was answered, in words: <c>allow</c>, <c>deny</c>.</param>
/// <param name="Rule">Who decided it; null where nobody intervened.</param>
/// <param name="Handling">How long the event was handled, from taking it to its answer.</param>
internal readonly record struct EventContext(
    long Sequence,
    DateTimeOffset Time,
    TimeSpan SinceStart,
    DomainId Domain,
    string DomainName,
    CpuVendor Vendor,
    string Verdict,
    string? Rule,
    TimeSpan Handling)
{
    /// <summary>The verdict of an event in which nobody intervened.</summary>
    public const string Allow = "allow";

    /// <summary>The domain's UUID; empty where nobody asked.</summary>
    public Guid DomainUuid { get; init; }
}
