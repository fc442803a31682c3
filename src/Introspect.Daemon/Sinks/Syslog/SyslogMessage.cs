using System.Buffers;
using System.Globalization;
using System.Text;
using Introspect.Daemon.Output;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Sinks.Syslog;

/// <summary>Severities of RFC 5424 that events have; an alert has its rule's priority, which is numbered as they are.</summary>
internal enum SyslogSeverity
{
    /// <summary>Somebody intervened.</summary>
    Warning = 4,

    /// <summary>An event like any other.</summary>
    Informational = 6,
}

/// <summary>Writes messages as RFC 5424 has them: header, one element of structured data, text.</summary>
internal sealed class SyslogMessage(int facility, string host, string process)
{
    // The number that RFC 5612 keeps for examples and for who has none of his own.
    private const string ElementId = "introspect@32473";

    private const int LongestHost = 255;

    private readonly ArrayBufferWriter<byte> _bytes = new(1024);
    private readonly string _host = Printable(host, LongestHost);

    /// <summary>Formats a message. The result is valid until the next call.</summary>
    public ReadOnlySpan<byte> Format(SyslogSeverity severity, string messageId, in EventContext context, int vcpu, ReadOnlySpan<byte> text)
    {
        Head(severity, messageId, context.Time.UtcDateTime);
        Parameter("domain", EventMessage.Label(context));
        Parameter("domain_id", context.Domain.ToString());
        Parameter("vcpu", vcpu.ToString(CultureInfo.InvariantCulture));
        Parameter("sequence", context.Sequence.ToString(CultureInfo.InvariantCulture));
        Parameter("verdict", context.Verdict);
        if (context.Rule is { } rule)
        {
            Parameter("rule", rule);
        }

        Text("] ");
        _bytes.Write(text);
        return _bytes.WrittenSpan;
    }

    /// <summary>Formats the message of an alert. The result is valid until the next call.</summary>
    public ReadOnlySpan<byte> Format(SyslogSeverity severity, string messageId, AlertRecord alert, ReadOnlySpan<byte> text)
    {
        Head(severity, messageId, alert.Time);
        Parameter("domain", EventMessage.Label(alert.Domain, alert.DomainName));
        Parameter("domain_id", alert.Domain.ToString());
        Parameter("rule", alert.Rule);
        Parameter("verdict", alert.Verdict);
        Text("] ");
        foreach (var octet in text)
        {
            // One line, whatever a rule's output says.
            _bytes.Write([octet is (byte)'\n' or (byte)'\r' ? (byte)' ' : octet]);
        }

        return _bytes.WrittenSpan;
    }

    private void Head(SyslogSeverity severity, string messageId, DateTime time)
    {
        _bytes.ResetWrittenCount();
        Text(string.Create(
            CultureInfo.InvariantCulture,
            $"<{(facility * 8) + (int)severity}>1 {time:yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'} {_host} introspect {process} {Printable(messageId, 32)} [{ElementId}"));
    }

    private void Parameter(string name, string value)
    {
        Text(" ");
        Text(name);
        Text("=\"");
        foreach (var character in value)
        {
            if (character is '"' or '\\' or ']')
            {
                Text("\\");
            }

            // The text of a message is one line wherever it ends up.
            Span<char> one = [char.IsControl(character) ? ' ' : character];
            Encoding.UTF8.GetBytes(one, _bytes);
        }

        Text("\"");
    }

    private void Text(string text) => Encoding.UTF8.GetBytes(text, _bytes);

    // The header is printable ASCII without spaces; '-' stands for nothing.
    private static string Printable(string text, int longest)
    {
        var kept = string.Concat(text.Where(c => c is > ' ' and < '\x7f').Take(longest));
        return kept.Length == 0 ? "-" : kept;
    }
}
