using Introspect.Daemon.Cli;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Output;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Tracing;

/// <summary>
/// One trace: attaches to a domain, lets it run, shows events and console as they come, and ends when the guest
/// does, or the user, or a limit.
/// </summary>
internal sealed class TraceSession(TraceRequest request, HypervisorSession hypervisor, ITraceOutput output, TimeProvider time)
{
    // Records that wait for the output. A terminal shows some thousand lines a second; a guest makes a million.
    private const int RecordCapacity = 1 << 16;

    private static readonly TimeSpan ConsoleInterval = TimeSpan.FromMilliseconds(20);

    private DomainInfo _info = null!;
    private long _shown;

    /// <summary>Runs the trace to its end.</summary>
    /// <returns>The exit code.</returns>
    /// <exception cref="UserError">There is no such domain.</exception>
    /// <exception cref="HypervisorException">The hypervisor refused to have the domain watched.</exception>
    public async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        using var domain = Open();
        _info = domain.GetInfo();
        var console = hypervisor.Console is { } source ? new ConsoleReader(source, domain.Id) : null;
        using var pump = new EventPump(domain, Handlers(), new() { RecordCapacity = RecordCapacity, RecordPolicy = request.Lossless ? RecordPolicy.Block : RecordPolicy.DropNewest });
        using var limits = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var started = time.GetTimestamp();
        try
        {
            pump.Start();
        }
        catch (PumpStartException e)
        {
            throw UserError.Failure($"domain {_info.Id}: {e.Message}; leave those events out, or use --all, which takes what there is", e);
        }

        string end;
        try
        {
            var ended = EndOfDomainAsync(domain.Id, limits.Token);
            hypervisor.Start();
            if (request.Duration is { } duration)
            {
                limits.CancelAfter(duration);
            }

            end = await ShowAsync(pump, console, ended, limits.Token).ConfigureAwait(false)
                ?? (cancellationToken.IsCancellationRequested ? "interrupted" : "duration");
        }
        finally
        {
            // Whatever happened (a closed pipe, too), the guest must not stay stopped.
            pump.Stop();
            await limits.CancelAsync().ConfigureAwait(false);
        }

        var elapsed = time.GetElapsedTime(started);
        ShowRecords(pump);
        ShowConsole(console, toEnd: true);
        output.Summary(Summarise(pump.Statistics, end, elapsed));
        output.Flush();
        return end == "failure" ? ExitCode.Failure : ExitCode.Ok;
    }

    private IDomain Open()
    {
        var reference = request.Domain ?? hypervisor.Built
            ?? throw new InvalidOperationException("a trace without a domain and without a guest that was built");
        try
        {
            return hypervisor.Hypervisor.Open(reference);
        }
        catch (HypervisorException e) when (e.Error == Errno.ESRCH)
        {
            throw UserError.Failure($"domain '{reference}': there is none; 'introspect list' shows those that are there", e);
        }
    }

    private List<HandlerRegistration> Handlers()
    {
        var (selection, steps, everything) = request.Choice;
        if (selection.IsEmpty)
        {
            (selection, steps, everything) = EventPresets.For(hypervisor.Demo);
        }

        var handlers = new List<HandlerRegistration> { new(new TraceHandler(selection, steps, everything, hypervisor.Demo), Order: 1000) };
        if (request.DenyProtectionClears)
        {
            handlers.Add(new(new ProtectCr4Handler(), Order: 0));
        }

        return handlers;
    }

    // Shows what comes until the trace ends by itself; null when it was cancelled.
    private async Task<string?> ShowAsync(EventPump pump, ConsoleReader? console, Task<string> ended, CancellationToken cancellationToken)
    {
        var more = pump.Records.WaitToReadAsync(CancellationToken.None).AsTask();
        while (true)
        {
            var tick = Task.Delay(ConsoleInterval, time, cancellationToken);
            await Task.WhenAny(more, ended, tick).ConfigureAwait(false);
            ShowRecords(pump);
            ShowConsole(console, toEnd: false);
            output.Flush();
            if (request.Count is { } count && _shown >= count)
            {
                return "count";
            }

            if (ended.IsCompletedSuccessfully)
            {
                return await ended.ConfigureAwait(false);
            }

            if (pump.Completion.IsCompleted)
            {
                return await EndOfPumpAsync(pump, ended).ConfigureAwait(false);
            }

            if (cancellationToken.IsCancellationRequested)
            {
                return null;
            }

            if (more.IsCompleted)
            {
                more = pump.Records.WaitToReadAsync(CancellationToken.None).AsTask();
            }
        }
    }

    private static async Task<string> EndOfPumpAsync(EventPump pump, Task<string> ended)
    {
        var end = await pump.Completion.ConfigureAwait(false);
        if (end.Kind != PumpEndKind.DomainGone)
        {
            throw UserError.Failure($"the trace failed: {end.Exception?.Message ?? "its pump ended"}; 'introspect recover' frees the domain", end.Exception);
        }

        // The hypervisor tells how it ended, unless that was too quick.
        return await Task.WhenAny(ended, Task.Delay(TimeSpan.FromSeconds(1))).ConfigureAwait(false) == ended && ended.IsCompletedSuccessfully
            ? await ended.ConfigureAwait(false)
            : "destroyed";
    }

    private async Task<string> EndOfDomainAsync(DomainId id, CancellationToken cancellationToken)
    {
        await foreach (var change in hypervisor.Hypervisor.WatchAsync(cancellationToken).ConfigureAwait(false))
        {
            if (change.Domain.Id == id && change.Kind == DomainChangeKind.Ended)
            {
                return change.Domain.State.ToString().ToLowerInvariant();
            }
        }

        return "destroyed";
    }

    private void ShowRecords(EventPump pump)
    {
        while ((request.Count is not { } count || _shown < count) && pump.Records.TryRead(out var record))
        {
            output.Event(record, _info);
            _shown++;
        }
    }

    private void ShowConsole(ConsoleReader? console, bool toEnd) => console?.Read(line => output.Console(_info, line), toEnd);

    private TraceSummary Summarise(PumpStatistics statistics, string end, TimeSpan elapsed)
    {
        var byReason = new List<(VmEventReason Reason, long Count)>();
        for (var reason = 0; reason < PumpStatistics.ReasonCount; reason++)
        {
            if (statistics.Events((VmEventReason)reason) is var count and not 0)
            {
                byReason.Add(((VmEventReason)reason, count));
            }
        }

        return new()
        {
            Domain = _info.Id,
            End = end,
            ByReason = [.. byReason.OrderByDescending(r => r.Count).ThenBy(r => r.Reason)],
            Elapsed = elapsed,
            VcpuPaused = statistics.VcpuPausedTime,
            Dropped = statistics.DroppedRecords,
            Malformed = statistics.MalformedRequests,
        };
    }
}
