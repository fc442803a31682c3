using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;
using Introspect.Rules.Responses;

namespace Introspect.Rules.Running;

/// <summary>
/// The events that a rule is about, as its <c>on</c> and what its condition says of itself make them: what it subscribes to,
/// and the cheap question that comes before the condition, since other rules make the hypervisor send more.
/// </summary>
internal sealed class RuleFilter
{
    private const MemAccessFlags AnyAccess = MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute;

    private readonly Rule _rule;
    private readonly ulong[] _changedBits = new ulong[4];
    private readonly bool[] _unchanged = new bool[4];
    private readonly NumberSet _msrs = NumberSet.Empty;
    private readonly bool _msrOnChangeOnly;
    private readonly NumberSet _frames = NumberSet.Empty;
    private readonly NumberSet _sent = NumberSet.Empty;
    private readonly NumberSet? _linear;
    private readonly MemAccessFlags _access;
    private readonly bool _walks;
    private readonly bool _tellsWritten;
    private readonly bool _hasFrames;
    private readonly ulong[] _places = [];
    private readonly WrittenFrames? _written;
    private readonly ulong _lastFrame;

    /// <param name="rule">The rule.</param>
    /// <param name="lastFrame">The domain's last frame.</param>
    /// <param name="domain">The domain's number; null: what the rule says of the domain is taken to be true, and no event is given to this.</param>
    /// <param name="linearFrames">Where the rule's linear addresses are.</param>
    /// <param name="byAddress">Nobody knows where they are, and events tell by their own linear address.</param>
    public RuleFilter(Rule rule, ulong lastFrame, ushort? domain, NumberSet? linearFrames = null, bool byAddress = false)
    {
        _rule = rule;
        _linear = byAddress ? rule.Linear : null;
        _lastFrame = lastFrame;
        foreach (var clause in rule.Definition.On)
        {
            switch (clause.Reason)
            {
                case VmEventReason.WriteCtrlreg:
                    foreach (var register in Rule.ControlRegisters)
                    {
                        if (rule.FactsFor(register) is { } facts && IsFor(facts, domain))
                        {
                            _changedBits[(int)register] = facts.ChangedBits ?? ulong.MaxValue;
                            _unchanged[(int)register] = facts.ChangedBits is null;
                            Reasons = Reasons.With(clause.Reason);
                        }
                    }

                    break;
                case var reason when rule.FactsFor(reason) is { } facts && IsFor(facts, domain):
                    Reasons = Reasons.With(reason);
                    if (reason == VmEventReason.MovToMsr)
                    {
                        (_msrs, _msrOnChangeOnly) = (facts.Msrs, facts.ChangedBits is not null);
                    }
                    else if (reason == VmEventReason.MemAccess)
                    {
                        var named = clause.Linear.Count == 0 ? clause.Frames ?? NumberSet.Everything : (clause.Frames ?? NumberSet.Empty).Union(linearFrames ?? NumberSet.Empty);
                        var all = NumberSet.Of([new(0, lastFrame)]);
                        _frames = facts.Gfns.Intersect(named).Intersect(all);
                        _sent = _linear is null ? _frames : facts.Gfns.Intersect(all);
                        _access = facts.AccessKinds & clause.Access;
                        _walks = facts.PageTableWalks && clause.PageTableWalks;
                        _hasFrames = !(clause.Linear.Count == 0 ? _frames : facts.Gfns.Intersect(all)).IsEmpty;
                        _tellsWritten = clause.Written;

                        // A bit for each page of a domain that there is; of none at all there could be very many.
                        _written = clause.Written && domain is not null ? new(_sent) : null;
                    }
                    else if (reason == VmEventReason.SoftwareBreakpoint)
                    {
                        _places = [.. clause.Places.Select(place => place.Value).Distinct().Order()];
                    }

                    break;
            }
        }
    }

    /// <summary>Reasons of events that can match.</summary>
    public VmEventReasonSet Reasons { get; }

    /// <summary>Guest-physical addresses of the rule's own breakpoints, in order.</summary>
    public ReadOnlySpan<ulong> Places => _places;

    /// <summary>True when there is an event that can match.</summary>
    public bool CanMatch => _rule.Definition.On.Any(CanMatchOn);

    /// <summary>True when memory is watched for a kind of access that can match.</summary>
    public bool HasAccessKinds => Watched != MemAccessFlags.None;

    private MemAccessFlags Watched => (_tellsWritten ? MemAccessFlags.Write | MemAccessFlags.Execute : _access) & AnyAccess;

    /// <summary>True when there is an event of the clause that can match, wherever its linear addresses are.</summary>
    public bool CanMatchOn(OnClause clause) =>
        Reasons.Contains(clause.Reason) && (clause.Reason != VmEventReason.MemAccess || (HasAccessKinds && _hasFrames));

    /// <summary>True for writes of a control register that can match.</summary>
    public bool Wants(ControlRegisterIndex register) => _changedBits[(int)register] != 0;

    /// <summary>Asks for the events.</summary>
    public void Subscribe(SubscriptionBuilder subscription)
    {
        foreach (var clause in _rule.Definition.On)
        {
            if (Reasons.Contains(clause.Reason))
            {
                Subscribe(subscription, clause);
            }
        }

        if (_rule.IsEnforced && _rule.Verdict.Has(VerdictKind.Step) && !Reasons.IsEmpty)
        {
            subscription.Singlestep();
        }
    }

    /// <summary>True when the condition has to be asked.</summary>
    /// <param name="request">An event with one of the reasons.</param>
    /// <param name="ownPlaces">Breakpoints of all rules, which are no breakpoints of the guest.</param>
    public bool Passes(ref readonly VmEvent request, ReadOnlySpan<ulong> ownPlaces)
    {
        switch (request.Reason)
        {
            case VmEventReason.WriteCtrlreg:
                var index = (int)request.WriteCtrlreg.Index;
                var changed = request.WriteCtrlreg.OldValue ^ request.WriteCtrlreg.NewValue;
                return changed == 0 ? _unchanged[index] : (changed & _changedBits[index]) != 0;
            case VmEventReason.MovToMsr:
                return _msrs.Contains(request.MovToMsr.Msr) && (!_msrOnChangeOnly || request.MovToMsr.OldValue != request.MovToMsr.NewValue);
            case VmEventReason.MemAccess:
                return PassesAccess(in request.MemAccess);
            case VmEventReason.SoftwareBreakpoint:
                var place = BreakpointTable.AddressOf(in request);
                return _places.Length != 0 ? _places.AsSpan().BinarySearch(place) >= 0 : ownPlaces.BinarySearch(place) < 0;
            default:
                return true;
        }
    }

    /// <summary>Pages that were written to before the rules were read anew are written to.</summary>
    public void Remember(RuleFilter before)
    {
        if (_written is not null && before._written is not null)
        {
            _written.Remember(before._written);
        }
    }

    /// <summary>The rule has matched: of pages that were written to, this one was told.</summary>
    public void Matched(ref readonly VmEvent request)
    {
        if (request.Reason == VmEventReason.MemAccess)
        {
            _written?.Clear(request.MemAccess.Gfn);
        }
    }

    private static bool IsFor(EventFacts facts, ushort? domain) => domain is not { } number || facts.Domains.Contains(number);

    private bool PassesAccess(ref readonly VmEventMemAccess access)
    {
        var isWalk = (access.Flags & MemAccessFlags.FaultInGpt) != 0;
        if ((isWalk && !_walks) || !(_frames.Contains(access.Gfn) || (_linear is not null && (access.Flags & MemAccessFlags.GlaValid) != 0 && _linear.Contains(access.Gla))))
        {
            return false;
        }

        if (_written is null)
        {
            return (access.Flags & _access) != 0;
        }

        if ((access.Flags & MemAccessFlags.Write) != 0 && !isWalk)
        {
            _written.Set(access.Gfn);
        }

        return (access.Flags & MemAccessFlags.Execute) != 0 && _written.Contains(access.Gfn);
    }

    private void Subscribe(SubscriptionBuilder subscription, OnClause clause)
    {
        var sync = _rule.IsSync(clause);
        switch (clause.Reason)
        {
            case VmEventReason.WriteCtrlreg:
                foreach (var register in Rule.ControlRegisters)
                {
                    if (Wants(register))
                    {
                        subscription.ControlRegister(register, _changedBits[(int)register], sync, _rule.MayDeny, clause.Optional, onChangeOnly: !_unchanged[(int)register]);
                    }
                }

                break;
            case VmEventReason.MovToMsr:
                foreach (var number in _msrs.Numbers())
                {
                    if (number <= uint.MaxValue)
                    {
                        subscription.Msr((uint)number, _msrOnChangeOnly, _rule.MayDeny, clause.Optional);
                    }
                }

                break;
            case VmEventReason.MemAccess:
                SubscribeMemory(subscription);
                break;
            case VmEventReason.SoftwareBreakpoint when _places.Length != 0:
                foreach (var place in _places)
                {
                    subscription.Breakpoint(new(place));
                }

                break;
            default:
                _ = clause.Reason switch
                {
                    VmEventReason.SoftwareBreakpoint => subscription.SoftwareBreakpoint(clause.Optional),
                    VmEventReason.Singlestep => subscription.Singlestep(clause.Optional),
                    VmEventReason.GuestRequest => subscription.GuestRequest(sync, clause.Userspace, clause.Optional),
                    VmEventReason.DebugException => subscription.DebugException(sync, clause.Optional),
                    VmEventReason.Cpuid => subscription.Cpuid(clause.Optional),
                    VmEventReason.Interrupt => subscription.Interrupt(clause.Optional),
                    VmEventReason.DescriptorAccess => subscription.DescriptorAccess(clause.Optional),
                    VmEventReason.EmulUnimplemented => subscription.EmulUnimplemented(clause.Optional),
                    VmEventReason.VmExit => subscription.VmExit(sync, clause.Optional),
                    VmEventReason.IoInstruction => subscription.IoInstruction(sync, clause.Optional),
                    _ => throw new NotSupportedException($"no rule can be on {clause.Reason}"),
                };
                break;
        }
    }

    private void SubscribeMemory(SubscriptionBuilder subscription)
    {
        if (!HasAccessKinds)
        {
            return;
        }

        foreach (var range in _sent.Ranges)
        {
            for (var first = range.First; first <= range.Last && first <= _lastFrame;)
            {
                var count = (uint)Math.Min(range.Last - first + 1, uint.MaxValue);
                subscription.Memory(new(first), count, Watched, _walks);
                first += count;
            }
        }
    }
}
