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

    private const int Onlookers = (1 << (int)VerdictKind.Pause) | (1 << (int)VerdictKind.Alert) | (1 << (int)VerdictKind.Count) | (1 << (int)VerdictKind.Tag);

    private readonly (VerdictKind Kind, SourceSpan Span)[] _items = [];
    private readonly int _kinds;

    /// <summary>Where each verdict is written.</summary>
    public IReadOnlyList<(VerdictKind Kind, SourceSpan Span)> Items
    {
        get => _items;
        init
        {
            _items = [.. value];
            _kinds = value.Aggregate(0, (kinds, item) => kinds | (1 << (int)item.Kind));
        }
    }

    /// <summary>The same, for events: it is gone through without a cost in memory.</summary>
    public ReadOnlySpan<(VerdictKind Kind, SourceSpan Span)> Steady => _items;

    public bool DiscardsWrites { get; init; }

    public TrapInjection Trap { get; init; }

    public RegisterAssignment[] Registers { get; init; } = [];

    /// <summary>Instructions to step.</summary>
    public int Steps { get; init; }

    public ushort View { get; init; }

    /// <summary>Tags that the alerts of the event get, this rule's and those of later ones.</summary>
    public IReadOnlyList<string> Tags { get; init; } = [];

    /// <summary>A match is told, unless it is only to be counted.</summary>
    public bool Alerts => !Has(VerdictKind.Count);

    /// <summary>The event has a decision: what a rule that only looks on has not.</summary>
    public bool Decides => (_kinds & ~Onlookers) != 0;

    /// <summary>It means something only for a vCPU that waits.</summary>
    public bool NeedsSync => Decides || Has(VerdictKind.Pause);

    /// <summary>True when the verdict is among them.</summary>
    public bool Has(VerdictKind kind) => (_kinds & (1 << (int)kind)) != 0;

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
