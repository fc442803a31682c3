using Introspect.Hypervisor.Abi;
using Introspect.Rules.Language;

namespace Introspect.Rules.Testing;

/// <summary>An event that rules are tested with, and what is expected of them.</summary>
/// <param name="Event">The event, as a hypervisor sends it.</param>
/// <param name="Wait">Time that passes before it.</param>
/// <param name="Expectation">What must come of it; null: anything.</param>
/// <param name="Place">Where it is written, for messages.</param>
internal sealed record RuleTestEvent(VmEvent Event, TimeSpan Wait, RuleTestExpectation? Expectation, SourceSpan Place);

/// <summary>What must come of an event.</summary>
/// <param name="Verdict">The verdict in words; null: any.</param>
/// <param name="Alerts">The alerts, in order; null: any.</param>
internal sealed record RuleTestExpectation(string? Verdict, IReadOnlyList<ExpectedAlert>? Alerts);

/// <summary>An alert that must come.</summary>
/// <param name="Rule">Its rule.</param>
/// <param name="Message">Its text; null: any.</param>
internal sealed record ExpectedAlert(string Rule, string? Message);

/// <summary>Where the events of a test come from: the test file itself, or anything else that has events in order.</summary>
internal interface IRuleTestEvents
{
    /// <summary>The events, in the order in which they happen.</summary>
    IEnumerable<RuleTestEvent> Read();
}

/// <summary>Events that are written in a test file.</summary>
internal sealed class WrittenEvents(IReadOnlyList<RuleTestEvent> events) : IRuleTestEvents
{
    /// <inheritdoc/>
    public IEnumerable<RuleTestEvent> Read() => events;
}
