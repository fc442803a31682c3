using System.Globalization;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;

namespace Introspect.Rules.Files;

/// <summary>How much an alert matters: the severities of syslog, most urgent first.</summary>
public enum RulePriority : byte
{
    /// <summary>Nothing works any more.</summary>
    Emergency,

    /// <summary>Somebody must act at once.</summary>
    Alert,

    /// <summary>An attack, most likely.</summary>
    Critical,

    /// <summary>Something is wrong.</summary>
    Error,

    /// <summary>Something may be wrong. What a rule has that says nothing.</summary>
    Warning,

    /// <summary>Unusual, and right most often.</summary>
    Notice,

    /// <summary>Good to know.</summary>
    Info,

    /// <summary>For the rule's author.</summary>
    Debug,
}

/// <summary>Whether a rule acts.</summary>
public enum RuleMode : byte
{
    /// <summary>Its verdict is given.</summary>
    Enforce,

    /// <summary>Its alerts say what the verdict would have been, and the guest goes on as if there were no rule.</summary>
    Observe,
}

/// <summary>Which of the rules that match an event count.</summary>
public enum RuleMatching : byte
{
    /// <summary>Every one: each alerts, and the first with a decision decides.</summary>
    All,

    /// <summary>The first in the order of the files; no later one is asked.</summary>
    First,
}

/// <summary>So many in a time.</summary>
/// <param name="Count">How many.</param>
/// <param name="Per">In which time.</param>
internal readonly record struct RateLimit(long Count, TimeSpan Per)
{
    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Count}/{RuleValues.Short(Per)}");
}

/// <summary>A rule's limits.</summary>
internal sealed record RuleRate
{
    /// <summary>What a rule has that says nothing.</summary>
    public static RuleRate Default { get; } = new() { Alerts = new(10, TimeSpan.FromSeconds(1)), Burst = 50 };

    /// <summary>Alerts; null: no limit.</summary>
    public RateLimit? Alerts { get; init; }

    /// <summary>Alerts that may come at once.</summary>
    public long Burst { get; init; }

    /// <summary>Events of the rule above which they are not asked for during the cool-down; null: no limit.</summary>
    public RateLimit? Events { get; init; }

    /// <summary>For how long.</summary>
    public TimeSpan CoolDown { get; init; } = TimeSpan.FromSeconds(10);
}

/// <summary>When a rule begins to count.</summary>
/// <param name="Delay">Time after the domain began to be watched.</param>
/// <param name="Matches">Matches of a vCPU that are let pass first.</param>
internal readonly record struct RuleStart(TimeSpan Delay, long Matches);

/// <summary>One of the events that a rule is on.</summary>
internal sealed record OnClause(VmEventReason Reason, SourceSpan Span)
{
    /// <summary>The vCPU waits for the verdict; null: when the rule needs it.</summary>
    public bool? Sync { get; init; }

    /// <summary>Leave the event out where the hypervisor cannot send it.</summary>
    public bool Optional { get; init; }

    /// <summary>Guest requests of CPL 3, too.</summary>
    public bool Userspace { get; init; }

    /// <summary>Memory accesses: guest-physical frames; null: those that the condition names.</summary>
    public NumberSet? Frames { get; init; }

    /// <summary>Memory accesses: linear addresses, whose pages the guest's page tables tell.</summary>
    public IReadOnlyList<LinearRange> Linear { get; init; } = [];

    /// <summary>How often it is looked where the linear addresses are.</summary>
    public TimeSpan Refresh { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Memory accesses: kinds.</summary>
    public MemAccessFlags Access { get; init; } = MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute;

    /// <summary>Memory accesses: of page-table walks, too.</summary>
    public bool PageTableWalks { get; init; } = true;

    /// <summary>Memory accesses: only fetches from pages that were written to while they were watched.</summary>
    public bool Written { get; init; }

    /// <summary>Breakpoints of the monitor's own, guest-physical; none: the guest's own.</summary>
    public IReadOnlyList<GuestPhysical> Places { get; init; } = [];
}

/// <summary>Events that a rule does not count although its condition is true.</summary>
/// <param name="Name">Its name; empty where it has none, which is told.</param>
/// <param name="Span">Where it is.</param>
/// <param name="When">The condition.</param>
internal sealed record ExceptionClause(string Name, SourceSpan Span, SourceFragment When);

/// <summary>A rule as the files have it, with every place in them, when all overrides are applied.</summary>
/// <param name="Name">Its name; empty where it has none, which is told.</param>
/// <param name="Span">Where the name is.</param>
internal sealed record RuleDefinition(string Name, SourceSpan Span)
{
    /// <summary>The rule as a message names it.</summary>
    public string Title => Name.Length > 0 ? $"rule '{Name}'" : "the rule";

    public string Description { get; init; } = "";

    public IReadOnlyList<OnClause> On { get; init; } = [];

    /// <summary>Conditions that must all be true; more than one where a later file appended.</summary>
    public IReadOnlyList<SourceFragment> When { get; init; } = [];

    public IReadOnlyList<ExceptionClause> Exceptions { get; init; } = [];

    public VerdictPlan Verdict { get; init; } = VerdictPlan.AlertOnly;

    public SourceFragment? Output { get; init; }

    public RulePriority Priority { get; init; } = RulePriority.Warning;

    public IReadOnlyList<string> Tags { get; init; } = [];

    public bool IsEnabled { get; init; } = true;

    public RuleRate Rate { get; init; } = RuleRate.Default;

    public SourceSpan RateSpan { get; init; } = Span;

    public FailPolicy Fail { get; init; }

    public SourceSpan FailSpan { get; init; } = Span;

    public RuleMode Mode { get; init; }

    public RuleStart After { get; init; }
}
