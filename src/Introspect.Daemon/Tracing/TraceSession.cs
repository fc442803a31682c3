using Introspect.Daemon.Cli;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Output;
using Introspect.Daemon.Symbols;
using Introspect.Hypervisor;
using Introspect.Rules.Capture;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Tracing;

/// <summary>
/// One trace: attaches to a domain, lets it run, shows events and console as they come, and ends when the guest
/// does, or the user, or a limit.
/// </summary>
/// <param name="request">What to trace.</param>
/// <param name="hypervisor">Where it is.</param>
/// <param name="symbols">Names of addresses, for places that the request names.</param>
/// <param name="output">Where it is shown.</param>
/// <param name="time">The clock.</param>
/// <param name="memory">Takes memory at each event, where it is wanted.</param>
internal sealed class TraceSession(TraceRequest request, HypervisorSession hypervisor, ISymbolSource? symbols, ITraceOutput output, TimeProvider time, MemoryRecorder? memory = null)
{
    // Records that wait for the output. A terminal shows some thousand lines a second; a guest makes a million.
    private const int RecordCapacity = 1 << 16;

    // Events that are in hands when the channel is full: a ring's worth.
    private const int RecordsInHands = 64;

    // The console has no place in the order of events; looking often enough keeps its lines near what they are about.
    private const int RecordsBetweenConsole = 16;

    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(50);

    private DomainInfo _info = null!;
    private ReasonCounter _counter = null!;
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
        _counter = new(_info.Vendor);
        _console = hypervisor.Console is { } source ? new(source, domain.Id) : null;
        using var pump = new EventPump(domain, Handlers(domain), new() { RecordCapacity = Capacity, RecordPolicy = request.Lossless ? RecordPolicy.Block : RecordPolicy.DropNewest });
        using var limits = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var started = time.GetTimestamp();
        try
        {
            pump.Start();
        }
        catch (PumpStartException e)
        {
            throw UserError.Failure(e.Unsupported.Count != 0
                ? $"domain {_info.Id}: this hypervisor does not offer {string.Join(", ", e.Unsupported)} on it; leave them out, or use --all, which takes what there is"
                : request.Choice.Selection.InView && e.InnerException is HypervisorException { Error: Errno.EOPNOTSUPP }
                    ? $"domain {_info.Id}: this hypervisor has no altp2m views for it; leave --view out"
                    : $"domain {_info.Id}: {e.Message}; leave that out", e);
        }

        string end;
        try
        {
            output.Begin(new(_info, hypervisor.Hypervisor.Info, time.GetUtcNow().UtcDateTime - time.GetElapsedTime(started), pump.Watched ?? new()));
            hypervisor.Start();
            if (request.Unpause)
            {
                domain.Unpause();
            }

            if (request.Duration is { } duration)
            {
                limits.CancelAfter(duration);
            }

            end = await ShowAsync(pump, domain, limits.Token).ConfigureAwait(false)
                ?? (cancellationToken.IsCancellationRequested ? "interrupted" : "duration");
            await StopAsync(pump).ConfigureAwait(false);
        }
        finally
        {
            // Whatever happened (a closed pipe, a full disk, too), the guest must not stay stopped; nor does it wait for
            // room for records that nobody will show.
            _ = DiscardAsync(pump);
            pump.Stop();
        }

        var elapsed = time.GetElapsedTime(started);
        ShowConsole(toEnd: true);
        output.Summary(Summarise(pump.Statistics, end, elapsed));
        output.Flush();
        return ExitCode.Ok;
    }

    private int Capacity => memory is null ? RecordCapacity : Math.Max(1, memory.Capacity - RecordsInHands);

    private bool HasEnough => output.IsFull || (request.Count is { } count && _shown >= count);

    // Shows what comes while the pump stops: a record that waits for room would be dropped else.
    private async Task StopAsync(EventPump pump)
    {
        var stopping = Task.Run(pump.Stop, CancellationToken.None);
        var more = pump.Records.WaitToReadAsync(CancellationToken.None).AsTask();
        while (!HasEnough && await Task.WhenAny(more, stopping).ConfigureAwait(false) == more && await more.ConfigureAwait(false))
        {
            ShowRecords(pump);
            more = pump.Records.WaitToReadAsync(CancellationToken.None).AsTask();
        }

        if (HasEnough)
        {
            _ = DiscardAsync(pump);
        }

        await stopping.ConfigureAwait(false);
        ShowRecords(pump);
    }

    private static async Task DiscardAsync(EventPump pump)
    {
        while (await pump.Records.WaitToReadAsync(CancellationToken.None).ConfigureAwait(false))
        {
            while (pump.Records.TryRead(out _))
            {
                // Nobody wants it.
            }
        }
    }

    private IDomain Open()
    {
        var reference = request.Domain ?? hypervisor.Built
            ?? throw new InvalidOperationException("a trace without a domain and without a guest that was built");
        return hypervisor.OpenDomain(reference);
    }

    private List<HandlerRegistration> Handlers(IDomain domain)
    {
        var choice = request.Choice;
        if (choice.IsEmpty)
        {
            var preset = EventPresets.For(hypervisor.Demo);
            choice = preset with { Selection = preset.Selection with { AddressSpaces = choice.Selection.AddressSpaces } };
        }

        var (selection, from) = (choice.Selection, default(GuestPhysical?));
        if (!choice.Places.IsEmpty)
        {
            (selection, from) = new PlaceResolver(domain, symbols, selection.AddressSpaces, hypervisor.LoadAddress).Resolve(choice);
        }

        IEventHandler trace = new TraceHandler(selection, choice.Steps, choice.Everything, hypervisor.Demo, from);
        var handlers = new List<HandlerRegistration> { new(memory?.Around(trace) ?? trace, Order: 1000) };
        if (request.DenyProtectionClears)
        {
            handlers.Add(new(new ProtectCr4Handler(), Order: 0));
        }

        return handlers;
    }

    // Shows what comes until the trace ends by itself; null when it was cancelled.
    private async Task<string?> ShowAsync(EventPump pump, IDomain domain, CancellationToken cancellationToken)
    {
        while (true)
        {
            // Not woken by each event: with one processor for both, that would cost more than the event itself.
            await Task.Delay(PollInterval, time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            var before = _shown;
            ShowRecords(pump);

            // A guest that sends events has not ended; to ask costs more than many of them, since it asks xenstored, too.
            var end = _shown == before ? FindEnd(domain) : null;
            ShowConsole(toEnd: false);
            output.Flush();
            if (HasEnough)
            {
                return output.IsFull ? "max_size" : "count";
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
        while (!HasEnough && pump.Records.TryRead(out var record))
        {
            output.Event(record, _info);
            if (output.IsFull)
            {
                return;
            }

            _counter.Count(record);
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
        ByReason = _counter.ByReason,
        Reasons = _counter.Reasons,
        Elapsed = elapsed,
        VcpuPaused = statistics.VcpuPausedTime,
        Dropped = statistics.DroppedRecords,
        Malformed = statistics.MalformedRequests,
    };
}
