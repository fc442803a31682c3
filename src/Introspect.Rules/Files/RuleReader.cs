using Introspect.Rules.Handlers;
using Introspect.Rules.Language;
using Introspect.Rules.Names;

namespace Introspect.Rules.Files;

/// <summary>Reads the keys of a rule.</summary>
internal sealed class RuleReader(RuleValues values)
{
    /// <summary>Keys that a rule can have, in the order in which they are written most often.</summary>
    public static readonly string[] Keys =
    [
        "rule", "desc", "on", "when", "exceptions", "do", "output", "priority", "tags", "rate", "after", "mode", "fail", "enabled", "override",
    ];

    /// <summary>Reads a rule.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="span">Where the name is.</param>
    /// <param name="keys">What stands behind each key; more than once where a later file appended.</param>
    /// <param name="isWhole">A key that must be there may not be missing.</param>
    public RuleDefinition Read(string name, SourceSpan span, IReadOnlyDictionary<string, IReadOnlyList<RuleNode>> keys, bool isWhole)
    {
        var rule = new RuleDefinition(name, span);
        foreach (var (key, nodes) in keys)
        {
            // What counts once is what was said last.
            var last = nodes[^1];
            rule = key switch
            {
                "desc" => rule with { Description = values.TryScalar(last, "a sentence", out var text) ? text.Text : "" },
                "on" => rule with { On = new OnReader(values).Read(last) },
                "when" => rule with { When = [.. nodes.SelectMany(ReadCondition)] },
                "exceptions" => rule with { Exceptions = ReadExceptions(nodes) },
                "do" => rule with { Verdict = new VerdictReader(values).Read(last) },
                "output" => rule with { Output = values.TryScalar(last, "the alert's text", out var text) ? text.Fragment : null },
                "priority" => rule with { Priority = values.Choice(last, RulePriority.Warning) },
                "tags" => rule with { Tags = [.. nodes.SelectMany(ReadTags).Distinct()] },
                "rate" => rule with { Rate = ReadRate(last), RateSpan = last.Span },
                "after" => rule with { After = ReadStart(last) },
                "mode" => rule with { Mode = values.Choice(last, RuleMode.Enforce) },
                "fail" => rule with { Fail = values.Choice(last, FailPolicy.Open), FailSpan = last.Span },
                "enabled" => rule with { IsEnabled = values.Flag(last, true) },
                _ => rule,
            };
        }

        if (isWhole && !keys.ContainsKey("on"))
        {
            values.Error(span, $"{rule.Title} is on no event; write 'on:' with one of {string.Join(", ", OnReader.KnownNames)}");
        }

        return rule;
    }

    /// <summary>Tells of keys that no rule has.</summary>
    public void RefuseUnknown(MappingNode mapping)
    {
        foreach (var (key, _) in mapping.Entries)
        {
            if (!Keys.Contains(key.Text))
            {
                var meant = key.Text switch
                {
                    "condition" => "when",
                    "action" or "actions" or "verdict" => "do",
                    "event" or "events" or "reason" => "on",
                    "description" => "desc",
                    "name" => "rule",
                    "severity" => "priority",
                    "message" => "output",
                    _ => Suggestion.Nearest(key.Text, Keys),
                };
                values.Error(key.Span, $"a rule has no '{key.Text}'; it has {string.Join(", ", Keys)}", meant);
            }
        }
    }

    private IEnumerable<SourceFragment> ReadCondition(RuleNode node)
    {
        if (values.TryScalar(node, "a condition", out var scalar))
        {
            yield return scalar.Fragment;
        }
    }

    private IEnumerable<string> ReadTags(RuleNode node) =>
        values.Scalars(node, "a tag").Where(tag => values.TryName(tag, "a tag", out _)).Select(tag => tag.Text);

    private List<ExceptionClause> ReadExceptions(IReadOnlyList<RuleNode> nodes)
    {
        var exceptions = new List<ExceptionClause>();
        foreach (var item in nodes.SelectMany(RuleValues.Items))
        {
            if (!values.TryMapping(item, "an exception ('name: x' and 'when: …')", out var mapping))
            {
                continue;
            }

            values.RefuseOthers(mapping, "of an exception", "name", "when");
            var (name, span) = ReadExceptionName(mapping);
            if (name.Length > 0 && exceptions.Exists(e => e.Name == name))
            {
                values.Error(span, $"exception '{name}' is there already; give each its own name");
            }

            if (mapping["when"] is not { } when)
            {
                values.Error(span, $"{(name.Length > 0 ? $"exception '{name}'" : "the exception")} has no 'when'; write the condition under which the rule does not count");
            }
            else if (values.TryScalar(when, "a condition", out var condition))
            {
                exceptions.Add(new(name, span, condition.Fragment));
            }
        }

        return exceptions;
    }

    // Empty where it has none that can be used: what else is wrong with the exception is told all the same.
    private (string Name, SourceSpan Span) ReadExceptionName(MappingNode exception)
    {
        if (exception["name"] is not { } node)
        {
            values.Error(exception.Span, "an exception without a name; write 'name: x', so that it can be told and overridden");
            return ("", exception.Span);
        }

        return (values.TryName(node, "an exception", out var name) ? name : "", node.Span);
    }

    private RuleStart ReadStart(RuleNode node)
    {
        if (node is ScalarNode scalar)
        {
            if (RuleValues.TryNumber(scalar.Text, out var matches) && matches <= int.MaxValue)
            {
                return new(TimeSpan.Zero, (long)matches);
            }

            if (RuleValues.TryDuration(scalar.Text, out var delay))
            {
                return new(delay, 0);
            }
        }

        values.Error(node.Span, $"{RuleValues.Shown(node)} is neither a time (60s) nor a number of matches (3)");
        return default;
    }

    private RuleRate ReadRate(RuleNode node)
    {
        if (node is ScalarNode { Text: "off" or "none" })
        {
            return new() { Alerts = null };
        }

        if (node is not MappingNode mapping)
        {
            return TryLimit(node, out var plain) ? new() { Alerts = plain, Burst = plain.Count } : RuleRate.Default;
        }

        values.RefuseOthers(mapping, "of rate", "alerts", "burst", "events", "cool_down");
        var rate = RuleRate.Default;
        foreach (var (key, value) in mapping.Entries)
        {
            switch (key.Text)
            {
                case "alerts" when value is ScalarNode { Text: "off" or "none" }:
                    rate = rate with { Alerts = null };
                    break;
                case "alerts" when TryLimit(value, out var alerts):
                    rate = rate with { Alerts = alerts, Burst = mapping["burst"] is null ? alerts.Count : rate.Burst };
                    break;
                case "events" when TryLimit(value, out var events):
                    rate = rate with { Events = events };
                    break;
                case "burst" when values.TryNumber(value, "burst", 1, 1_000_000, out var burst):
                    rate = rate with { Burst = (long)burst };
                    break;
                case "cool_down":
                    rate = rate with { CoolDown = values.Duration(value, rate.CoolDown) };
                    if (rate.CoolDown <= TimeSpan.Zero)
                    {
                        values.Error(value.Span, "a cool-down takes time; write 10s, or remove 'events'");
                    }

                    break;
            }
        }

        if (mapping["cool_down"] is { } idle && mapping["events"] is null)
        {
            values.Error(idle.Span, "a cool-down follows too many events; say how many, with 'events: 10000/s'");
        }

        return rate;
    }

    private bool TryLimit(RuleNode node, out RateLimit limit)
    {
        limit = default;
        if (node is ScalarNode scalar && scalar.Text.Split('/') is [var countText, var perText]
            && RuleValues.TryNumber(countText.Trim(), out var count) && count is > 0 and <= 1_000_000_000)
        {
            perText = perText.Trim();
            if (RuleValues.TryDuration(perText, out var per) || RuleValues.TryDuration("1" + perText, out per))
            {
                limit = new((long)count, per);
                if (per > TimeSpan.Zero && per <= TimeSpan.FromDays(1))
                {
                    return true;
                }
            }
        }

        values.Error(node.Span, $"{RuleValues.Shown(node)} is no rate; write 10/s, 100/m, 5/10s or off");
        return false;
    }
}
