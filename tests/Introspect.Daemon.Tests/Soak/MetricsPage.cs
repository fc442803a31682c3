using System.Globalization;

namespace Introspect.Daemon.Tests.Soak;

/// <summary>A page of metrics, taken apart.</summary>
internal sealed class MetricsPage
{
    private readonly Dictionary<string, double> _values = [];

    public MetricsPage(string text)
    {
        foreach (var line in text.Split('\n').Where(line => line.Length != 0 && line[0] != '#'))
        {
            var space = line.LastIndexOf(' ');
            _values.Add(line[..space], double.Parse(line[(space + 1)..], CultureInfo.InvariantCulture));
        }
    }

    /// <summary>The value of a series, zero where it is not there.</summary>
    public long this[string series] => (long)_values.GetValueOrDefault(series);

    /// <summary>The sum of a family's series that have a label, or of all.</summary>
    public long Sum(string family, string label = "") => (long)_values
        .Where(value => value.Key.StartsWith(family + "{", StringComparison.Ordinal) && value.Key.Contains(label, StringComparison.Ordinal))
        .Sum(value => value.Value);

    /// <summary>The series of some families, for people.</summary>
    public IEnumerable<string> Lines(string beginning) => _values.Where(value => value.Key.StartsWith(beginning, StringComparison.Ordinal)).Select(value => $"{value.Key} {value.Value}");

    public long Events(string domain, string reason) => this[$"introspect_events_total{{domain=\"{domain}\",reason=\"{reason}\"}}"];

    /// <summary>Events of all domains, without the monitor's own steps.</summary>
    public long Records => Sum("introspect_records_total");

    public long Sink(string sink, string what) => this[$"introspect_sink_{what}{{sink=\"{sink}\"}}"];

    public long Matches(string domain, string rule) => Sum("introspect_rule_matches_total", $"domain=\"{domain}\",priority=\"info\",rule=\"{rule}\"");
}
