using System.Threading.Channels;
using Introspect.Hypervisor;
using Introspect.Rules.Handlers;

namespace Introspect.Rules.Pump;

/// <summary>
/// Watches one domain: a thread that takes each request from the ring, has the handlers decide, and answers. However
/// it ends, no event is left enabled and no request unanswered.
/// </summary>
/// <remarks>
/// The domain belongs to the caller and must outlive the pump; the monitor belongs to the pump. A pump runs once.
/// All members may be called from any thread.
/// </remarks>
public sealed class EventPump : IDisposable
{
    private readonly IDomain _domain;
    private readonly PumpOptions _options;
    private readonly PumpReporter _reporter;
    private readonly RecordPublisher _publisher;
    private readonly CancellationTokenSource _stopping = new();
    private readonly TaskCompletionSource<PumpEnd> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
    private readonly Lock _changing = new();
    private HandlerSlot[] _slots;
    private MonitorCapabilities _capabilities;
    private CpuVendor _vendor;
    private PumpSession? _session;
    private Thread? _thread;
    private bool _wasStarted;

    /// <summary>Makes a pump, and asks each handler what it wants.</summary>
    /// <param name="domain">The domain.</param>
    /// <param name="handlers">The handlers, in any order; names must differ.</param>
    /// <param name="options">Settings, or null for the defaults.</param>
    /// <param name="diagnostics">Listener, or null.</param>
    /// <exception cref="ArgumentException">A handler asks for what cannot be, or two have one name.</exception>
    public EventPump(IDomain domain, IEnumerable<HandlerRegistration> handlers, PumpOptions? options = null, IPumpDiagnostics? diagnostics = null)
    {
        ArgumentNullException.ThrowIfNull(domain);
        ArgumentNullException.ThrowIfNull(handlers);
        _domain = domain;
        _options = options ?? new();
        _options.Validate();
        _slots = HandlerSlot.MakeAll(handlers, _options, []);
        _reporter = new(diagnostics, _slots.Length);
        Statistics = new(_options.Clock, Array.ConvertAll(_slots, slot => slot.Statistics));
        _publisher = new(_options, Statistics, _stopping.Token);
    }

    /// <summary>Counters, readable at any time.</summary>
    public PumpStatistics Statistics { get; }

    /// <summary>Records of handled events. Completes when the pump has ended.</summary>
    public ChannelReader<EventRecord> Records => _publisher.Reader;

    /// <summary>What the pump has enabled, as it was started; null before.</summary>
    public WatchedEvents? Watched { get; private set; }

    /// <summary>Completes, never failing, when the pump has ended and left nothing behind.</summary>
    public Task<PumpEnd> Completion => _completion.Task;

    /// <summary>
    /// Enables the monitor and all that the handlers want, with the domain paused meanwhile, and starts the thread.
    /// </summary>
    /// <exception cref="PumpStartException">What the handlers want cannot be had; the text says all of it.</exception>
    /// <exception cref="HypervisorException">The monitor cannot be enabled: EBUSY, ESRCH, EPERM…</exception>
    public void Start()
    {
        lock (_gate)
        {
            if (_wasStarted)
            {
                throw new InvalidOperationException("a pump runs once; make another one");
            }

            _wasStarted = true;
            try
            {
                Attach();
            }
            catch (Exception failure)
            {
                _publisher.Complete(null);
                _completion.TrySetResult(new(PumpEndKind.Failed, failure));
                throw;
            }
        }
    }

    /// <summary>
    /// Stops: disables everything, answers what is left, and returns when the domain is as if never watched. Does
    /// nothing when that has happened already. Called from a handler it only asks for the stop.
    /// </summary>
    public void Stop()
    {
        Thread? thread;
        PumpSession? session;
        lock (_gate)
        {
            if (!_wasStarted)
            {
                _wasStarted = true;
                _publisher.Complete(null);
                _completion.TrySetResult(new(PumpEndKind.Stopped));
            }

            _stopping.Cancel();
            (thread, session) = (_thread, _session);
            session?.Wake();
        }

        if (thread is null || session is null || Thread.CurrentThread == thread)
        {
            return;
        }

        var patience = Environment.TickCount64 + (long)_options.StopTimeout.TotalMilliseconds;
        while (!_completion.Task.Wait(TimeSpan.FromMilliseconds(20)))
        {
            if (Environment.TickCount64 >= patience && session.TryTakeOver())
            {
                // A handler does not return. Its thread may not touch the monitor again, so that this one can.
                _reporter.Tell(PumpDiagnosticKind.PumpFailed, $"a handler of domain {_domain.Id} did not return; its event is answered for it");
                End(session, null);
            }
        }
    }

    /// <summary>
    /// Finds out whether other handlers could take over, and asks each new one what it wants. Nothing changes yet. A
    /// handler that is registered in the same way as before goes on with its state and counters; another one of the same
    /// name, with the counters.
    /// </summary>
    /// <exception cref="ArgumentException">A handler asks for what cannot be, or two have one name.</exception>
    /// <exception cref="PumpStartException">What the handlers want cannot be had; the text says all of it.</exception>
    /// <exception cref="InvalidOperationException">The pump was not started.</exception>
    public PumpChange Prepare(IEnumerable<HandlerRegistration> handlers)
    {
        ArgumentNullException.ThrowIfNull(handlers);
        if (Volatile.Read(ref _session) is null)
        {
            throw new InvalidOperationException("a pump that does not run has nothing to change");
        }

        var slots = HandlerSlot.MakeAll(handlers, _options, Volatile.Read(ref _slots));
        return new(this, slots, MakePlan(slots));
    }

    /// <summary>
    /// Puts prepared handlers in force between two events and returns then. The domain stands still meanwhile: no event is
    /// missed, and none is judged twice. What both want stays enabled.
    /// </summary>
    /// <exception cref="PumpStartException">The hypervisor refused, or the pump ended; the old handlers stay.</exception>
    /// <exception cref="HypervisorException">The domain could not be paused; the old handlers stay.</exception>
    /// <exception cref="TimeoutException">A handler, a sink or a vCPU's step did not end in <see cref="PumpOptions.StopTimeout"/>; the old handlers stay.</exception>
    public void Apply(PumpChange change)
    {
        ArgumentNullException.ThrowIfNull(change);
        if (change.Pump != this)
        {
            throw new ArgumentException("the change was prepared for another pump", nameof(change));
        }

        lock (_changing)
        {
            _session!.Post(change);
            if (WaitForEither(change.Done, _completion.Task) && !change.Done.IsCompleted)
            {
                throw new PumpStartException($"watching domain {_domain.Id} ended before its handlers were changed");
            }

            if (!change.Done.IsCompleted && change.TryWithdraw())
            {
                throw new TimeoutException($"the pump of domain {_domain.Id} was busy for {_options.StopTimeout.TotalSeconds:0.###} s; its handlers stay");
            }

            // Taken in the last moment: only the hypervisor is asked any more.
            change.Done.GetAwaiter().GetResult();
            Volatile.Write(ref _slots, change.Slots);
            Tell(change.Plan);
        }
    }

    /// <summary>Finds what is wrong with handlers before there is a domain for them.</summary>
    /// <exception cref="ArgumentException">A handler asks for what cannot be, or two have one name.</exception>
    public static void Check(IEnumerable<HandlerRegistration> handlers)
    {
        ArgumentNullException.ThrowIfNull(handlers);
        HandlerSlot.MakeAll(handlers, new(), []);
    }

    /// <inheritdoc/>
    public void Dispose() => Stop();

    /// <summary>Waits for the thread itself, which after a take-over ends later than the pump.</summary>
    internal bool JoinThread(TimeSpan patience) => _thread?.Join(patience) ?? true;

    private bool WaitForEither(Task done, Task ended) => Task.WaitAny([done, ended], _options.StopTimeout) >= 0;

    private SubscriptionPlan MakePlan(HandlerSlot[] slots) =>
        SubscriptionPlan.Make([.. slots.Select(slot => (slot.Name, slot.Subscription))], _capabilities, _vendor);

    private void Tell(SubscriptionPlan plan)
    {
        foreach (var note in plan.Notes)
        {
            _reporter.Tell(PumpDiagnosticKind.SubscriptionMerged, note);
        }

        foreach (var missing in plan.Missing)
        {
            _reporter.Tell(PumpDiagnosticKind.EventUnsupported, missing);
        }
    }

    private void Attach()
    {
        // Pauses nest: this one keeps the guest still between the enabling of the ring and that of the last event.
        _domain.Pause();
        try
        {
            var monitor = _domain.EnableMonitor();
            PumpSession? session = null;
            try
            {
                (_capabilities, _vendor) = (monitor.Capabilities, _domain.GetInfo().Vendor);
                var plan = MakePlan(_slots);
                Tell(plan);
                session = new PumpSession(_domain, monitor, plan, new(_slots, Statistics, _reporter, _options), _publisher, Statistics, _reporter, _options);
                session.Attach();
                Watched = WatchedEvents.Of(session.Enabled, [.. _slots.Select(slot => slot.Subscription)]);
                _thread = new Thread(Run) { IsBackground = true, Name = $"pump {_domain.Id}" };
                _session = session;
                _thread.Start(session);
            }
            catch
            {
                (_thread, _session) = (null, null);
                if (session is not null)
                {
                    session.TearDown();
                }
                else
                {
                    monitor.Dispose();
                }

                throw;
            }
        }
        finally
        {
            try
            {
                _domain.Unpause();
            }
            catch (HypervisorException refused)
            {
                _reporter.Tell(PumpDiagnosticKind.OperationFailed, $"unpausing domain {_domain.Id} was refused: {refused.Message}", refused);
            }
        }

        _reporter.Tell(PumpDiagnosticKind.Started, $"watching domain {_domain.Id}");
    }

    private void Run(object? argument)
    {
        var session = (PumpSession)argument!;
        Exception? failure = null;
        try
        {
            session.Run(_stopping.Token);
        }
#pragma warning disable CA1031 // Whatever happened, the domain must be left in order.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            failure = exception;
        }

        if (!session.WasTakenOver)
        {
            End(session, failure);
        }
    }

    private void End(PumpSession session, Exception? failure)
    {
        session.TearDown();
        var end = session.IsDomainGone || failure is HypervisorException { Error: Errno.ESRCH } ? new PumpEnd(PumpEndKind.DomainGone, failure)
            : failure is not null ? new PumpEnd(PumpEndKind.Failed, failure)
            : new PumpEnd(PumpEndKind.Stopped);
        var (kind, message) = end.Kind switch
        {
            PumpEndKind.DomainGone => (PumpDiagnosticKind.DomainGone, $"domain {_domain.Id} is gone"),
            PumpEndKind.Failed => (PumpDiagnosticKind.PumpFailed, $"watching domain {_domain.Id} failed: {failure!.Message}"),
            _ => (PumpDiagnosticKind.Stopped, $"domain {_domain.Id} is no longer watched"),
        };
        _reporter.Tell(kind, message, failure);
        _publisher.Complete(null);
        _completion.TrySetResult(end);
    }
}
