using System.Text;

namespace Introspect.Daemon.Telemetry;

/// <summary>
/// From an instrument to a metric's name, as the OpenTelemetry specification has it for Prometheus: characters
/// outside the alphabet become underscores, the unit is spelt out as a suffix, and counters end in _total.
/// </summary>
internal static class PrometheusNames
{
    /// <summary>The name of a family.</summary>
    /// <param name="instrument">Instrument name, <c>introspect.vcpu.paused</c>.</param>
    /// <param name="unit">UCUM unit, <c>s</c>, <c>By</c>, <c>{event}</c>.</param>
    /// <param name="isCounter">Monotonic.</param>
    public static string Of(string instrument, string? unit, bool isCounter)
    {
        var name = new StringBuilder(Sanitise(instrument));
        AppendUnlessThere(name, unit switch
        {
            "s" => "_seconds",
            "ms" => "_milliseconds",
            "By" => "_bytes",
            _ => "",
        });
        AppendUnlessThere(name, isCounter ? "_total" : "");
        return name.ToString();
    }

    /// <summary>A label's or metric's name in the format's alphabet.</summary>
    public static string Sanitise(string name)
    {
        var text = new StringBuilder(name.Length + 1);
        foreach (var character in name)
        {
            text.Append(char.IsAsciiLetterOrDigit(character) || character == '_' ? character : '_');
        }

        return text.Length == 0 || char.IsAsciiDigit(text[0]) ? text.Insert(0, '_').ToString() : text.ToString();
    }

    private static void AppendUnlessThere(StringBuilder name, string suffix)
    {
        if (suffix.Length != 0 && !name.ToString().EndsWith(suffix, StringComparison.Ordinal))
        {
            name.Append(suffix);
        }
    }
}
