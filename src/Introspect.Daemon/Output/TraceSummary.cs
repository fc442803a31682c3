using System.Globalization;
using System.Text;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Output;

/// <summary>What a trace came to.</summary>
internal sealed record TraceSummary
{
    /// <summary>The domain.</summary>
    public required DomainId Domain { get; init; }

    /// <summary>Why the trace ended: <c>poweroff</c>, <c>crash</c>, <c>count</c>, <c>duration</c>, <c>interrupted</c>, …</summary>
    public required string End { get; init; }

    /// <summary>Events that were shown, by reason, most frequent first.</summary>
    public required IReadOnlyList<(VmEventReason Reason, long Count)> ByReason { get; init; }

    /// <summary>What the events of a reason were about, and how long vCPUs stood still for them.</summary>
    public IReadOnlyDictionary<VmEventReason, ReasonSummary> Reasons { get; init; } = new Dictionary<VmEventReason, ReasonSummary>();

    /// <summary>How long the domain was watched.</summary>
    public required TimeSpan Elapsed { get; init; }

    /// <summary>How long vCPUs stood still for us, summed over the vCPUs.</summary>
    public required TimeSpan VcpuPaused { get; init; }

    /// <summary>Events that were handled and not shown, since the output was slower than the guest.</summary>
    public long Dropped { get; init; }

    /// <summary>Requests that could not be understood.</summary>
    public long Malformed { get; init; }

    /// <summary>In a replay by handlers: events on which they decided otherwise than was answered.</summary>
    public long? Changed { get; init; }

    /// <summary>In a replay by rules: what each came to, in the order in which they are asked.</summary>
    public IReadOnlyList<RuleStatistics>? Rules { get; init; }

    /// <summary>Events that were handled, shown or not.</summary>
    public long Events => ByReason.Sum(r => r.Count) + Dropped;

    /// <summary>Events a second, over the whole time.</summary>
    public double EventsPerSecond => Elapsed > TimeSpan.Zero ? Events / Elapsed.TotalSeconds : 0;

    /// <summary>The summary as lines for people.</summary>
    public string ToText()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"domain {Domain}: {Events} events in {Elapsed.TotalSeconds:0.000} s ({EventsPerSecond:0} events/s), ended by {End}\n");
        foreach (var (reason, count) in ByReason)
        {
            text.Append(CultureInfo.InvariantCulture, $"  {ReasonNames.Of(reason).PadRight(ReasonNames.Width)}  {count,10}");
            if (Reasons.TryGetValue(reason, out var summary))
            {
                text.Append(CultureInfo.InvariantCulture, $"  {(Elapsed > TimeSpan.Zero ? count / Elapsed.TotalSeconds : 0),9:0.0}/s  stood still {summary.Paused.TotalMilliseconds,9:0.000} ms");
                summary.AppendTopics(text);
            }

            text.Append('\n');
        }

        var share = Elapsed > TimeSpan.Zero ? 100 * VcpuPaused.TotalSeconds / Elapsed.TotalSeconds : 0;
        text.Append(CultureInfo.InvariantCulture, $"  vCPUs stood still for {VcpuPaused.TotalMilliseconds:0.000} ms ({share:0.0} % of the time)\n");
        if (Dropped != 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"  {Dropped} events were handled and not shown: the output was too slow; write them to a file, or watch less\n");
        }

        if (Changed is { } changed)
        {
            text.Append(CultureInfo.InvariantCulture, $"  {changed} verdicts are other than what was answered\n");
        }

        AppendRules(text);
        if (Malformed != 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"  {Malformed} requests could not be understood\n");
        }

        return text.ToString();
    }

    private void AppendRules(StringBuilder text)
    {
        var width = Rules is { Count: > 0 } rules ? rules.Max(rule => rule.Rule.Length) : 0;
        foreach (var rule in Rules ?? [])
        {
            text.Append(CultureInfo.InvariantCulture, $"  rule {rule.Rule.PadRight(width)}  {rule.Matches,8} matches  {rule.Alerts,8} alerts");
            AppendWhen(text, rule.Suppressed, "kept back");
            AppendWhen(text, rule.Throttles, "times throttled");
            AppendWhen(text, rule.Failures, "failures");
            text.Append('\n');
        }
    }

    private static void AppendWhen(StringBuilder text, long count, string what)
    {
        if (count != 0)
        {
            text.Append(CultureInfo.InvariantCulture, $", {count} {what}");
        }
    }
}
