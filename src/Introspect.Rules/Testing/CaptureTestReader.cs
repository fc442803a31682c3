using Introspect.Rules.Capture;
using Introspect.Rules.Files;
using Introspect.Rules.Language;

namespace Introspect.Rules.Testing;

/// <summary>Reads a test whose events are in a capture.</summary>
internal sealed class CaptureTestReader(RuleValues values, string folder)
{
    /// <summary>Reads what stands behind <c>capture:</c> and <c>expect:</c>. Whether the file is a capture is found out, too.</summary>
    public CapturedEvents Read(RuleNode capture, RuleNode? expect)
    {
        if (!values.TryScalar(capture, "the file of a capture", out var name))
        {
            return new("", capture.Span, null);
        }

        var path = Path.Combine(folder, name.Text);
        try
        {
            CapturedEvents.Open(path).Dispose();
        }
        catch (CaptureException e)
        {
            values.Error(name.Span, $"'{name.Text}': {e.Message}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            values.Error(name.Span, e is FileNotFoundException or DirectoryNotFoundException
                ? $"there is no capture '{path}'; 'introspect record -o {name.Text}' makes one, beside the test"
                : $"capture '{path}' cannot be read; let the program read it");
        }

        return new(path, name.Span, ReadExpectations(expect));
    }

    // What is not said must not happen: a test without expectations would pass whatever the rules do.
    private List<CaptureExpectation>? ReadExpectations(RuleNode? node)
    {
        switch (node)
        {
            case null or ScalarNode { Text: "nothing" }:
                return [];
            case ScalarNode { Text: "anything" }:
                return null;
        }

        var expectations = new List<CaptureExpectation>();
        foreach (var item in RuleValues.Items(node))
        {
            if (item is MappingNode mapping)
            {
                Add(mapping, expectations);
            }
            else if (values.TryScalar(item, "the name of a rule", out var rule))
            {
                expectations.Add(new(rule.Text, rule.Span));
            }
        }

        return expectations;
    }

    private void Add(MappingNode mapping, List<CaptureExpectation> expectations)
    {
        values.RefuseOthers(mapping, "of what a capture is expected to give", "rule", "matches", "events", "verdict");
        if (mapping["rule"] is not { } node || !values.TryScalar(node, "the name of a rule", out var rule))
        {
            values.Error(mapping.Span, "the rule that is expected to match is missing; write 'rule: NAME'");
            rule = null;
        }

        var expectation = new CaptureExpectation(rule?.Text ?? "", rule?.Span ?? mapping.Span);
        expectations.Add(expectation with
        {
            Matches = mapping["matches"] is { } matches ? Range(matches, "number of matches", expectation.Matches) : expectation.Matches,
            Events = mapping["events"] is { } events ? Range(events, "number of an event", expectation.Events) : expectation.Events,
            Verdict = mapping["verdict"] is { } verdict && values.TryScalar(verdict, "a verdict", out var text) ? text.Text : null,
        });
    }

    private NumberRange Range(RuleNode node, string what, NumberRange otherwise)
    {
        var text = (node as ScalarNode)?.Text ?? "";
        var (from, to) = text.Split("..") is [var first, var last] ? (first.Trim(), last.Trim()) : (text, text);
        var end = ulong.MaxValue;
        if (RuleValues.TryNumber(from, out var begin) && (to.Length == 0 || RuleValues.TryNumber(to, out end)) && begin <= end)
        {
            return new(begin, end);
        }

        values.Error(node.Span, $"{RuleValues.Shown(node)} is no {what}; write 3, 3..5, or 3.. for all from there on");
        return otherwise;
    }
}
