using System.Globalization;
using System.Text;
using Introspect.Daemon.Symbols;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Output;

/// <summary>
/// Events as lines for people: time, domain, vCPU, reason, detail, place, and the verdict where somebody
/// intervened. Columns stay where they are as long as values fit them; a value is never cut off.
/// </summary>
internal sealed class TextFormatter(Palette palette, ISymbolSource? symbols)
{
    private const int DetailWidth = 44;

    private readonly StringBuilder _line = new(256);

    /// <summary>Formats an event, without a line end. The result is valid until the next call.</summary>
    public StringBuilder Event(in VmEvent e, in EventContext context)
    {
        _line.Clear();
        palette.BeginFaint(_line);
        AppendSeconds(context.SinceStart);
        palette.End(_line);
        _line.Append(CultureInfo.InvariantCulture, $"  d{context.Domain} v{e.VcpuId}  ");
        palette.Begin(_line, e.Reason);
        var reason = ReasonNames.Of(e.Reason);
        _line.Append(reason);
        palette.End(_line);
        _line.Append(' ', ReasonNames.Width - reason.Length + 2);
        var detail = _line.Length;
        EventDetail.Append(_line, e, context.Vendor);
        _line.Append(' ', Math.Max(0, DetailWidth - (_line.Length - detail)));
        _line.Append("  at ");
        AppendPlace(e.Registers.Rip);
        if (e.AltP2mIndex != 0)
        {
            _line.Append(CultureInfo.InvariantCulture, $"  view {e.AltP2mIndex}");
        }

        AppendVerdict(context);
        return _line;
    }

    /// <summary>Formats an alert, without a line end. The result is valid until the next call.</summary>
    public StringBuilder Alert(AlertRecord alert)
    {
        _line.Clear();
        palette.BeginFaint(_line);
        _line.Append(CultureInfo.InvariantCulture, $"{alert.Time:HH:mm:ss.fff}");
        palette.End(_line);
        _line.Append(CultureInfo.InvariantCulture, $"  d{alert.Domain}{(alert.HasEvent ? $" v{alert.Event.VcpuId}" : "")}  ");
        palette.BeginAlert(_line);
        _line.Append("ALERT ").Append(RuleValues.NameOf(alert.Priority));
        palette.End(_line);
        _line.Append("  ").Append(alert.Rule).Append(": ").Append(alert.Message);
        if (alert.Verdict.Length > 0)
        {
            _line.Append("  [").Append(alert.Verdict).Append(alert.Outcome switch
            {
                AlertOutcome.Observed => ", only observed",
                AlertOutcome.Overruled => ", overruled",
                _ => "",
            }).Append(']');
        }

        if (alert.Suppressed > 0)
        {
            _line.Append(CultureInfo.InvariantCulture, $"  ({alert.Suppressed} like it were kept back)");
        }

        return _line;
    }

    /// <summary>Formats a line of a guest's console.</summary>
    public StringBuilder Console(string text)
    {
        _line.Clear();
        palette.BeginFaint(_line);
        _line.Append("console | ");
        palette.End(_line);
        return _line.Append(text);
    }

    // Twelve columns, six of them behind the point; a line's other numbers are integers, too.
    private void AppendSeconds(TimeSpan time)
    {
        var microseconds = (time.Ticks + (TimeSpan.TicksPerMicrosecond / 2)) / TimeSpan.TicksPerMicrosecond;
        _line.Append(CultureInfo.InvariantCulture, $"{microseconds / 1_000_000,5}.{microseconds % 1_000_000:D6}");
    }

    private void AppendPlace(ulong rip)
    {
        _line.Append(CultureInfo.InvariantCulture, $"0x{rip:x}");
        if (symbols is not null && symbols.TryFind(rip, out var name, out var offset))
        {
            _line.Append(CultureInfo.InvariantCulture, $" {name}");
            if (offset != 0)
            {
                _line.Append(CultureInfo.InvariantCulture, $"+0x{offset:x}");
            }
        }
    }

    private void AppendVerdict(in EventContext context)
    {
        if (!RecordContext.IsIntervention(context))
        {
            return;
        }

        _line.Append("  ");
        palette.BeginAlert(_line);
        _line.Append('[').Append(context.Verdict);
        if (context.Rule is { } rule)
        {
            _line.Append(" by ").Append(rule);
        }

        _line.Append(']');
        palette.End(_line);
    }
}
