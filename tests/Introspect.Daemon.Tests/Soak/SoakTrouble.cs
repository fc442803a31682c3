using System.Diagnostics;

namespace Introspect.Daemon.Tests.Soak;

/// <summary>
/// An operator with a bad day, turn after turn: a wrong configuration, a right one, files that are put aside and read, a
/// disk that is full, a collector and a syslog socket that come and go.
/// </summary>
internal sealed class SoakTrouble(SoakLab lab, SoakService service, ComingAndGoingCollector collector, ComingAndGoingSyslog syslog, SmallDisk disk, string events)
{
    // The disk is filled to the brim in one of so many turns.
    private const int TurnsBetweenFull = 3;
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    private int _turn;

    /// <summary>What the file of events held.</summary>
    public EventLedger Ledger { get; } = new();

    public SoakMemory Memory { get; } = new();

    public int GoodReloads { get; private set; }

    public int BadReloads { get; private set; }

    public int TimesFull { get; private set; }

    /// <summary>Until the guests made so many events; then they end.</summary>
    public async Task RunAsync(long events)
    {
        var asked = false;
        while (!lab.HaveEnded)
        {
            var page = await service.ScrapeAsync();
            Memory.Add(new(page.Records, service.ResidentBytes, page["introspect_gc_heap_bytes"], service.OpenFiles));
            if (page.Records >= events && !asked)
            {
                asked = true;
                lab.AskToEnd();
            }

            await TurnAsync(asked);
        }
    }

    /// <summary>Waits until all that was made came out, and makes room for it.</summary>
    public async Task<MetricsPage> SettleAsync(Func<MetricsPage, bool> condition)
    {
        await collector.StartAsync();
        var since = Stopwatch.StartNew();
        while (true)
        {
            var page = await service.ScrapeAsync();
            if (condition(page))
            {
                return page;
            }

            Assert.True(since.Elapsed < Patience, $"what came does not add up:\n{string.Join('\n', page.Lines("introspect_sink_"))}\nevents {page.Records}, alerts {page.Sum("introspect_rule_alerts_total")}, dropped {page.Sum("introspect_records_dropped_total")}\n{service.Log}");
            await PutAsideAsync(service.ReloadAsync);
        }
    }

    /// <summary>Reads what is left, when the service has ended.</summary>
    public void TakeTheRest() => Take(events);

    private async Task TurnAsync(bool ends)
    {
        var turn = _turn++;
        if (turn % 2 == 0)
        {
            syslog.Toggle();
        }

        if (turn % 3 == 0)
        {
            await collector.ToggleAsync();
        }

        if (turn % TurnsBetweenFull == 0 && !ends && disk.IsSmall)
        {
            await FillAsync();
        }

        var (good, bad) = (SoakPolicy.Good(turn), SoakPolicy.Bad(turn));
        service.Write(bad);
        var mistakes = await PutAsideAsync(service.ReloadAsync);
        Assert.Contains(mistakes, mistake => mistake.Contains(bad.Mistake, StringComparison.OrdinalIgnoreCase));
        BadReloads++;

        service.Write(good);
        var before = (await service.ScrapeAsync()).Records;
        mistakes = await PutAsideAsync(service.ReloadAsync);
        Assert.True(mistakes.Count == 0, string.Join('\n', mistakes));
        GoodReloads++;
        if (!ends)
        {
            // On every domain the new handlers see what the guest does now.
            await service.UntilAsync(
                page => Enumerable.Range(0, SoakLab.Count).All(domain => page.Matches(SoakLab.NameOf(domain), good.Marker!) > 0) && page.Records > before,
                $"rule {good.Marker} is in force everywhere");
        }
    }

    // Until the service says that it waits: the guests stand still, and are not to lose anything.
    private async Task FillAsync()
    {
        var blocked = (await service.ScrapeAsync()).Sink("json", "blocked_total");
        await service.UntilAsync(page => disk.IsFull && page.Sink("json", "blocked_total") > blocked, "the disk is full");
        TimesFull++;
    }

    // As logrotate does: the file gets another name, the service opens a new one, and the old one goes.
    private async Task<T> PutAsideAsync<T>(Func<Task<T>> reload)
    {
        var aside = events + ".1";
        var moved = File.Exists(events);
        if (moved)
        {
            File.Move(events, aside);
        }

        var reloads = reload();
        var since = Stopwatch.StartNew();
        while (moved && !File.Exists(events) && !(lab.HaveEnded && reloads.IsCompleted))
        {
            Assert.False(service.HasExited, $"the service ended: {service.Log}");
            Assert.True(since.Elapsed < Patience, $"the file is not opened anew; the log:\n{service.Log}");
            await Task.Delay(5);
        }

        if (moved && !(lab.HaveEnded && MovedBack(aside)))
        {
            Take(aside);
        }

        return await reloads;
    }

    // Where nothing comes any more, the service has no reason to open the file.
    private bool MovedBack(string aside)
    {
        try
        {
            File.Move(aside, events);
            return true;
        }
        catch (IOException)
        {
            return false;
        }
    }

    private void Take(string file)
    {
        if (File.Exists(file))
        {
            var text = File.ReadAllBytes(file);
            File.Delete(file);
            Ledger.Read(text);
        }
    }
}
