using System.Globalization;
using Introspect.Hypervisor;
using Introspect.Rules.Language;

namespace Introspect.Rules.Files;

/// <summary>What a rule can do.</summary>
internal enum VerdictKind : byte
{
    Allow,
    Deny,
    Emulate,
    Skip,
    Reinject,
    Inject,
    Set,
    Step,
    View,
    Pause,
    Alert,
    Count,
    Tag,
}

/// <summary>One register that a verdict sets.</summary>
/// <param name="Target">Which.</param>
/// <param name="Source">The register whose value it gets, or null for the number.</param>
/// <param name="Value">The number.</param>
internal readonly record struct RegisterAssignment(GuestRegister Target, GuestRegister? Source, ulong Value)
{
    /// <inheritdoc/>
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{GuestRegisters.NameOf(Target)}={(Source is { } source ? GuestRegisters.NameOf(source) : $"0x{Value:x}")}");
}

/// <summary>What stands behind <c>do:</c>, read and found to fit together.</summary>
internal sealed record VerdictPlan
{
    /// <summary>What a rule does that says nothing.</summary>
    public static VerdictPlan AlertOnly { get; } = new();

    /// <summary>Where each verdict is written.</summary>
    public IReadOnlyList<(VerdictKind Kind, SourceSpan Span)> Items { get; init; } = [];

    public bool DiscardsWrites { get; init; }

    public TrapInjection Trap { get; init; }

    public IReadOnlyList<RegisterAssignment> Registers { get; init; } = [];

    /// <summary>Instructions to step.</summary>
    public int Steps { get; init; }

    public ushort View { get; init; }

    /// <summary>Tags that the alerts of the event get, this rule's and those of later ones.</summary>
    public IReadOnlyList<string> Tags { get; init; } = [];

    /// <summary>A match is told, unless it is only to be counted.</summary>
    public bool Alerts => !Has(VerdictKind.Count);

    /// <summary>The event has a decision: what a rule that only looks on has not.</summary>
    public bool Decides => Items.Any(item => item.Kind is not (VerdictKind.Pause or VerdictKind.Alert or VerdictKind.Count or VerdictKind.Tag));

    /// <summary>It means something only for a vCPU that waits.</summary>
    public bool NeedsSync => Decides || Has(VerdictKind.Pause);

    /// <summary>True when the verdict is among them.</summary>
    public bool Has(VerdictKind kind) => Items.Any(item => item.Kind == kind);

    /// <summary>Where the verdict is written.</summary>
    public SourceSpan SpanOf(VerdictKind kind) => Items.First(item => item.Kind == kind).Span;

    /// <summary>What it does to the guest: <c>deny, step 4</c>; empty where it only tells.</summary>
    public string Actions => string.Join(", ", Items
        .Where(item => item.Kind is not (VerdictKind.Alert or VerdictKind.Count or VerdictKind.Tag))
        .Select(item => item.Kind switch
        {
            VerdictKind.Emulate when DiscardsWrites => "emulate without writes",
            VerdictKind.Inject => string.Create(CultureInfo.InvariantCulture, $"inject vector {Trap.Vector}"),
            VerdictKind.Set => $"set {string.Join(" ", Registers)}",
            VerdictKind.Step => string.Create(CultureInfo.InvariantCulture, $"step {Steps}"),
            VerdictKind.View => string.Create(CultureInfo.InvariantCulture, $"view {View}"),
            var kind => RuleValues.NameOf(kind),
        }));

    /// <summary>Everything that it does: <c>deny, step 4, tag odd, alert</c>.</summary>
    public override string ToString()
    {
        string[] words = [Actions, Tags.Count > 0 ? $"tag {string.Join(" ", Tags)}" : "", Alerts ? "alert" : "count"];
        return string.Join(", ", words.Where(word => word.Length > 0));
    }
}
