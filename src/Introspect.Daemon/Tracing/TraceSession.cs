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

    // The console has no place in the order of events; looking often enough keeps its lines near what they are about.
    private const int RecordsBetweenConsole = 16;

    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(20);

    private readonly long[] _shownByReason = new long[PumpStatistics.ReasonCount];
    private DomainInfo _info = null!;
    private ConsoleReader? _console;
    private long _shown;

    /// <summary>Runs the trace to its end.</summary>
    /// <returns>The exit code.</returns>
    /// <exception cref="UserError">There is no such domain.</exception>
    /// <exception cref="HypervisorException">The hypervisor refused to have the domain watched.</exception>
    public async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        using var domain = Open();
        _info = domain.GetInfo();
        _console = hypervisor.Console is { } source ? new(source, domain.Id) : null;
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
            hypervisor.Start();
            if (request.Duration is { } duration)
            {
                limits.CancelAfter(duration);
            }

            end = await ShowAsync(pump, domain, limits.Token).ConfigureAwait(false)
                ?? (cancellationToken.IsCancellationRequested ? "interrupted" : "duration");
        }
        finally
        {
            // Whatever happened (a closed pipe, too), the guest must not stay stopped.
            pump.Stop();
        }

        var elapsed = time.GetElapsedTime(started);
        ShowRecords(pump);
        ShowConsole(toEnd: true);
        output.Summary(Summarise(pump.Statistics, end, elapsed));
        output.Flush();
        return ExitCode.Ok;
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
    private async Task<string?> ShowAsync(EventPump pump, IDomain domain, CancellationToken cancellationToken)
    {
        var more = pump.Records.WaitToReadAsync(CancellationToken.None).AsTask();
        while (true)
        {
            await Task.WhenAny(more, Task.Delay(PollInterval, time, cancellationToken)).ConfigureAwait(false);
            var end = FindEnd(domain);
            ShowRecords(pump);
            ShowConsole(toEnd: false);
            output.Flush();
            if (request.Count is { } count && _shown >= count)
            {
                return "count";
            }

            if (end is not null)
            {
                return end;
            }

            if (pump.Completion.IsCompleted && await pump.Completion.ConfigureAwait(false) is var ended)
            {
                return ended.Kind == PumpEndKind.DomainGone ? "destroyed"
                    : throw UserError.Failure($"the trace failed: {ended.Exception?.Message ?? "its pump ended"}; 'introspect recover' frees the domain", ended.Exception);
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

    // How the guest ended; null while it goes on.
    private static string? FindEnd(IDomain domain)
    {
        try
        {
            return domain.GetInfo().State is var state and (DomainState.PowerOff or DomainState.Reboot or DomainState.Suspend or DomainState.Crash or DomainState.Dying)
                ? state.ToString().ToLowerInvariant()
                : null;
        }
        catch (HypervisorException e) when (e.Error == Errno.ESRCH)
        {
            return "destroyed";
        }
    }

    private void ShowRecords(EventPump pump)
    {
        while ((request.Count is not { } count || _shown < count) && pump.Records.TryRead(out var record))
        {
            output.Event(record, _info);
            _shownByReason[(uint)record.Reason < PumpStatistics.ReasonCount ? (int)record.Reason : 0]++;
            if (++_shown % RecordsBetweenConsole == 0)
            {
                ShowConsole(toEnd: false);
            }
        }
    }

    private void ShowConsole(bool toEnd) => _console?.Read(line => output.Console(_info, line), toEnd);

    // By what was shown: the pump's own counters have its own single steps in them.
    private TraceSummary Summarise(PumpStatistics statistics, string end, TimeSpan elapsed) => new()
    {
        Domain = _info.Id,
        End = end,
        ByReason =
        [
            .. _shownByReason.Select((count, reason) => (Reason: (VmEventReason)reason, Count: count))
                .Where(r => r.Count != 0).OrderByDescending(r => r.Count).ThenBy(r => r.Reason),
        ],
        Elapsed = elapsed,
        VcpuPaused = statistics.VcpuPausedTime,
        Dropped = statistics.DroppedRecords,
        Malformed = statistics.MalformedRequests,
    };
}
