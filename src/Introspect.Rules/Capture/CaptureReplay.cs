using System.Runtime.CompilerServices;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Rules.Capture;

/// <summary>Where a replay goes. Called by the thread that replays.</summary>
public interface ICaptureSink
{
    /// <summary>An event.</summary>
    /// <param name="record">
    /// The record as the handlers of the replay judged it; without handlers, as it was recorded. Handlers take no time in a
    /// replay, and their response flags are not known: those of the record are of what was answered then.
    /// </param>
    /// <param name="answered">What was answered when it was recorded.</param>
    void Event(in EventRecord record, in CapturedAnswer answered);

    /// <summary>
    /// An event that rules were asked about and did not match, where no handler wants a record of it either: a service would
    /// show nothing.
    /// </summary>
    void Unrecorded(in EventRecord record)
    {
    }

    /// <summary>An alert of the rules of the replay; one on an event comes behind the event.</summary>
    void Alert(AlertRecord alert)
    {
    }

    /// <summary>A line of the guest's console.</summary>
    void Console(DateTime time, string line)
    {
    }

    /// <summary>Events were handled here that are not in the capture.</summary>
    void Lost(ulong events)
    {
    }

    /// <summary>Nothing comes for a while: what was given can be shown.</summary>
    void Flush()
    {
    }
}

/// <summary>What of a capture is replayed, and how.</summary>
public sealed record ReplayOptions
{
    /// <summary>Only events from so long after the begin of the recording on.</summary>
    public TimeSpan? From { get; init; }

    /// <summary>Only events up to so long after the begin of the recording.</summary>
    public TimeSpan? Until { get; init; }

    /// <summary>Only events of this vCPU.</summary>
    public uint? Vcpu { get; init; }

    /// <summary>Events come as far apart as they were.</summary>
    public bool InRealTime { get; init; }

    /// <summary>The clock of <see cref="InRealTime"/>.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    /// <summary>Is told of handlers that fail.</summary>
    public IPumpDiagnostics? Diagnostics { get; init; }

    /// <summary>
    /// Rules that judge the events behind the handlers, as a service has them judge. Memory that the capture does not have is
    /// unknown to them.
    /// </summary>
    public RuleSet? Rules { get; init; }

    /// <summary>The guest's symbols, for the rules; null: none are known.</summary>
    public ISymbolResolver? Symbols { get; init; }

    /// <summary>Is given the rules as they are bound to the capture's domain, before the first event.</summary>
    internal Action<DomainRules>? Bound { get; init; }

    /// <summary>Nothing is left out.</summary>
    internal bool TakesAll => From is null && Until is null && Vcpu is null;
}

/// <summary>What a replay came to.</summary>
public sealed record ReplayResult
{
    /// <summary>Events that were replayed.</summary>
    public required long Events { get; init; }

    /// <summary>Of these, events on which the handlers decided otherwise than was answered when they were recorded.</summary>
    public required long Changed { get; init; }

    /// <summary>Events that were handled when the capture was recorded and are not in it.</summary>
    public required ulong Lost { get; init; }

    /// <summary>Time from the begin of the recording to the last event that was replayed.</summary>
    public required TimeSpan Last { get; init; }

    /// <summary>Nothing was left out by the options.</summary>
    public required bool IsWhole { get; init; }

    /// <summary>What handlers wanted that was not watched when the capture was recorded, by handler.</summary>
    public required IReadOnlyDictionary<string, IReadOnlyList<string>> NotRecorded { get; init; }

    /// <summary>The handlers' counters.</summary>
    public required PumpStatistics Statistics { get; init; }

    /// <summary>The rules' counters, in the order in which they were asked; null where there were none.</summary>
    public IReadOnlyList<RuleStatistics>? Rules { get; init; }

    /// <summary>What is likely not meant as the rules say it of this domain.</summary>
    public IReadOnlyList<RuleDiagnostic> RuleWarnings { get; init; } = [];
}

/// <summary>
/// Runs handlers on a capture, in the order of its events and by the chain that a pump uses. Time is the recording's, so
/// that the same capture and handlers give the same verdicts every time.
/// </summary>
public static class CaptureReplay
{
    /// <summary>Replays a capture to handlers, which are asked in the order given.</summary>
    /// <param name="capture">The capture, not read yet.</param>
    /// <param name="handlers">The handlers; none: the verdicts are those that were recorded.</param>
    /// <param name="sink">Where the events go.</param>
    /// <param name="options">What of the capture, or null for all of it.</param>
    /// <param name="cancellationToken">Ends the replay early.</param>
    /// <exception cref="CaptureException">The capture is damaged. What came before was replayed.</exception>
    /// <exception cref="ArgumentException">A handler or a rule asks for what cannot be, or two handlers have one name.</exception>
    /// <exception cref="OperationCanceledException">The replay was ended.</exception>
    [OverloadResolutionPriority(1)]
    public static ReplayResult Run(CaptureReader capture, IReadOnlyList<IEventHandler> handlers, ICaptureSink sink, ReplayOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(handlers);
        return Run(capture, [.. handlers.Select((handler, order) => new HandlerRegistration(handler, order))], sink, options, cancellationToken);
    }

    /// <summary>Replays a capture to handlers in their places.</summary>
    /// <inheritdoc cref="Run(CaptureReader, IReadOnlyList{IEventHandler}, ICaptureSink, ReplayOptions?, CancellationToken)"/>
    public static ReplayResult Run(CaptureReader capture, IReadOnlyList<HandlerRegistration> handlers, ICaptureSink sink, ReplayOptions? options = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(capture);
        ArgumentNullException.ThrowIfNull(handlers);
        ArgumentNullException.ThrowIfNull(sink);
        return new Session(capture, handlers, sink, options ?? new()).Run(cancellationToken);
    }

    // Behind the handlers that were named, as a service has its rules behind what decides by itself.
    private const int RuleOrder = int.MaxValue;

    private sealed class Session : IAlertSink
    {
        private readonly CaptureReader _capture;
        private readonly ICaptureSink _sink;
        private readonly ReplayOptions _options;
        private readonly CaptureClock _clock = new();
        private readonly CapturedDomain _domain;
        private readonly HandlerSlot[] _slots;
        private readonly PumpStatistics _statistics;
        private readonly HandlerChain _chain;
        private readonly DomainRules? _rules;
        private readonly List<AlertRecord> _alerts = [];
        private EventRecord _record;
        private VmEvent _response;
        private long _events;
        private long _changed;
        private ulong _lost;
        private TimeSpan _last;
        private (long Timestamp, TimeSpan Elapsed)? _began;

        public Session(CaptureReader capture, IReadOnlyList<HandlerRegistration> handlers, ICaptureSink sink, ReplayOptions options)
        {
            (_capture, _sink, _options, _domain) = (capture, sink, options, new(capture));
            var pump = new PumpOptions { Clock = _clock };
            _clock.MoveTo(TimeSpan.Zero, capture.Header.Started);
            _rules = options.Rules is { } rules ? new(rules, _domain, this, options.Symbols, _clock) : null;
            if (_rules is not null)
            {
                options.Bound?.Invoke(_rules);
            }

            _slots = HandlerSlot.MakeAll(_rules is null ? handlers : [.. handlers, new(_rules.Handler, RuleOrder)], pump, []);
            _statistics = new(_clock, Array.ConvertAll(_slots, slot => slot.Statistics));
            _chain = new(_slots, _statistics, new(options.Diagnostics, _slots.Length), pump);
        }

        public ReplayResult Run(CancellationToken cancellationToken)
        {
            for (CaptureItem item; (item = _capture.Read()) != CaptureItem.None;)
            {
                cancellationToken.ThrowIfCancellationRequested();
                switch (item)
                {
                    case CaptureItem.Event when IsWanted(in _capture.Event):
                        WaitFor(_capture.Event.Elapsed, cancellationToken);
                        Replay(in _capture.Event);
                        break;
                    case CaptureItem.Gap:
                        _lost += _capture.Lost;
                        _sink.Lost(_capture.Lost);
                        break;
                    case CaptureItem.Console when IsWanted(_capture.LineTime - _capture.Header.Started):
                        _sink.Console(_capture.LineTime, _capture.Line);
                        break;
                }
            }

            if (_capture.End is { } end)
            {
                // What was lost behind the last event has no gap of its own.
                _lost = Math.Max(_lost, (ulong)end.Dropped);
                ResumeRules(_options.Until is { } until && until < end.Elapsed ? until : end.Elapsed);
            }

            _sink.Flush();
            return new()
            {
                Events = _events,
                Changed = _changed,
                Lost = _lost,
                Last = _last,
                IsWhole = _options.TakesAll,
                NotRecorded = _slots.Select(slot => (slot.Name, Missing: RecordedCoverage.Missing(slot.Subscription, _capture.Header.Watched)))
                    .Where(slot => slot.Missing.Count != 0).ToDictionary(slot => slot.Name, slot => slot.Missing),
                Statistics = _statistics,
                Rules = _rules?.Statistics,
                RuleWarnings = _rules?.Warnings ?? [],
            };
        }

        public bool TryRaise(AlertRecord alert)
        {
            _alerts.Add(alert);
            return true;
        }

        private bool IsWanted(in EventRecord record) =>
            (_options.Vcpu is not { } vcpu || vcpu == record.Event.VcpuId) && IsWanted(record.Elapsed);

        private bool IsWanted(TimeSpan elapsed) => elapsed >= (_options.From ?? TimeSpan.MinValue) && elapsed <= (_options.Until ?? TimeSpan.MaxValue);

        private void Replay(ref readonly EventRecord recorded)
        {
            _record = recorded;
            _events++;
            _last = recorded.Elapsed;
            _statistics.CountEvent(recorded.Reason);
            var answered = new CapturedAnswer(recorded.Verdict, recorded.Handler, recorded.ResponseFlags);
            var isRecorded = true;
            if (_slots.Length != 0)
            {
                ResumeRules(recorded.Elapsed);
                _clock.MoveTo(recorded.Elapsed, recorded.Time);
                _response = recorded.Event;
                var context = new HandlerContext(_domain, in _record.Event, ref _response, recorded.Time) { Sequence = recorded.Sequence };
                var judgement = _chain.Judge(in _record.Event, ref context, _clock.GetTimestamp());
                _chain.Describe(in judgement, ref _record);
                _record.HandlingTime = TimeSpan.Zero;
                _changed += _record.Verdict != answered.Verdict ? 1 : 0;
                isRecorded = _rules is null || judgement.IsRecorded;
            }

            if (isRecorded)
            {
                _sink.Event(in _record, in answered);
            }
            else
            {
                _sink.Unrecorded(in _record);
            }

            TellAlerts();
        }

        // Rules that were flooded are in force again when their time has come, as a service has them, and not with the next event.
        private void ResumeRules(TimeSpan now)
        {
            while (_rules?.NextResume is { } ticks && ticks <= now.Ticks)
            {
                // A capture may claim times that no date has.
                var at = Math.Clamp(ticks, 0, now.Ticks);
                var started = _capture.Header.Started;
                _clock.MoveTo(new(at), at <= DateTime.MaxValue.Ticks - started.Ticks ? started.AddTicks(at) : DateTime.MaxValue);
                _rules.Resume();
                TellAlerts();
            }
        }

        private void TellAlerts()
        {
            foreach (var alert in _alerts)
            {
                _sink.Alert(alert);
            }

            _alerts.Clear();
        }

        private void WaitFor(TimeSpan elapsed, CancellationToken cancellationToken)
        {
            if (!_options.InRealTime)
            {
                return;
            }

            var (timestamp, first) = _began ??= (_options.Clock.GetTimestamp(), elapsed);
            var wait = elapsed - first - _options.Clock.GetElapsedTime(timestamp);
            if (wait < TimeSpan.FromMilliseconds(1))
            {
                return;
            }

            _sink.Flush();
            Task.Delay(wait < MostDelay ? wait : MostDelay, _options.Clock, cancellationToken).GetAwaiter().GetResult();
        }

        // A capture that was tampered with could ask for years.
        private static readonly TimeSpan MostDelay = TimeSpan.FromDays(1);
    }
}
