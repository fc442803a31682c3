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
    private readonly HandlerSlot[] _slots;
    private readonly RecordPublisher _publisher;
    private readonly CancellationTokenSource _stopping = new();
    private readonly TaskCompletionSource<PumpEnd> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _gate = new();
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
        _slots = MakeSlots(handlers, _options);
        _reporter = new(diagnostics, _slots.Length);
        Statistics = new(_options.Clock, Array.ConvertAll(_slots, slot => slot.Statistics));
        _publisher = new(_options, Statistics, _stopping.Token);
    }

    /// <summary>Counters, readable at any time.</summary>
    public PumpStatistics Statistics { get; }

    /// <summary>Records of handled events. Completes when the pump has ended.</summary>
    public ChannelReader<EventRecord> Records => _publisher.Reader;

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

    /// <inheritdoc/>
    public void Dispose() => Stop();

    /// <summary>Waits for the thread itself, which after a take-over ends later than the pump.</summary>
    internal bool JoinThread(TimeSpan patience) => _thread?.Join(patience) ?? true;

    private static HandlerSlot[] MakeSlots(IEnumerable<HandlerRegistration> handlers, PumpOptions options)
    {
        var ordered = handlers.OrderBy(registration => registration.Order).ThenBy(registration => registration.Handler.Name, StringComparer.Ordinal).ToArray();
        if (ordered.GroupBy(registration => registration.Handler.Name, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1) is { } twins)
        {
            throw new ArgumentException($"{twins.Count()} handlers are called {twins.Key}; give each its own name", nameof(handlers));
        }

        return Array.ConvertAll(ordered, registration =>
        {
            var builder = new SubscriptionBuilder(registration.Handler.Name);
            registration.Handler.Subscribe(builder);
            return new HandlerSlot(registration, builder.Build(), options);
        });
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
                var plan = SubscriptionPlan.Make([.. _slots.Select(slot => (slot.Name, slot.Subscription))], monitor.Capabilities, _domain.GetInfo().Vendor);
                foreach (var note in plan.Notes)
                {
                    _reporter.Tell(PumpDiagnosticKind.SubscriptionMerged, note);
                }

                foreach (var missing in plan.Missing)
                {
                    _reporter.Tell(PumpDiagnosticKind.EventUnsupported, missing);
                }

                session = new PumpSession(_domain, monitor, plan, new(_slots, Statistics, _reporter, _options), _publisher, Statistics, _reporter, _options);
                session.Attach();
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
