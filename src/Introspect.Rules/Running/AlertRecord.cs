using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;

namespace Introspect.Rules.Running;

/// <summary>What an alert tells.</summary>
public enum AlertKind : byte
{
    /// <summary>A rule matched an event.</summary>
    Match,

    /// <summary>A rule's events were too many: they are not asked for until it is resumed.</summary>
    Throttled,

    /// <summary>A rule that was throttled is in force again.</summary>
    Resumed,

    /// <summary>A rule could not be asked about an event, and its fail policy stood in.</summary>
    Failed,
}

/// <summary>What became of the verdict of a rule that matched.</summary>
public enum AlertOutcome : byte
{
    /// <summary>The rule only alerts.</summary>
    None,

    /// <summary>Its verdict was given.</summary>
    Enforced,

    /// <summary>The rule only observes: its verdict is what would have been given.</summary>
    Observed,

    /// <summary>An earlier rule or handler had decided.</summary>
    Overruled,
}

/// <summary>An alert, as it travels from the pump to the sinks.</summary>
public sealed class AlertRecord
{
    /// <summary>What it tells.</summary>
    public AlertKind Kind { get; init; }

    /// <summary>When the event was taken, UTC.</summary>
    public DateTime Time { get; init; }

    /// <summary>The domain.</summary>
    public DomainId Domain { get; init; }

    /// <summary>The domain's name, empty where it has none.</summary>
    public string DomainName { get; init; } = "";

    /// <summary>The rule.</summary>
    public required string Rule { get; init; }

    /// <summary>How much it matters.</summary>
    public RulePriority Priority { get; init; }

    /// <summary>The rule's tags, and those that verdicts gave the event.</summary>
    public IReadOnlyList<string> Tags { get; init; } = [];

    /// <summary>One line for people: the rule's output.</summary>
    public required string Message { get; init; }

    /// <summary>What the rule does: <c>deny</c>, <c>set rax=0x0</c>; empty where it only alerts.</summary>
    public string Verdict { get; init; } = "";

    /// <summary>What became of that.</summary>
    public AlertOutcome Outcome { get; init; }

    /// <summary>Alerts of the rule that its rate kept back since the last one.</summary>
    public long Suppressed { get; init; }

    /// <summary>True when the alert is about an event, which is all but one that a rule is in force again.</summary>
    public bool HasEvent { get; init; }

    /// <summary>The event, a copy.</summary>
    public VmEvent Event;
}

/// <summary>Takes alerts. Called on pump threads: must neither block nor throw.</summary>
public interface IAlertSink
{
    /// <summary>Takes an alert.</summary>
    /// <returns>False when there was no room, and the alert is lost.</returns>
    bool TryRaise(AlertRecord alert);
}
