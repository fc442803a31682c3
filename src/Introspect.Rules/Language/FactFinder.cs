using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

/// <summary>
/// Finds what must hold for a condition to be true. It asks once for each reason, and for writes of control registers once
/// for each register: with that known, what is left are facts that an <c>and</c> intersects and an <c>or</c> unites.
/// </summary>
internal sealed partial class FactFinder
{
    private const ulong AllRights = (ulong)(MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute);

    private readonly VmEventReason _reason;
    private readonly ControlRegisterIndex? _register;

    private FactFinder(VmEventReason reason, ControlRegisterIndex? register) => (_reason, _register) = (reason, register);

    public static ConditionFacts Find(TruthNode condition, VmEventReasonSet reasons) =>
        new(reasons, (reason, register) => new FactFinder(reason, register).Holds(condition));

    /// <summary>What holds whenever the node is true; null when it never is.</summary>
    private Facts? Holds(TruthNode node) => node switch
    {
        ConstantTruth constant => constant.Value ? Facts.For(_reason) : null,
        ChainNode { IsAnd: true } chain => All(chain),
        ChainNode chain => Any(chain),
        FieldTruth field => OfField(field),
        CompareNode compare => OfComparison(compare),
        InNode membership => OfMembership(membership),
        TextCompareNode text => Exists(text.Left) && Exists(text.Right) ? Facts.For(_reason) : null,
        TextInNode text => Exists(text.Subject) ? Facts.For(_reason) : null,
        KnownNode { IsNegated: false } known => (known.Value is TextNode text ? Exists(text) : Exists((NumberNode)known.Value)) ? Facts.For(_reason) : null,
        _ => Facts.For(_reason),
    };

    private Facts? All(ChainNode chain)
    {
        Facts? all = Facts.For(_reason);
        foreach (var item in chain.Items)
        {
            all = Holds(item) is { } facts ? all.And(facts) : null;
            if (all is null)
            {
                return null;
            }
        }

        return all;
    }

    private Facts? Any(ChainNode chain)
    {
        Facts? any = null;
        foreach (var item in chain.Items)
        {
            if (Holds(item) is { } facts)
            {
                any = any is null ? facts : any.Or(facts);
            }
        }

        return any;
    }

    private Facts? OfField(FieldTruth node)
    {
        if (!node.Has.Contains(_reason))
        {
            return null;
        }

        var facts = Facts.For(_reason);
        return node is { IsNegated: true, Field.Subject: FactSubject.PageWalk } ? facts with { PageWalks = false } : facts;
    }

    private Facts? OfComparison(CompareNode node)
    {
        if (!Exists(node.Left) || !Exists(node.Right))
        {
            return null;
        }

        var facts = Facts.For(_reason);
        if (node.Comparison is Comparison.Equal or Comparison.NotEqual && Bitwise(node.Left) is { } left && Bitwise(node.Right) is { } right)
        {
            var difference = left ^ right;
            return facts with { Bits = facts.Bits.Where(difference, differs: node.Comparison == Comparison.NotEqual) } is { Bits.IsImpossible: false } known ? known : null;
        }

        var (subject, comparison, number) = (node.Left, node.Right) switch
        {
            (FieldNumber f, ConstantNumber c) => (f, node.Comparison, c.Value),
            (ConstantNumber c, FieldNumber f) => (f, Mirrored(node.Comparison), c.Value),
            _ => (null, default, 0UL),
        };
        return subject is null ? facts : Limit(facts, subject, SetOf(comparison, number));
    }

    private Facts? OfMembership(InNode node)
    {
        if (!Exists(node.Subject))
        {
            return null;
        }

        var facts = Facts.For(_reason);
        var ranges = node.Ranges.Where(r => Exists(r.First) && (r.Last is null || Exists(r.Last))).Count();
        if (!node.IsNegated && node.Constants.IsEmpty && ranges == 0)
        {
            return null;
        }

        if (node.IsNegated && ranges < node.Ranges.Count)
        {
            // One of the ranges is missing for events of this reason, which makes the whole untrue.
            return null;
        }

        return node.Subject is not FieldNumber subject || (!node.IsNegated && ranges > 0)
            ? facts
            : Limit(facts, subject, node.IsNegated ? node.Constants.Complement() : node.Constants);
    }

    // What the number of a field must be among.
    private Facts? Limit(Facts facts, FieldNumber subject, NumberSet set)
    {
        if (set.IsEmpty)
        {
            return null;
        }

        switch (subject.Field.Subject)
        {
            case FactSubject.Reason:
                return set.Contains((ulong)_reason) ? facts : null;
            case FactSubject.ControlRegister when _reason == VmEventReason.WriteCtrlreg:
                return set.Contains((ulong)_register!.Value) ? facts : null;
            case FactSubject.Msr:
                return facts with { Msrs = set };
            case FactSubject.Gfn:
                return facts with { Gfns = set };
            case FactSubject.GuestPhysical:
                return facts with { Gfns = NumberSet.Of(set.Ranges.Select(r => new NumberRange(r.First >> 12, r.Last >> 12))) };
            case FactSubject.InstructionPointer:
                return facts with { Rips = set };
            case FactSubject.Process:
                return facts with { Processes = set };
            case FactSubject.Cr3:
                return facts with { Processes = RootsOf(set) };
            case FactSubject.Vcpu:
                return facts with { Vcpus = set };
            case FactSubject.Domain:
                return facts with { Domains = set };
            case FactSubject.Rights:
                return OfRights(facts, set);
            case FactSubject.Changed when !set.Contains(0):
                return facts with { Bits = facts.Bits with { OneChanged = ulong.MaxValue } };
            default:
                return facts;
        }
    }

    // access in (w, rw): at least one of the rights of each.
    private static Facts? OfRights(Facts facts, NumberSet set)
    {
        Facts? any = null;
        for (var rights = 0UL; rights <= AllRights; rights++)
        {
            if (set.Contains(rights))
            {
                var one = facts with { Bits = facts.Bits.Where(BitTable.New ^ BitTable.Constant(rights), differs: false) };
                any = any is null ? one : any.Or(one);
            }
        }

        return any;
    }

    // PCID and flags are no part of a root, and how many bits they are depends on the mode.
    private static NumberSet RootsOf(NumberSet cr3)
    {
        const ulong Few = 256;
        if (cr3.Count > Few)
        {
            return NumberSet.Everything;
        }

        return NumberSet.Of(cr3.Numbers().SelectMany(value => new[] { value, value & 0x000f_ffff_ffff_f000, value & 0xffff_f000, value & 0xffff_ffe0 })
            .Select(value => new NumberRange(value, value)));
    }

    // False when an event of this reason has no such value: then nothing about it is true.
    private bool Exists(NumberNode node) => node switch
    {
        FieldNumber field => field.Has.Contains(_reason),
        BinaryNumber binary => Exists(binary.Left) && Exists(binary.Right),
        ComplementNumber complement => Exists(complement.Operand),
        MemoryNumber read => Exists(read.Address),
        UnknownNumber => false,
        _ => true,
    };

    private bool Exists(TextNode node) => node is not FieldText field || field.Has.Contains(_reason);

    // What each bit is, made of the bits at the same place of the old and the new value; null where it is something else.
    // The rights of a memory access are taken as new bits where none were.
    private static BitTable? Bitwise(NumberNode node)
    {
        switch (node)
        {
            case ConstantNumber constant:
                return BitTable.Constant(constant.Value);
            case FieldNumber { Field.Subject: FactSubject.Old }:
                return BitTable.Old;
            case FieldNumber { Field.Subject: FactSubject.New or FactSubject.Rights }:
                return BitTable.New;
            case FieldNumber { Field.Subject: FactSubject.Changed }:
                return BitTable.Old ^ BitTable.New;
            case ComplementNumber complement:
                return ~Bitwise(complement.Operand);
            case BinaryNumber { Operator: NumberOperator.And or NumberOperator.Or or NumberOperator.Xor } binary:
                if (Bitwise(binary.Left) is not { } left || Bitwise(binary.Right) is not { } right)
                {
                    return null;
                }

                return binary.Operator switch
                {
                    NumberOperator.And => left & right,
                    NumberOperator.Or => left | right,
                    _ => left ^ right,
                };
            default:
                return null;
        }
    }

    private static Comparison Mirrored(Comparison comparison) => comparison switch
    {
        Comparison.Less => Comparison.Greater,
        Comparison.LessOrEqual => Comparison.GreaterOrEqual,
        Comparison.Greater => Comparison.Less,
        Comparison.GreaterOrEqual => Comparison.LessOrEqual,
        _ => comparison,
    };

    private static NumberSet SetOf(Comparison comparison, ulong number) => comparison switch
    {
        Comparison.Equal => NumberSet.Of(number),
        Comparison.NotEqual => NumberSet.Of(number).Complement(),
        Comparison.Less => number == 0 ? NumberSet.Empty : NumberSet.Of(new NumberRange(0, number - 1)),
        Comparison.LessOrEqual => NumberSet.Of(new NumberRange(0, number)),
        Comparison.Greater => number == ulong.MaxValue ? NumberSet.Empty : NumberSet.Of(new NumberRange(number + 1, ulong.MaxValue)),
        _ => NumberSet.Of(new NumberRange(number, ulong.MaxValue)),
    };
}
