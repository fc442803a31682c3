using System.Buffers;
using System.Globalization;
using System.Text;

namespace Introspect.Daemon.Telemetry;

/// <summary>
/// Writes the Prometheus text exposition format, version 0.0.4: families of samples under HELP and TYPE lines,
/// with its three escapes in label values and two in help texts.
/// </summary>
internal sealed class PrometheusText
{
    /// <summary>The format's media type.</summary>
    public const string ContentType = "text/plain; version=0.0.4; charset=utf-8";

    private static readonly SearchValues<char> Special = SearchValues.Create("\\\"\n");

    private readonly StringBuilder _text = new(4096);

    /// <summary>Opens a family.</summary>
    /// <param name="name">Metric name.</param>
    /// <param name="type">counter, gauge or histogram.</param>
    /// <param name="help">One sentence.</param>
    public void Family(string name, string type, string help)
    {
        _text.Append("# HELP ").Append(name).Append(' ').Append(help.Replace("\\", @"\\", StringComparison.Ordinal).Replace("\n", @"\n", StringComparison.Ordinal)).Append('\n');
        _text.Append("# TYPE ").Append(name).Append(' ').Append(type).Append('\n');
    }

    /// <summary>Begins a sample; <see cref="Label"/> follows any number of times and <see cref="Value(double)"/> ends it.</summary>
    public PrometheusText Sample(string name)
    {
        _text.Append(name);
        return this;
    }

    /// <summary>Adds a label to the sample.</summary>
    public PrometheusText Label(string name, string value)
    {
        var first = !InLabels;
        InLabels = true;
        _text.Append(first ? '{' : ',').Append(name).Append("=\"");
        if (value.AsSpan().ContainsAny(Special))
        {
            foreach (var character in value)
            {
                _ = character switch
                {
                    '\\' => _text.Append(@"\\"),
                    '"' => _text.Append("\\\""),
                    '\n' => _text.Append(@"\n"),
                    _ => _text.Append(character),
                };
            }
        }
        else
        {
            _text.Append(value);
        }

        _text.Append('"');
        return this;
    }

    /// <summary>Ends the sample.</summary>
    public void Value(long value) => End(value.ToString(CultureInfo.InvariantCulture));

    /// <summary>Ends the sample.</summary>
    public void Value(double value) => End(Format(value));

    /// <summary>A number as the format writes it.</summary>
    public static string Format(double value) => value switch
    {
        double.PositiveInfinity => "+Inf",
        double.NegativeInfinity => "-Inf",
        double.NaN => "NaN",
        _ => value.ToString("R", CultureInfo.InvariantCulture),
    };

    /// <inheritdoc/>
    public override string ToString() => _text.ToString();

    private bool InLabels { get; set; }

    private void End(string value)
    {
        if (InLabels)
        {
            _text.Append('}');
            InLabels = false;
        }

        _text.Append(' ').Append(value).Append('\n');
    }
}
