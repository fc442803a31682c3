using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Responses;

namespace Introspect.Rules.Pump;

/// <summary>
/// The pump's work on an enabled monitor: the loop, and the tear-down. One thread at a time is in it; the one that
/// stops may take it over while another is stuck in a handler.
/// </summary>
internal sealed partial class PumpSession
{
    private const int Pumping = 0;
    private const int InHandlers = 1;
    private const int TakenOver = 2;

    private readonly IDomain _domain;
    private readonly IMonitor _monitor;
    private readonly RecordPublisher _publisher;
    private readonly PumpStatistics _statistics;
    private readonly PumpReporter _reporter;
    private readonly PumpOptions _options;
    private readonly TimeProvider _clock;
    private readonly PumpAttachment _attachment;
    private readonly MemoryAccessStepper _stepper;
    private readonly ResponseBuilder _builder;
    private readonly EventRecord[] _batch;
    private readonly int _vcpus;
    private readonly long _started;
    private HandlerChain _chain;
    private int _owner;
    private bool _inFlight;
    private bool _isTornDown;
    private long _malformedSeen;
    private ulong _sequence;
    private VmEvent _request;
    private VmEvent _response;

    public PumpSession(
        IDomain domain,
        IMonitor monitor,
        SubscriptionPlan plan,
        HandlerChain chain,
        RecordPublisher publisher,
        PumpStatistics statistics,
        PumpReporter reporter,
        PumpOptions options)
    {
        _domain = domain;
        _monitor = monitor;
        _chain = chain;
        _publisher = publisher;
        _statistics = statistics;
        _reporter = reporter;
        _options = options;
        _clock = options.Clock;
        _vcpus = domain.GetInfo().VcpuCount;
        _stepper = new(domain, monitor, plan, _vcpus, OperationFailed);
        _attachment = new(monitor, plan, domain.Id, _stepper);
        _builder = new(domain, _stepper, options.MemoryAccessPolicy, statistics, OperationFailed);
        _batch = new EventRecord[Math.Max(1, monitor.RingSize)];
        _started = _clock.GetTimestamp();
        statistics.CountRingSize(monitor.RingSize);
    }

    /// <summary>The domain went away.</summary>
    public bool IsDomainGone { get; private set; }

    /// <summary>What is enabled.</summary>
    public IReadOnlyList<MonitorEvent> Enabled => _attachment.Enabled;

    /// <summary>Another thread has taken the session over: this one must not touch anything.</summary>
    public bool WasTakenOver => Volatile.Read(ref _owner) == TakenOver;

    /// <summary>Enables what the handlers want.</summary>
    public void Attach() => _attachment.Attach(message => _reporter.Tell(PumpDiagnosticKind.EventUnsupported, message));

    /// <summary>Takes the session away from a thread that is in a handler.</summary>
    public bool TryTakeOver() => Interlocked.CompareExchange(ref _owner, TakenOver, InHandlers) == InHandlers;

    /// <summary>Pumps until told to stop, taken over, or failing.</summary>
    public void Run(CancellationToken stopping)
    {
        while (!stopping.IsCancellationRequested)
        {
            var signalled = _monitor.Wait(_options.IdleInterval, _attention.Token);
            _statistics.MarkActivity(_clock.GetTimestamp());
            if (!Change())
            {
                return;
            }

            if (!signalled)
            {
                // A ring falls silent when its domain goes: ask. One that dies cannot end while its ring is mapped.
                if (!stopping.IsCancellationRequested && _domain.GetInfo().State == DomainState.Dying)
                {
                    IsDomainGone = true;
                    return;
                }

                continue;
            }

            // All of the ring at each wake-up: what is left would wait for a signal that may never come.
            int waiting;
            while (!stopping.IsCancellationRequested && (waiting = _monitor.UnconsumedRequests) > 0)
            {
                if (!RunBatch(waiting) || !Change())
                {
                    return;
                }
            }

            if (_attachment.HasSpareSteps)
            {
                _attachment.DropSpareSteps(Attempt);
            }
        }
    }

    /// <summary>
    /// Disables everything, answers everything, and lets go of the monitor. Goes on whatever is refused meanwhile.
    /// </summary>
    public void TearDown()
    {
        if (_isTornDown)
        {
            return;
        }

        _isTornDown = true;
        EndChange();
        var stepping = _stepper.AnyStepping;
        Quiesce(keepSteps: stepping);
        if (stepping && !IsDomainGone)
        {
            // A vCPU that steps can only be told to stop in a response, so that its step has to be waited for.
            var patience = Environment.TickCount64 + (long)_options.StopTimeout.TotalMilliseconds;
            while (_stepper.AnyStepping && !IsDomainGone && Environment.TickCount64 < patience)
            {
                Attempt("waiting for a step", () => _monitor.Wait(TimeSpan.FromMilliseconds(20), CancellationToken.None));
                AnswerRemaining();
            }

            if (_stepper.AnyStepping && !IsDomainGone)
            {
                _reporter.Tell(PumpDiagnosticKind.OperationFailed, $"a vCPU of domain {_domain.Id} made no step; it is left single-stepping until it runs again");
            }

            Quiesce(keepSteps: false);
        }

        try
        {
            _monitor.Dispose();
        }
#pragma warning disable CA1031 // Nothing is left that could be done about it, and the caller must learn that the pump has ended.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            NoteFailure("letting go of the monitor", exception);
        }
    }

    // What is in the ring when everything is disabled is answered without asking handlers: they are unsubscribed.
    private void Quiesce(bool keepSteps)
    {
        var paused = Attempt("pausing the domain", _domain.Pause);
        _attachment.Detach(_stepper, keepSteps, Attempt);
        _builder.NothingEnabled = true;
        _stepper.Abandon();
        AnswerRemaining();
        if (paused)
        {
            Attempt("unpausing the domain", _domain.Unpause);
        }
    }

    private void AnswerRemaining()
    {
        if (IsDomainGone)
        {
            return;
        }

        // One that a thread that was taken over, or an exception, left without an answer comes first.
        if (_inFlight)
        {
            _inFlight = false;
            Attempt("answering a request", AnswerNeutrally);
        }

        for (var limit = 64 * _batch.Length; limit > 0 && Attempt("taking a request", TakeNext) && _inFlight; limit--)
        {
            _inFlight = false;
            CountRequest();
            _statistics.CountInternal();
            Attempt("answering a request", AnswerNeutrally);
        }

        // Also without any answer here: those of the last batch may not have been told.
        Attempt("notifying the hypervisor", _monitor.Notify);
    }

    private void TakeNext() => _inFlight = _monitor.TryTake(out _request);

    private void AnswerNeutrally()
    {
        // Not the field: a thread that was taken over may still write there.
        var response = _request;
        if (IsSane())
        {
            var context = new HandlerContext(_domain, in _request, ref response, _clock.GetUtcNow().UtcDateTime);
            BuildOrEcho(Verdict.Pass, false, ref context, ref response);
        }
        else
        {
            ResponseBuilder.BuildEcho(in _request, ref response);
        }

        _monitor.Respond(in response);
        _statistics.CountResponse(response.Flags, 0);
    }

    private bool RunBatch(int waiting)
    {
        var start = _clock.GetTimestamp();
        var wall = _clock.GetUtcNow().UtcDateTime;
        _statistics.CountBatch(waiting);
        int taken = 0, recorded = 0, paused = 0;
        long pausedSince = 0;
        var now = start;
        while (taken < _batch.Length && _monitor.TryTake(out _request))
        {
            _inFlight = true;

            // What was in the ring at the wake-up has stood still since then; what came later, since now.
            var since = taken < waiting ? start : now;
            taken++;
            var time = wall + _clock.GetElapsedTime(start, now);
            if (!HandleRequest(time, ref now, ref _batch[recorded], out var isRecorded))
            {
                return false;
            }

            if ((_request.Flags & VmEventFlags.VcpuPaused) != 0)
            {
                paused++;
                pausedSince += since;
            }

            if (isRecorded)
            {
                // The end is known after the notification.
                _batch[recorded++].PausedTime = new(since);
            }
        }

        if (taken > 0)
        {
            _monitor.Notify();
        }

        var end = _clock.GetTimestamp();
        _statistics.CountPaused((paused * end) - pausedSince);
        _statistics.MarkActivity(end);
        CountSkipped();
        for (var i = 0; i < recorded; i++)
        {
            ref var record = ref _batch[i];
            record.PausedTime = record.IsSync ? _clock.GetElapsedTime(record.PausedTime.Ticks, end) : TimeSpan.Zero;
            _publisher.Publish(in record);
        }

        return true;
    }

    // Returns false when another thread took over; the request is then answered there.
    private bool HandleRequest(DateTime time, ref long now, ref EventRecord record, out bool isRecorded)
    {
        var start = now;
        isRecorded = false;
        CountRequest();
        _response = _request;
        var judgement = new Judgement(Verdict.Pass, -1, false, false);
        if (IsSane() && _stepper.MustComeAgain(in _request))
        {
            ResponseBuilder.BuildEcho(in _request, ref _response);
        }
        else if (IsSane())
        {
            var context = new HandlerContext(_domain, in _request, ref _response, time) { Sequence = _sequence + 1 };
            var isOwnStep = _request.Reason == VmEventReason.Singlestep && !_stepper.HandlerWantsSteps(_request.VcpuId);
            if (!isOwnStep)
            {
                Volatile.Write(ref _owner, InHandlers);
                judgement = _chain.Judge(in _request, ref context, start);
                if (Interlocked.CompareExchange(ref _owner, Pumping, InHandlers) != InHandlers)
                {
                    return false;
                }
            }

            var mayStep = judgement.Handler >= 0 && _chain.Slots[judgement.Handler].Subscription.MayStep;
            if (!BuildOrEcho(judgement.Verdict, mayStep, ref context, ref _response) && !judgement.FromPolicy)
            {
                VerdictIgnored(judgement);
            }
        }
        else
        {
            ResponseBuilder.BuildEcho(in _request, ref _response);
        }

        _monitor.Respond(in _response);
        _inFlight = false;
        now = _clock.GetTimestamp();
        _statistics.CountResponse(_response.Flags, now - start);
        if (!judgement.WasSeen)
        {
            _statistics.CountInternal();
        }
        else if (_options.RecordPolicy != RecordPolicy.None)
        {
            isRecorded = true;
            Record(judgement, time, start, now, ref record);
        }

        return true;
    }

    private bool BuildOrEcho(Verdict verdict, bool mayStep, ref HandlerContext context, ref VmEvent response)
    {
        try
        {
            return _builder.Build(in _request, verdict, mayStep, ref context, ref response);
        }
#pragma warning disable CA1031 // Whatever happened, the guest must get its answer.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            NoteFailure($"answering {_request.Reason}", exception);
            ResponseBuilder.BuildEcho(in _request, ref response);
            return true;
        }
    }

    private void Record(in Judgement judgement, DateTime time, long start, long end, ref EventRecord record)
    {
        record.Sequence = ++_sequence;
        record.Time = time;
        record.Elapsed = _clock.GetElapsedTime(_started, start);
        record.HandlingTime = _clock.GetElapsedTime(start, end);
        record.Domain = _domain.Id;
        _chain.Describe(in judgement, ref record);
        record.ResponseFlags = _response.Flags;
        record.Event = _request;
    }

    // The ring is shared with a hostile world: nothing of a request is an index before it was looked at.
    private bool IsSane() => _request.VcpuId < (uint)_vcpus && IsKnownReason();

    private bool IsKnownReason() => _request.Reason is not VmEventReason.Unknown && (uint)_request.Reason < PumpStatistics.ReasonCount;

    private void CountRequest()
    {
        _statistics.CountEvent(_request.Reason);
        if (!IsSane())
        {
            _statistics.CountMalformed();
        }
    }

    private void CountSkipped()
    {
        var skipped = _monitor.MalformedRequests;
        if (skipped != _malformedSeen)
        {
            _statistics.CountMalformed(skipped - _malformedSeen);
            _malformedSeen = skipped;
        }
    }

    private void VerdictIgnored(in Judgement judgement)
    {
        _statistics.CountIgnoredVerdict();
        var slot = _chain.Slots[judgement.Handler];
        slot.Statistics.CountIgnoredVerdict();
        if (_reporter.ShouldTell(PumpDiagnosticKind.VerdictIgnored, judgement.Handler, out var count))
        {
            var sync = (_request.Flags & VmEventFlags.VcpuPaused) != 0 ? "a sync" : "an async";
            _reporter.Tell(PumpDiagnosticKind.VerdictIgnored, $"handler {slot.Name} said {judgement.Verdict}, of which a part has no meaning for {sync} {_request.Reason} event", null, slot.Name, _request.Reason, count);
        }
    }

    private void OperationFailed(string what, HypervisorException refused) => NoteFailure(what, refused);

    private void NoteFailure(string what, Exception exception)
    {
        _statistics.CountFailedOperation();
        if (_reporter.ShouldTell(PumpDiagnosticKind.OperationFailed, -1, out var count))
        {
            _reporter.Tell(PumpDiagnosticKind.OperationFailed, $"{what} on domain {_domain.Id} was refused: {exception.Message}", exception, count: count);
        }
    }

    // ESRCH is also said of a page that is not there.
    private bool HasDomainGone()
    {
        try
        {
            _domain.GetInfo();
            return false;
        }
        catch (HypervisorException gone)
        {
            return gone.Error == Errno.ESRCH;
        }
    }

    private bool Attempt(string what, Action action)
    {
        if (IsDomainGone)
        {
            return false;
        }

        try
        {
            action();
            return true;
        }
        catch (HypervisorException refused) when (refused.Error == Errno.ESRCH && HasDomainGone())
        {
            IsDomainGone = true;
            return false;
        }
#pragma warning disable CA1031 // The tear-down goes on whatever happens.
        catch (Exception exception)
#pragma warning restore CA1031
        {
            NoteFailure(what, exception);
            return false;
        }
    }
}
