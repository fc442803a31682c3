using System.Globalization;
using System.Text;

namespace Introspect.Daemon.Output;

/// <summary>What the events of one reason came to.</summary>
internal sealed record ReasonSummary
{
    // Of a thousand different addresses the first few tell as much.
    private const int MaxShown = 4;

    /// <summary>How long vCPUs stood still for them.</summary>
    public required TimeSpan Paused { get; init; }

    /// <summary>What they were about (<c>cr3</c>, <c>lstar</c>, <c>hlt</c>), most frequent first.</summary>
    public required IReadOnlyList<(string Topic, long Count)> Topics { get; init; }

    /// <summary>Appends the most frequent topics.</summary>
    public void AppendTopics(StringBuilder text)
    {
        foreach (var (topic, count) in Topics.Take(MaxShown))
        {
            text.Append(CultureInfo.InvariantCulture, $"  {topic} {count}");
        }

        if (Topics.Count > MaxShown)
        {
            text.Append(CultureInfo.InvariantCulture, $"  and {Topics.Count - MaxShown} more");
        }
    }
}
