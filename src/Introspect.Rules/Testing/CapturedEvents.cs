using System.Globalization;
using Introspect.Rules.Capture;
using Introspect.Rules.Files;
using Introspect.Rules.Language;
using Introspect.Rules.Names;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Rules.Testing;

/// <summary>What must come of a captured guest.</summary>
/// <param name="Rule">The rule that it is about.</param>
/// <param name="Place">Where it is written, for messages.</param>
internal sealed record CaptureExpectation(string Rule, SourceSpan Place)
{
    /// <summary>The events that it is about, by their numbers in the capture.</summary>
    public NumberRange Events { get; init; } = new(0, ulong.MaxValue);

    /// <summary>How often the rule must match in them.</summary>
    public NumberRange Matches { get; init; } = new(1, ulong.MaxValue);

    /// <summary>The verdict on each event that it matches, in words; null: any.</summary>
    public string? Verdict { get; init; }
}

/// <summary>
/// Events of a capture, which brings its domain, its memory, its time and its symbols along. Every match of a rule must be
/// expected: what is not said must not happen.
/// </summary>
/// <param name="path">The capture's file.</param>
/// <param name="place">Where it is named.</param>
/// <param name="expectations">What must come of it; null: anything.</param>
internal sealed class CapturedEvents(string path, SourceSpan place, IReadOnlyList<CaptureExpectation>? expectations) : IRuleTestEvents
{
    // What is wrong again and again need not be told as often.
    private const int MostFailures = 10;

    /// <summary>Opens a capture.</summary>
    /// <exception cref="IOException">It is not there.</exception>
    /// <exception cref="UnauthorizedAccessException">It cannot be read.</exception>
    /// <exception cref="CaptureException">It is none.</exception>
    public static CaptureReader Open(string path)
    {
        var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        try
        {
            return CaptureReader.Open(stream);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public IEnumerable<string> Run(RuleTestFile file, RuleSet rules, RuleTest test)
    {
        if (expectations is not null && Unknown(rules).ToList() is { Count: > 0 } unknown)
        {
            return unknown;
        }

        var judge = new Judge(expectations);
        try
        {
            using var capture = Open(path);
            var result = CaptureReplay.Run(capture, [], judge, new()
            {
                Rules = rules,
                Symbols = new CapturedNames(capture, () => Open(path)),
                Bound = bound => judge.Rules = bound.Statistics,
            });
            if (capture.End is null)
            {
                return [$"{place}: capture '{path}' was cut off: what a rule does to the end of it is not known"];
            }

            return judge.Failures(place, result.NotRecorded.GetValueOrDefault(RuleSetHandler.HandlerName) ?? []);
        }
        catch (Exception e) when (e is CaptureException or IOException or UnauthorizedAccessException)
        {
            return [$"{place}: capture '{path}': {e.Message}"];
        }
        catch (ArgumentException e)
        {
            return [$"{place}: the rules cannot be for the domain of capture '{path}': {e.Message}"];
        }
    }

    private IEnumerable<string> Unknown(RuleSet rules)
    {
        var names = rules.Names.ToList();
        return expectations!.Where(expected => !names.Contains(expected.Rule)).Select(expected =>
            $"{expected.Place}: there is no rule '{expected.Rule}' in force{(Suggestion.Nearest(expected.Rule, names) is { } near ? $"; did you mean '{near}'?" : "")}");
    }

    /// <summary>Looks on while the capture is replayed.</summary>
    private sealed class Judge(IReadOnlyList<CaptureExpectation>? expectations) : ICaptureSink
    {
        private readonly ulong[] _counts = new ulong[expectations?.Count ?? 0];
        private readonly List<string> _failures = [];
        private long[] _seen = [];
        private IReadOnlyList<RuleStatistics> _rules = [];
        private int _more;

        public IReadOnlyList<RuleStatistics> Rules
        {
            set
            {
                _rules = value;
                _seen = new long[value.Count];
            }
        }

        public void Event(in EventRecord record, in CapturedAnswer answered) => Look(in record);

        public void Unrecorded(in EventRecord record) => Look(in record);

        public List<string> Failures(SourceSpan place, IReadOnlyList<string> notRecorded)
        {
            var failures = _failures.ConvertAll(failure => $"{place}: {failure}");
            if (_more > 0)
            {
                failures.Add(string.Create(CultureInfo.InvariantCulture, $"{place}: {_more} more like these"));
            }

            for (var i = 0; i < _counts.Length; i++)
            {
                var expected = expectations![i];
                if (!expected.Matches.Contains(_counts[i]))
                {
                    var why = _counts[i] < expected.Matches.First && notRecorded.Count > 0 ? $"; the rules want what was not recorded: {string.Join(", ", notRecorded)}" : "";
                    failures.Add($"{expected.Place}: rule {expected.Rule} matches {Times(_counts[i])}{In(expected.Events)}, not {Times(expected.Matches)}{why}");
                }
            }

            return failures;
        }

        private void Look(ref readonly EventRecord record)
        {
            for (var i = 0; i < _seen.Length; i++)
            {
                var matches = _rules[i].Matches;
                if (matches != _seen[i])
                {
                    _seen[i] = matches;
                    Match(_rules[i].Rule, in record);
                }
            }
        }

        private void Match(string rule, ref readonly EventRecord record)
        {
            if (expectations is null)
            {
                return;
            }

            var isExpected = false;
            for (var i = 0; i < expectations.Count; i++)
            {
                var expected = expectations[i];
                if (expected.Rule != rule || !expected.Events.Contains(record.Sequence))
                {
                    continue;
                }

                isExpected = true;
                _counts[i]++;
                if (expected.Verdict is { } verdict && record.Verdict.ToString() != verdict)
                {
                    Fail($"event {record.Sequence}: rule {rule} matches, and the verdict is {record.Verdict}, not {verdict}");
                }
            }

            if (!isExpected)
            {
                Fail($"event {record.Sequence}: rule {rule} matches, which is not expected");
            }
        }

        private void Fail(FormattableString failure)
        {
            if (_failures.Count < MostFailures)
            {
                _failures.Add(failure.ToString(CultureInfo.InvariantCulture));
            }
            else
            {
                _more++;
            }
        }

        private static string Times(ulong count) => count switch
        {
            0 => "never",
            1 => "once",
            _ => string.Create(CultureInfo.InvariantCulture, $"{count} times"),
        };

        private static string Times(NumberRange count) => count switch
        {
            (1, ulong.MaxValue) => "once or more",
            (_, ulong.MaxValue) => string.Create(CultureInfo.InvariantCulture, $"{count.First} times or more"),
            _ when count.First == count.Last => Times(count.First),
            _ => string.Create(CultureInfo.InvariantCulture, $"{count.First} to {count.Last} times"),
        };

        private static string In(NumberRange events) => events switch
        {
            (0, ulong.MaxValue) => "",
            (_, ulong.MaxValue) => string.Create(CultureInfo.InvariantCulture, $" from event {events.First} on"),
            _ when events.First == events.Last => string.Create(CultureInfo.InvariantCulture, $" at event {events.First}"),
            _ => string.Create(CultureInfo.InvariantCulture, $" in events {events.First} to {events.Last}"),
        };
    }
}
