using System.Buffers;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;

namespace Introspect.Rules.Running;

/// <summary>
/// The rules of a set on one domain: asks them in the order of the files, and makes alerts and a verdict of their answers.
/// An event that none of them matches costs no memory, one that matches no more than its alert.
/// </summary>
public sealed class DomainRules
{
    private const int RegisterCount = 4;

    // A rule that names more processes than these means those that run.
    private const ulong MostProcesses = 16;

    private readonly IDomain _domain;
    private readonly RuleDomain _about;
    private readonly IAlertSink _sink;
    private readonly TimeProvider _clock;
    private readonly RuleMatching _matching;
    private readonly RuleRun[] _rules;
    private readonly RuleRun[][] _byReason;
    private readonly RuleRun[][] _byRegister;
    private readonly ulong[] _ownPlaces;
    private readonly int[] _stepsLeft;
    private readonly long _started;
    private readonly ArrayBufferWriter<char> _text = new(256);

    /// <summary>Binds the rules of a set to a domain.</summary>
    /// <param name="set">The rules.</param>
    /// <param name="domain">The domain.</param>
    /// <param name="sink">Where alerts go.</param>
    /// <param name="symbols">Symbols of the guest; null: those that the rules were read with, if any.</param>
    /// <param name="clock">The clock of rates and delays; the system's when null.</param>
    /// <param name="before">The rules that these follow on the same domain: what those of the same name counted and remember goes on.</param>
    /// <exception cref="ArgumentException">A rule cannot be for this domain.</exception>
    public DomainRules(RuleSet set, IDomain domain, IAlertSink sink, ISymbolResolver? symbols = null, TimeProvider? clock = null, DomainRules? before = null)
    {
        ArgumentNullException.ThrowIfNull(set);
        ArgumentNullException.ThrowIfNull(domain);
        ArgumentNullException.ThrowIfNull(sink);
        var info = domain.GetInfo();
        _domain = domain;
        _about = new(info);
        _sink = sink;
        _clock = clock ?? TimeProvider.System;
        _matching = set.Matching;
        var diagnostics = new DiagnosticBag();
        var rules = set.For(_about, symbols ?? set.Symbols, diagnostics);
        if (diagnostics.HasErrors)
        {
            throw new ArgumentException(string.Join("; ", diagnostics.All.Where(d => d.Severity == DiagnosticSeverity.Error)), nameof(set));
        }

        Warnings = [.. diagnostics.All];
        _started = before?._started ?? _clock.GetTimestamp();
        _rules = [.. rules.Select(rule => Bind(rule, info, Array.Find(before?._rules ?? [], run => run.Name == rule.Name)))];
        _byReason = [.. Enum.GetValues<VmEventReason>().Order().Select(reason => Array.FindAll(_rules, run => run.Filter.Reasons.Contains(reason)))];
        _byRegister = [.. Enumerable.Range(0, RegisterCount).Select(index => Array.FindAll(_rules, run => run.Filter.Wants((ControlRegisterIndex)index)))];
        _ownPlaces = [.. _rules.SelectMany(run => run.Filter.Places.ToArray()).Distinct().Order()];
        _stepsLeft = new int[info.VcpuCount];
        Handler = new(this);
    }

    /// <summary>Counters of each rule, in the order in which they are asked.</summary>
    public IReadOnlyList<RuleStatistics> Statistics => Array.ConvertAll(_rules, run => run.Statistics);

    /// <summary>The handler to give to a pump. It fails open by itself: each rule has its own fail policy.</summary>
    public RuleSetHandler Handler { get; private set; }

    /// <summary>What is likely not meant as the rules say it of this domain, and may be.</summary>
    public IReadOnlyList<RuleDiagnostic> Warnings { get; }

    /// <summary>When the next rule that is throttled is in force again, as the clock's timestamp; null where none is.</summary>
    internal long? NextResume
    {
        get
        {
            long? next = null;
            foreach (var run in _rules)
            {
                if (run.IsThrottled && !(run.ThrottledUntil >= next))
                {
                    next = run.ThrottledUntil;
                }
            }

            return next;
        }
    }

    /// <summary>When it is looked again where linear addresses are, as the clock's timestamp; null where no rule names any.</summary>
    internal long? NextLook => Array.FindAll(_rules, run => run.Pages is not null) is { Length: > 0 } linear ? linear.Min(run => run.LookAgain) : null;

    /// <summary>Told, on the pump thread, that a rule's events are too many.</summary>
    internal Action? Flooded { get; set; }

    /// <summary>The rules that are asked about.</summary>
    internal IReadOnlyList<RuleRun> Rules => _rules;

    /// <summary>The domain.</summary>
    internal IDomain Domain => _domain;

    /// <summary>The clock of rates and delays.</summary>
    internal TimeProvider Clock => _clock;

    /// <summary>A handler that subscribes to what the rules want now, without those that are throttled.</summary>
    internal RuleSetHandler Renew() => new(this);

    /// <summary>Another handler of these rules is in force.</summary>
    internal void Renewed(RuleSetHandler handler) => Handler = handler;

    internal void Subscribe(SubscriptionBuilder subscription)
    {
        foreach (var run in _rules)
        {
            run.Subscribe(subscription);
        }

        // What another handler decided is alerted all the same; and what no rule matches is no news.
        subscription.ObserveDecided().Unrecorded();
    }

    internal Verdict Handle(ref readonly VmEvent request, ref HandlerContext context)
    {
        var evaluation = new EvaluationContext(_about, _domain.Memory, context.Time);
        var verdict = Verdict.Pass;
        RuleRun? decider = null;
        string[]? tags = null;
        foreach (var run in RulesFor(in request))
        {
            if (run.IsThrottled || !run.Filter.Passes(in request, _ownPlaces) || !run.IsInService)
            {
                continue;
            }

            var isTooMany = !run.Admit();
            var answer = Ask(run, in request, ref evaluation, ref context, ref verdict, ref decider);
            if (isTooMany)
            {
                Throttle(run, in request, context.Time);
            }

            if (answer == RuleAnswer.No || !run.HasBegun(request.VcpuId))
            {
                continue;
            }

            run.Statistics.CountMatch();
            context.IsRecorded = true;
            run.Filter.Matched(in request);
            var outcome = OutcomeOf(run, context.IsDecided || decider is not null);
            if (outcome == AlertOutcome.Enforced)
            {
                Enforce(run, answer, in request, ref context, ref verdict, ref decider);
            }

            if (run.Rule.Verdict.Tags.Count > 0)
            {
                tags = tags is null ? run.Tags : [.. tags.Union(run.Rule.Verdict.Tags)];
            }

            if (run.Rule.Verdict.Alerts)
            {
                Alert(run, outcome, tags, in request, ref evaluation);
            }

            if (_matching == RuleMatching.First && run.Rule.IsEnforced)
            {
                break;
            }
        }

        if (decider is not null)
        {
            context.DecidedBy = decider.Name;
        }

        return request.Reason == VmEventReason.Singlestep && !context.IsDecided ? CountStep(request.VcpuId, verdict, ref context) : verdict;
    }

    /// <summary>Looks again where linear addresses are whose time has come.</summary>
    /// <param name="tell">Told, once a rule, that pages are still missing: at the first look a guest may not have begun.</param>
    /// <returns>True when a page of them is elsewhere.</returns>
    internal bool LookAgain(Action<string> tell)
    {
        var now = _clock.GetTimestamp();
        var info = _domain.GetInfo();
        var any = false;
        foreach (var run in _rules)
        {
            if (run.Pages is { } pages && now >= run.LookAgain)
            {
                run.LookAgain = now + TicksOf(run.Rule.LinearRefresh);
                if (pages.Refresh(_domain))
                {
                    run.Replace(new(run.Rule, info.MaxGfn.Value, info.Id.Value, pages.Frames));
                    any = true;
                }

                run.Statistics.MarkMissing(pages.Missing);
                if (pages.Missing > 0 && !run.IsMissingTold)
                {
                    run.IsMissingTold = true;
                    tell($"rule {run.Name}: {pages.Missing} of the {pages.Count} pages of its linear addresses are nowhere in the guest's page tables, and not watched; check 'linear' and the symbols, or name the process");
                }
            }
        }

        return any;
    }

    private RuleRun Bind(Rule rule, DomainInfo info, RuleRun? before)
    {
        LinearPages? pages = null;
        if (rule.Linear is { } linear && _domain is not IHasNoPageTables)
        {
            var processes = rule.FactsFor(VmEventReason.MemAccess)?.Processes ?? NumberSet.Everything;
            pages = new(linear, processes.Count <= MostProcesses ? [.. processes.Numbers()] : []);
            pages.Refresh(_domain);
        }

        var filter = new RuleFilter(rule, info.MaxGfn.Value, info.Id.Value, pages?.Frames, byAddress: _domain is IHasNoPageTables);
        return new(rule, filter, info.VcpuCount, _started, _clock, before) { Pages = pages, LookAgain = pages is null ? 0 : _clock.GetTimestamp() + TicksOf(rule.LinearRefresh) };
    }

    private long TicksOf(TimeSpan time) => (long)((Int128)time.Ticks * _clock.TimestampFrequency / TimeSpan.TicksPerSecond);

    private RuleRun[] RulesFor(ref readonly VmEvent request)
    {
        if (request.Reason == VmEventReason.WriteCtrlreg)
        {
            return (uint)request.WriteCtrlreg.Index < RegisterCount ? _byRegister[(int)request.WriteCtrlreg.Index] : [];
        }

        return (uint)request.Reason < (uint)_byReason.Length ? _byReason[(int)request.Reason] : [];
    }

    private RuleAnswer Ask(RuleRun run, ref readonly VmEvent request, ref EvaluationContext evaluation, ref HandlerContext context, ref Verdict verdict, ref RuleRun? decider)
    {
        try
        {
            var answer = run.Ask(in request, ref evaluation);
            run.Succeeded();
            return answer;
        }
#pragma warning disable CA1031 // One rule's mistake must not keep the others from being asked.
        catch (Exception failure)
#pragma warning restore CA1031
        {
            run.Failed();
            var denies = run.FailsClosed && !context.IsDecided && decider is null;
            if (denies)
            {
                (verdict, decider) = (Verdict.Deny, run);
            }

            if (run.MayAlert(out var suppressed))
            {
                Raise(run, new()
                {
                    Kind = AlertKind.Failed,
                    Rule = run.Name,
                    Message = $"rule {run.Name} could not be asked: {failure.GetType().Name}; the event is {(denies ? "denied" : "passed")}",
                    Suppressed = suppressed,
                    Time = context.Time,
                    Domain = _about.Id,
                    DomainName = _about.Name,
                    Priority = run.Rule.Definition.Priority,
                    Tags = run.Tags,
                    HasEvent = true,
                    Event = request,
                });
            }

            return RuleAnswer.No;
        }
    }

    private static AlertOutcome OutcomeOf(RuleRun run, bool isDecided) =>
        !run.Rule.Verdict.NeedsSync && !run.FailsClosed ? AlertOutcome.None
            : !run.Rule.IsEnforced ? AlertOutcome.Observed
            : run.Rule.Verdict.Decides && isDecided ? AlertOutcome.Overruled
            : AlertOutcome.Enforced;

    private void Enforce(RuleRun run, RuleAnswer answer, ref readonly VmEvent request, ref HandlerContext context, ref Verdict verdict, ref RuleRun? decider)
    {
        if (answer == RuleAnswer.Unreadable)
        {
            if (!context.IsDecided && decider is null)
            {
                (verdict, decider) = (Verdict.Deny, run);
            }

            return;
        }

        if (run.Decides)
        {
            (verdict, decider) = (VerdictMaker.Make(run.Rule.Verdict, in request, ref context), run);
            if (run.Rule.Verdict.Steps > 0 && request.VcpuId < (uint)_stepsLeft.Length)
            {
                _stepsLeft[request.VcpuId] = run.Rule.Verdict.Steps;
            }
        }

        if (run.Pauses)
        {
            Pause();
        }
    }

    // Pauses nest, and this one is the operator's to undo: one is enough.
    private void Pause()
    {
        if (_domain.GetInfo().State != DomainState.Paused)
        {
            _domain.Pause();
        }
    }

    // The step that has just been made is one of those that a rule asked for.
    private Verdict CountStep(uint vcpu, Verdict verdict, ref HandlerContext context)
    {
        if (vcpu >= (uint)_stepsLeft.Length || _stepsLeft[vcpu] == 0)
        {
            return verdict;
        }

        context.IsRecorded = true;
        if (verdict.Has(VerdictEffects.SinglestepOn))
        {
            return verdict;
        }

        return --_stepsLeft[vcpu] == 0 ? verdict.WithSinglestepOff() : verdict;
    }

    private void Throttle(RuleRun run, ref readonly VmEvent request, DateTime time)
    {
        run.Throttle();
        var rate = run.Rule.Definition.Rate;
        Raise(run, new()
        {
            Kind = AlertKind.Throttled,
            Rule = run.Name,
            Message = $"rule {run.Name} has more than {rate.Events} events and is not watched for {RuleValues.Short(rate.CoolDown)}",
            Time = time,
            Domain = _about.Id,
            DomainName = _about.Name,
            Priority = run.Rule.Definition.Priority,
            Tags = run.Tags,
            HasEvent = true,
            Event = request,
        });
        Flooded?.Invoke();
    }

    /// <summary>Takes rules into force again whose cool-down is over.</summary>
    /// <returns>True when there was one.</returns>
    internal bool Resume()
    {
        var now = _clock.GetTimestamp();
        var any = false;
        foreach (var run in _rules)
        {
            if (run.IsThrottled && now >= run.ThrottledUntil)
            {
                any = true;
                run.Resume();
                Raise(run, new()
                {
                    Kind = AlertKind.Resumed,
                    Rule = run.Name,
                    Message = $"rule {run.Name} is watched again, after a gap of {RuleValues.Short(run.Rule.Definition.Rate.CoolDown)}",
                    Time = _clock.GetUtcNow().UtcDateTime,
                    Domain = _about.Id,
                    DomainName = _about.Name,
                    Priority = run.Rule.Definition.Priority,
                    Tags = run.Tags,
                });
            }
        }

        return any;
    }

    private void Alert(RuleRun run, AlertOutcome outcome, string[]? tags, ref readonly VmEvent request, ref EvaluationContext evaluation)
    {
        if (!run.MayAlert(out var suppressed))
        {
            return;
        }

        string message;
        if (run.Rule.Output is { } output)
        {
            _text.ResetWrittenCount();
            output.Format(in request, ref evaluation, _text);
            message = _text.WrittenSpan.ToString();
        }
        else
        {
            message = run.Rule.Definition.Description is { Length: > 0 } description ? description : run.Name;
        }

        Raise(run, new()
        {
            Kind = AlertKind.Match,
            Rule = run.Name,
            Priority = run.Rule.Definition.Priority,
            Tags = tags is null || tags == run.Tags ? run.Tags : [.. run.Tags.Union(tags)],
            Message = message,
            Verdict = run.VerdictText,
            Outcome = outcome,
            Suppressed = suppressed,
            Time = evaluation.Time,
            Domain = _about.Id,
            DomainName = _about.Name,
            HasEvent = true,
            Event = request,
        });
    }

    private void Raise(RuleRun run, AlertRecord alert)
    {
        var wasTaken = _sink.TryRaise(alert);
        run.Statistics.CountAlert(wasTaken);
    }
}
