using System.Text.Json;
using System.Text.Json.Nodes;

namespace Introspect.XenLab.Compare;

/// <summary>
/// Compares two NDJSON traces of the same guest on two hypervisors, event by event and member by member. Only what
/// cannot be the same is left out; <see cref="Ignored"/> is the whole list.
/// </summary>
internal sealed class TraceComparison
{
    // Which domain it was and when, how long it took; what the table of guest memory and the trace buffer are.
    private static readonly HashSet<string> Ignored = new(StringComparer.Ordinal)
    {
        "time", "domain", "domain_name", "handling_ns", "symbol", "registers.npt_base", "registers.vmtrace_pos",
    };

    // The processor's own answer.
    private static readonly HashSet<string> IgnoredOfCpuid = new(StringComparer.Ordinal)
    {
        "cpuid.eax", "cpuid.ebx", "cpuid.ecx", "cpuid.edx", "registers.rax", "registers.rbx", "registers.rcx", "registers.rdx",
    };

    private readonly List<string> _differences = [];
    private readonly Dictionary<(string Reason, string Member), (string First, int More)> _differing = [];
    private readonly SortedDictionary<string, int> _equal = new(StringComparer.Ordinal);
    private int _members;

    private TraceComparison()
    {
    }

    /// <summary>What differs, a line each; a member that does so in many events of a reason is told once.</summary>
    public IReadOnlyList<string> Differences =>
        [.. _differences, .. _differing.Values.Select(static d => d.More == 0 ? d.First : $"{d.First}, as in {d.More} more")];

    /// <summary>Members compared in all events.</summary>
    public int Members => _members;

    /// <summary>Events that are equal, by reason.</summary>
    public IReadOnlyDictionary<string, int> EqualByReason => _equal;

    /// <summary>Compares the events of two traces; other lines are passed over.</summary>
    /// <exception cref="JsonException">A line is no JSON.</exception>
    public static TraceComparison Of(IEnumerable<string> first, IEnumerable<string> second)
    {
        var comparison = new TraceComparison();
        comparison.Compare([.. Events(first)], [.. Events(second)]);
        return comparison;
    }

    private static IEnumerable<JsonObject> Events(IEnumerable<string> lines) =>
        lines.Where(static line => line.Length != 0).Select(static line => JsonNode.Parse(line)!.AsObject())
            .Where(static line => (string?)line["type"] == "event");

    private void Compare(List<JsonObject> first, List<JsonObject> second)
    {
        if (first.Count == 0 && second.Count == 0)
        {
            _differences.Add("neither trace has an event");
        }

        if (first.Count != second.Count)
        {
            _differences.Add($"{first.Count} events and {second.Count}");
        }

        for (var i = 0; i < Math.Min(first.Count, second.Count); i++)
        {
            var reason = (string?)first[i]["reason"] ?? "";
            var there = (string?)second[i]["reason"] ?? "";
            if (reason != there)
            {
                // What comes behind is shifted, and tells nothing.
                _differences.Add($"event {i + 1}: {Name(first[i])} and {Name(second[i])}");
                return;
            }

            if (CompareMembers(i + 1, reason, "", first[i], second[i]))
            {
                _equal[reason] = _equal.GetValueOrDefault(reason) + 1;
            }
        }
    }

    private static string Name(JsonObject e) => $"{(string?)e["reason"]} at {(string?)e["rip"]}";

    private bool CompareMembers(int number, string reason, string path, JsonObject first, JsonObject second)
    {
        var equal = true;
        foreach (var name in first.Select(static m => m.Key).Union(second.Select(static m => m.Key)))
        {
            var full = path + name;
            if (Ignored.Contains(full) || (reason == "cpuid" && IgnoredOfCpuid.Contains(full)))
            {
                continue;
            }

            first.TryGetPropertyValue(name, out var one);
            second.TryGetPropertyValue(name, out var other);
            if (one is JsonObject inOne && other is JsonObject inOther)
            {
                equal &= CompareMembers(number, reason, full + ".", inOne, inOther);
                continue;
            }

            _members++;
            if (JsonNode.DeepEquals(one, other))
            {
                continue;
            }

            equal = false;
            _differing[(reason, full)] = _differing.TryGetValue((reason, full), out var before) ? (before.First, before.More + 1)
                : ($"event {number} ({reason}): {full} is {one?.ToJsonString() ?? "absent"} and {other?.ToJsonString() ?? "absent"}", 0);
        }

        return equal;
    }
}
