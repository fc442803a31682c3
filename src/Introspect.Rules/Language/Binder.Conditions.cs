using Introspect.Hypervisor.Abi;
using Introspect.Rules.Names;

namespace Introspect.Rules.Language;

/// <content>What is true or false.</content>
internal sealed partial class Binder
{
    private static readonly string[] Functions = ["set", "cleared", "changed", "known", "sym"];

    /// <summary>Binds what is true or false, or the opposite of it.</summary>
    public TruthNode Condition(Syntax syntax, bool negate = false)
    {
        if (!Enter(syntax))
        {
            return BadTruth;
        }

        _depth++;
        var truth = syntax switch
        {
            BadSyntax => BadCondition(),
            TruthSyntax literal => new ConstantTruth(literal.Value != negate),
            UnarySyntax { Operator: TokenKind.Not } not => Condition(not.Operand, !negate),
            ChainSyntax chain => Chain(chain.IsAnd != negate, chain.Items.Select(item => Condition(item, negate)).ToList()),
            InSyntax membership => In(membership, negate),
            BinarySyntax binary when IsComparison(binary.Operator) => Compare(binary, negate),
            CallSyntax call when IsBitFunction(call.Function.Name) => BitFunction(call, negate),
            CallSyntax call when IsKnownFunction(call) => Known(call, negate),
            NameSyntax name => NamedCondition(name, negate),
            _ => NotACondition(syntax),
        };
        _depth--;
        return truth;
    }

    private static bool IsComparison(TokenKind kind) => kind is >= TokenKind.Equal and <= TokenKind.GreaterOrEqual
        or TokenKind.StartsWith or TokenKind.EndsWith or TokenKind.Contains or TokenKind.Matches;

    private static bool IsBitFunction(string name) => BitFunctionOf(name) is not null;

    private static FactSubject? BitFunctionOf(string name) => name.ToLowerInvariant() switch
    {
        "set" => FactSubject.New,
        "cleared" => FactSubject.Old,
        "changed" => FactSubject.Changed,
        _ => null,
    };

    private static bool IsKnownFunction(CallSyntax call) => call.Function.Name.Equals("known", StringComparison.OrdinalIgnoreCase);

    private TruthNode Known(CallSyntax call, bool negate)
    {
        if (call.Arguments.Count != 1 || IsTruth(call.Arguments[0]))
        {
            return BadCondition(call, "known(…) takes one number or text: known(u64[rsp])");
        }

        return Value(call.Arguments[0]) switch
        {
            null => BadTruth,
            { CanFail: false } => new ConstantTruth(!negate),
            var value => new KnownNode(value, negate),
        };
    }

    private ConstantTruth BadCondition()
    {
        HasFailed = true;
        return BadTruth;
    }

    private ConstantTruth BadCondition(Syntax at, string message, string? suggestion = null)
    {
        Error(at, message, suggestion);
        return BadTruth;
    }

    // What is no condition may have mistakes of its own, which are told first.
    private ConstantTruth NotACondition(Syntax syntax)
    {
        var value = Value(syntax);
        return value switch
        {
            null => BadCondition(),
            ConstantNumber { Bits: { } bits } => BadCondition(
                syntax, $"{Quote(syntax)} is a mask, neither true nor false; ask 'new contains {syntax.Span.Characters}', or set(…), cleared(…), changed(…) of it for a write of {bits.Register}"),
            NumberNode => BadCondition(syntax, $"{Quote(syntax)} is a number, neither true nor false; compare it, with != 0 if nothing else"),
            _ => BadCondition(syntax, $"{Quote(syntax)} is a text, neither true nor false; compare it"),
        };
    }

    private TruthNode NamedCondition(NameSyntax name, bool negate)
    {
        if (_scope.TryGetMacro(name.Name, out var macro))
        {
            if (macro.IsBroken)
            {
                return BadCondition();
            }

            if (!BeginUse(macro.Name, name))
            {
                return BadTruth;
            }

            IsWaiting |= macro.Syntax is TruthSyntax;
            var bound = Condition(macro.Syntax, negate);
            EndUse();
            return bound;
        }

        return IsTruth(name) && FieldOf(name, out var has) is { } field
            ? new FieldTruth(field, has, _reasons, negate)
            : NotACondition(name);
    }

    private static TruthNode Chain(bool isAnd, IEnumerable<TruthNode> items)
    {
        var kept = new List<TruthNode>();
        foreach (var item in items)
        {
            switch (item)
            {
                case ConstantTruth constant when constant.Value == isAnd:
                    continue;
                case ConstantTruth:
                    return item;
                case ChainNode chain when chain.IsAnd == isAnd:
                    kept.AddRange(chain.Items);
                    break;
                default:
                    kept.Add(item);
                    break;
            }
        }

        return kept.Count switch
        {
            0 => new ConstantTruth(isAnd),
            1 => kept[0],
            _ => new ChainNode(isAnd, kept),
        };
    }

    private TruthNode Compare(BinarySyntax binary, bool negate)
    {
        if (IsTruth(binary.Left) || IsTruth(binary.Right))
        {
            return CompareTruths(binary, negate);
        }

        var left = Value(binary.Left, VocabularyOf(binary.Right));
        var right = Value(binary.Right, VocabularyOf(binary.Left));
        switch (left, right)
        {
            case (null, _) or (_, null):
                return BadTruth;
            case (TextNode a, TextNode b):
                return CompareTexts(binary, a, b, negate);
            case (NumberNode a, NumberNode b):
                return CompareNumbers(binary, a, b, negate);
            default:
                var (text, number) = left is TextNode ? (binary.Left, binary.Right) : (binary.Right, binary.Left);
                return BadCondition(binary, $"{Quote(text)} is a text and {Quote(number)} a number; they cannot be compared");
        }
    }

    // A side that is compared with names says which names.
    private Vocabulary? VocabularyOf(Syntax syntax)
    {
        for (var levels = 0; levels < 32 && MacroOf(syntax) is { } macro; levels++)
        {
            syntax = macro.Syntax;
        }

        return syntax is NameSyntax name
            ? Candidates(name.Name, out var restriction).FirstOrDefault(f => !(f.Reasons & _reasons & restriction).IsEmpty)?.Vocabulary
            : null;
    }

    private TruthNode CompareTruths(BinarySyntax binary, bool negate)
    {
        var (constant, other) = (binary.Left, binary.Right) switch
        {
            (TruthSyntax l, var r) => (l, r),
            (var l, TruthSyntax r) => (r, l),
            _ => (null, binary.Left),
        };
        if (constant is null || binary.Operator is not (TokenKind.Equal or TokenKind.NotEqual))
        {
            return BadCondition(binary, "what is true or false is joined by and, or and not, not compared");
        }

        return Condition(other, negate != (constant.Value != (binary.Operator == TokenKind.Equal)));
    }

    private TruthNode CompareNumbers(BinarySyntax binary, NumberNode left, NumberNode right, bool negate)
    {
        if (!SpeakTheSame(binary, left, right))
        {
            return BadTruth;
        }

        var comparison = binary.Operator switch
        {
            TokenKind.Equal or TokenKind.Contains => Comparison.Equal,
            TokenKind.NotEqual => Comparison.NotEqual,
            TokenKind.Less => Comparison.Less,
            TokenKind.LessOrEqual => Comparison.LessOrEqual,
            TokenKind.Greater => Comparison.Greater,
            TokenKind.GreaterOrEqual => Comparison.GreaterOrEqual,
            _ => (Comparison?)null,
        };
        if (comparison is not { } known)
        {
            return BadCondition(binary, $"'{WordOf(binary.Operator)}' is for texts; these are numbers");
        }

        return binary.Operator == TokenKind.Contains
            ? Compare(known, And(Not(left), right), new ConstantNumber(0), negate)
            : Compare(known, left, right, negate);
    }

    private bool SpeakTheSame(BinarySyntax binary, NumberNode left, NumberNode right)
    {
        var names = left.Vocabulary is { IsStrict: true } ? left.Vocabulary : right.Vocabulary is { IsStrict: true } ? right.Vocabulary : null;
        if (names is null)
        {
            return true;
        }

        if (left.Vocabulary != right.Vocabulary)
        {
            var other = left.Vocabulary == names ? binary.Right : binary.Left;
            Error(other, $"{Quote(other)} is no {names.What}; write one of {string.Join(", ", names.Names.Take(8))}");
            return false;
        }

        if (binary.Operator is TokenKind.Equal or TokenKind.NotEqual || (binary.Operator == TokenKind.Contains && names.IsFlags))
        {
            return true;
        }

        Error(binary, $"'{names.What}' has names for values, which have no order and no parts; write ==, != or in");
        return false;
    }

    private TruthNode CompareTexts(BinarySyntax binary, TextNode left, TextNode right, bool negate)
    {
        TextComparison comparison;
        switch (binary.Operator)
        {
            case TokenKind.Equal:
                comparison = TextComparison.Equal;
                break;
            case TokenKind.NotEqual:
                (comparison, negate) = (TextComparison.Equal, !negate);
                break;
            case TokenKind.StartsWith:
                comparison = TextComparison.StartsWith;
                break;
            case TokenKind.EndsWith:
                comparison = TextComparison.EndsWith;
                break;
            case TokenKind.Contains:
                comparison = TextComparison.Contains;
                break;
            case TokenKind.Matches:
                comparison = TextComparison.Matches;
                break;
            default:
                return BadCondition(binary, "texts have no order; write ==, !=, startswith, endswith, contains or matches");
        }

        return left is ConstantText l && right is ConstantText r
            ? new ConstantTruth(TextTests.Test(comparison, l.Value, r.Value, l.IgnoresCase || r.IgnoresCase) != negate)
            : new TextCompareNode(comparison, left, right, negate);
    }

    // set(CR4.SMEP): the write is one of that register, and sets at least one of the bits.
    private TruthNode BitFunction(CallSyntax call, bool negate)
    {
        var name = call.Function.Name.ToLowerInvariant();
        if (call.Arguments.Count != 1)
        {
            return BadCondition(call, $"{name}(…) takes one mask: {name}(CR4.SMEP)");
        }

        if (Number(call.Arguments[0]) is not { } mask)
        {
            return BadTruth;
        }

        if (mask is ConstantNumber { Value: 0 })
        {
            return BadCondition(call.Arguments[0], "the mask has no bits");
        }

        var bits = (mask as ConstantNumber)?.Bits;
        var register = bits is null ? null : Vocabulary.Register.TryGetValue(bits.Register, out var index) ? new ConstantNumber(index, null, Vocabulary.Register) : null;
        var writes = VmEventReasonSet.Of(VmEventReason.WriteCtrlreg, VmEventReason.MovToMsr);
        if (bits == RegisterBits.Efer)
        {
            writes = VmEventReasonSet.Of(VmEventReason.MovToMsr);
        }
        else if (register is not null)
        {
            writes = VmEventReasonSet.Of(VmEventReason.WriteCtrlreg);
        }
        else if (bits is not null)
        {
            return BadCondition(call.Arguments[0], $"writes of {bits.Register} give no events; {name}(…) is for CR0, CR4, XCR0 and EFER");
        }

        if ((writes & _reasons).IsEmpty)
        {
            return BadCondition(call, $"events of {_reasons} write no {bits?.Register ?? "register"}; those of {writes} do");
        }

        NumberNode Take(string field) => new FieldNumber(FieldCatalog.Find(field).Single(), writes & _reasons, _reasons);
        var touched = name switch
        {
            "set" => And(And(Take("new"), Not(Take("old"))), mask),
            "cleared" => And(And(Take("old"), Not(Take("new"))), mask),
            _ => And(Take("changed"), mask),
        };
        var change = Compare(Comparison.NotEqual, touched, new ConstantNumber(0), negate);
        if (bits is null)
        {
            return change;
        }

        var which = register is not null
            ? Compare(Comparison.Equal, Take("register"), register, negate)
            : Compare(Comparison.Equal, Take("msr"), new ConstantNumber(Msr.Efer), negate);
        return Chain(!negate, [which, change]);
    }

    private static TruthNode Compare(Comparison comparison, NumberNode left, NumberNode right, bool negate)
    {
        comparison = negate ? Opposite(comparison) : comparison;
        return left is ConstantNumber l && right is ConstantNumber r
            ? new ConstantTruth(Holds(comparison, l.Value, r.Value))
            : new CompareNode(comparison, left, right);
    }

    private static NumberNode And(NumberNode left, NumberNode right) => left is ConstantNumber l && right is ConstantNumber r
        ? new ConstantNumber(l.Value & r.Value, l.Bits ?? r.Bits) { Origin = l.Bits is null ? r.Origin : l.Origin }
        : new BinaryNumber(NumberOperator.And, left, right);

    private static NumberNode Not(NumberNode operand) => operand is ConstantNumber constant ? new ConstantNumber(~constant.Value, constant.Bits) { Origin = constant.Origin } : new ComplementNumber(operand);

    internal static Comparison Opposite(Comparison comparison) => comparison switch
    {
        Comparison.Equal => Comparison.NotEqual,
        Comparison.NotEqual => Comparison.Equal,
        Comparison.Less => Comparison.GreaterOrEqual,
        Comparison.LessOrEqual => Comparison.Greater,
        Comparison.Greater => Comparison.LessOrEqual,
        _ => Comparison.Less,
    };

    internal static bool Holds(Comparison comparison, ulong left, ulong right) => comparison switch
    {
        Comparison.Equal => left == right,
        Comparison.NotEqual => left != right,
        Comparison.Less => left < right,
        Comparison.LessOrEqual => left <= right,
        Comparison.Greater => left > right,
        _ => left >= right,
    };

    private static string WordOf(TokenKind kind) => kind switch
    {
        TokenKind.StartsWith => "startswith",
        TokenKind.EndsWith => "endswith",
        _ => "matches",
    };
}
