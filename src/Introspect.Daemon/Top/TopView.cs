using System.Globalization;
using Introspect.Daemon.Control;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace Introspect.Daemon.Top;

/// <summary>Two looks at a service as a table: what happened between them, in at most 80 columns.</summary>
internal static class TopView
{
    /// <summary>Columns that everything fits into.</summary>
    public const int Columns = 80;

    private const int NameWidth = 20;
    private const int MaxHandlers = 8;
    private const int MaxTroubles = 5;
    private static readonly Style Bad = new(Color.Red);
    private static readonly Style Head = new(decoration: Decoration.Bold);

    /// <summary>Makes the table.</summary>
    /// <param name="before">The earlier look.</param>
    /// <param name="now">The later one.</param>
    public static IRenderable Of(ServiceStatus before, ServiceStatus now)
    {
        var seconds = Math.Max(now.Time - before.Time, 1e-3);
        var parts = new List<IRenderable> { new Text(Clean($"introspect {now.Version}, {now.Summary}", Columns), Head) };
        if (!now.ReloadSuccessful)
        {
            parts.Add(new Text("the last reload failed, the old configuration is in force: see the log", Bad));
        }

        parts.Add(Domains(before, now, seconds));
        parts.AddRange(now.Troubles.Take(MaxTroubles).Select(trouble => new Text(Clean(trouble, 2 * Columns), Bad)));
        if (Handlers(before, now, seconds) is { } handlers)
        {
            parts.Add(handlers);
        }

        if (now.Sinks.Count != 0)
        {
            parts.Add(Sinks(before, now, seconds));
        }

        return new Rows(parts);
    }

    private static Table Domains(ServiceStatus before, ServiceStatus now, double seconds)
    {
        var table = NewTable(("ID", true), ("DOMAIN", false), ("EVENTS/S", true), ("PAUSED", true), ("HANDLING", true), ("FULL/S", true), ("MOSTLY", false));
        foreach (var domain in now.Domains)
        {
            var old = before.Domains.FirstOrDefault(d => d.Id == domain.Id && d.Uuid == domain.Uuid);
            var id = domain.Id.ToString(CultureInfo.InvariantCulture);
            if (domain.Trouble is not null)
            {
                table.AddRow(Cell(id), Cell(Clean(domain.Name, NameWidth)), Cell("-"), Cell("-"), Cell("-"), Cell("-"), new Text("not watched", Bad));
                continue;
            }

            var rates = domain.Events.Select(e => (Reason: e.Key, Rate: Rate(e.Value, old?.Events.GetValueOrDefault(e.Key) ?? 0, seconds))).OrderByDescending(r => r.Rate).ToList();
            var most = rates.Count != 0 && rates[0].Rate > 0 ? Clean(rates[0].Reason, 22) : "";
            table.AddRow(
                Cell(id),
                Cell(Clean(domain.Name, NameWidth)),
                Cell(Number(rates.Sum(r => r.Rate))),
                Cell(Percent(Rate(domain.PausedSeconds, old?.PausedSeconds ?? 0, seconds))),
                Cell(Percent(Rate(domain.HandlingSeconds, old?.HandlingSeconds ?? 0, seconds))),
                Cell(Number(Rate(domain.RingFull, old?.RingFull ?? 0, seconds))),
                Cell(most));
        }

        return table;
    }

    // Those that took the most time, and those that are out of service.
    private static Table? Handlers(ServiceStatus before, ServiceStatus now, double seconds)
    {
        var all = from domain in now.Domains
                  let old = before.Domains.FirstOrDefault(d => d.Id == domain.Id && d.Uuid == domain.Uuid)
                  from handler in domain.Handlers
                  let earlier = old?.Handlers.FirstOrDefault(h => h.Name == handler.Name)
                  let calls = Math.Max(0, handler.Calls - (earlier?.Calls ?? 0))
                  let time = Math.Max(0, handler.Seconds - (earlier?.Seconds ?? 0))
                  where calls > 0 || handler.IsDisabled
                  orderby handler.IsDisabled descending, time descending
                  select (Domain: domain, Handler: handler, Calls: calls, Time: time);
        var table = NewTable(("HANDLER", false), ("DOMAIN", false), ("CALLS/S", true), ("US/CALL", true), ("DECIDED", true), ("FAILED", true), ("LATE", true));
        foreach (var (domain, handler, calls, time) in all.Take(MaxHandlers))
        {
            table.AddRow(
                handler.IsDisabled ? new Text(Clean(handler.Name, NameWidth - 5) + " (off)", Bad) : Cell(Clean(handler.Name, NameWidth)),
                Cell(Clean(domain.Name, 16)),
                Cell(Number(calls / seconds)),
                Cell(calls == 0 ? "-" : (time * 1e6 / calls).ToString("0.0", CultureInfo.InvariantCulture)),
                Cell(Number(handler.Decisions)),
                Cell(Number(handler.Failures)),
                Cell(Number(handler.Overruns)));
        }

        return table.Rows.Count == 0 ? null : table;
    }

    private static Table Sinks(ServiceStatus before, ServiceStatus now, double seconds)
    {
        var table = NewTable(("SINK", false), ("WRITTEN/S", true), ("WAITING", true), ("LOST", true), ("LEFT OUT", true), ("HELD UP", true));
        foreach (var sink in now.Sinks)
        {
            var old = before.Sinks.FirstOrDefault(s => s.Name == sink.Name);
            table.AddRow(
                Cell(Clean(sink.Name, NameWidth)),
                Cell(Number(Rate(sink.Written, old?.Written ?? 0, seconds))),
                Cell(Number(sink.Waiting)),
                new Text(Number(sink.Dropped), sink.Dropped > (old?.Dropped ?? 0) ? Bad : Style.Plain),
                Cell(Number(sink.SampledOut)),
                Cell(Number(sink.Blocked)));
        }

        return table;
    }

    private static Table NewTable(params ReadOnlySpan<(string Name, bool IsNumber)> columns)
    {
        var table = new Table { Border = TableBorder.None, ShowHeaders = true };
        foreach (var (name, isNumber) in columns)
        {
            table.AddColumn(new TableColumn(new Text(name, Head)) { NoWrap = true, Alignment = isNumber ? Justify.Right : Justify.Left, Padding = new Padding(0, 0, 1, 0) });
        }

        return table;
    }

    private static Text Cell(string text) => new(text);

    // A pump that was replaced counts from nothing.
    private static double Rate(double now, double before, double seconds) => (now >= before ? now - before : now) / seconds;

    private static string Number(double value) => value switch
    {
        >= 1e7 => (value / 1e6).ToString("0", CultureInfo.InvariantCulture) + "M",
        >= 1e5 => (value / 1e3).ToString("0", CultureInfo.InvariantCulture) + "k",
        > 0 and < 10 when value != Math.Floor(value) => value.ToString("0.0", CultureInfo.InvariantCulture),
        _ => value.ToString("0", CultureInfo.InvariantCulture),
    };

    private static string Percent(double share) => (share * 100).ToString("0.0", CultureInfo.InvariantCulture) + "%";

    // Names are made by those who make domains; a terminal obeys what it is sent.
    private static string Clean(string text, int width)
    {
        var clean = string.Concat(text.Select(c => char.IsControl(c) ? '?' : c));
        return clean.Length <= width ? clean : clean[..(width - 1)] + "…";
    }
}
