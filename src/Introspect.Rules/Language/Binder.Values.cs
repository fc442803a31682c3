using Introspect.Rules.Names;

namespace Introspect.Rules.Language;

/// <content>Numbers and texts.</content>
internal sealed partial class Binder
{
    private static readonly string[] ReadNames = ["u8", "u16", "u32", "u64", "p8", "p16", "p32", "p64"];

    /// <summary>Binds a number or a text; null when there is a mistake, which is told.</summary>
    /// <param name="syntax">What is bound.</param>
    /// <param name="hint">Names of the values of what it is compared with.</param>
    public Node? Value(Syntax syntax, Vocabulary? hint = null)
    {
        if (!Enter(syntax))
        {
            return null;
        }

        _depth++;
        var value = syntax switch
        {
            BadSyntax => Failed(),
            NumberSyntax number => new ConstantNumber(number.Value),
            TextSyntax text => Text(text, hint),
            NameSyntax name => Name(name, hint),
            UnarySyntax { Operator: TokenKind.Tilde } unary => Complement(unary, hint),
            UnarySyntax { Operator: TokenKind.Minus } unary => Negative(unary),
            BinarySyntax binary when NumberOperatorOf(binary.Operator) is { } op => Arithmetic(binary, op, hint),
            ReadSyntax read => Memory(read),
            AddressSyntax address => SymbolAddress(address),
            ListNameSyntax list => Mistake(list, $"a list stands behind 'in': in {Quote(list)}"),
            RangeSyntax range => Mistake(range, "a range stands behind 'in'"),
            CallSyntax call when call.Function.Name.Equals("sym", StringComparison.OrdinalIgnoreCase) => Mistake(call, "sym(…) is a range of addresses; write 'in sym(…)', or &name for the address itself"),
            CallSyntax call when !IsBitFunction(call.Function.Name) && !IsKnownFunction(call) => UnknownFunction(call),
            _ => Mistake(syntax, $"{Quote(syntax)} is true or false; a number or a text is needed here"),
        };
        _depth--;
        return value;
    }

    /// <summary>Binds a number to compute with: no text, and nothing that is known by names alone.</summary>
    private NumberNode? Number(Syntax syntax, Vocabulary? hint = null)
    {
        switch (Value(syntax, hint))
        {
            case null:
                return null;
            case NumberNode { Vocabulary: { IsStrict: true } names }:
                Error(syntax, $"'{names.What}' has names for values, not numbers; compare it with one of {string.Join(", ", names.Names.Take(8))}");
                return null;
            case NumberNode number:
                return number;
            default:
                Error(syntax, $"{Quote(syntax)} is a text; a number is needed here");
                return null;
        }
    }

    private Node? Failed()
    {
        HasFailed = true;
        return null;
    }

    private Node? Mistake(Syntax at, string message)
    {
        Error(at, message);
        return null;
    }

    private Node? UnknownFunction(CallSyntax call)
    {
        var name = call.Function.Name;
        Error(call.Function, MacroOf(call.Function) is not null ? $"the macro '{name}' takes nothing in parentheses" : $"there is no function '{name}'", Suggestion.Nearest(name, Functions));
        return null;
    }

    private Node? Text(TextSyntax text, Vocabulary? hint)
    {
        if (hint is null)
        {
            return new ConstantText(text.Value);
        }

        if (hint.TryGetValue(text.Value, out var value))
        {
            return new ConstantNumber(value, null, hint.IsStrict ? hint : null);
        }

        Error(text, $"no {hint.What} has the name {Quote(text)}", Suggestion.Nearest(text.Value, hint.Names));
        return null;
    }

    private Node? Name(NameSyntax name, Vocabulary? hint)
    {
        if (hint is not null && hint.TryGetValue(name.Name, out var value))
        {
            return new ConstantNumber(value, null, hint.IsStrict ? hint : null);
        }

        if (_scope.TryGetMacro(name.Name, out var macro))
        {
            if (macro.IsBroken)
            {
                return Failed();
            }

            if (!BeginUse(macro.Name, name))
            {
                return null;
            }

            var bound = Value(macro.Syntax, hint);
            EndUse();
            return bound;
        }

        if (FieldOf(name, out var has) is { } field)
        {
            if (DomainConstant(field) is { } constant)
            {
                return constant;
            }

            return field.Type switch
            {
                FieldType.Number => new FieldNumber(field, has, _reasons),
                FieldType.Text => new FieldText(field, has, _reasons),
                _ => Mistake(name, $"'{name.Name}' is true or false; a number or a text is needed here"),
            };
        }

        if (Candidates(name.Name, out _).Any())
        {
            // Told by FieldOf.
            return null;
        }

        if (NamedConstant(name) is { } named)
        {
            return named;
        }

        UnknownName(name, hint);
        return null;
    }

    // Where the domain is known, what is asked of it is known, too.
    private Node? DomainConstant(Field field) => (_scope.Domain, field.Name) switch
    {
        (null, _) => null,
        ({ } domain, "domain") => new ConstantNumber(domain.Id.Value),
        ({ } domain, "domain_name") => new ConstantText(domain.Name),
        ({ } domain, "domain_uuid") => new ConstantText(domain.Uuid, ignoresCase: true),
        ({ } domain, "vendor") => new ConstantNumber((ulong)domain.Vendor, null, Vocabulary.Vendor),
        _ => null,
    };

    // CR4.SMEP, MSR.LSTAR
    private static ConstantNumber? NamedConstant(NameSyntax syntax)
    {
        var name = syntax.Name;
        var dot = name.IndexOf('.', StringComparison.Ordinal);
        if (dot < 0)
        {
            return null;
        }

        var (owner, member) = (name[..dot], name[(dot + 1)..]);
        if (RegisterBits.Find(owner) is { } register)
        {
            return register.TryGetMask(member, out var mask) ? new(mask, register) { Origin = syntax.Span } : null;
        }

        return owner.Equals("MSR", StringComparison.OrdinalIgnoreCase) && Vocabulary.Msr.TryGetValue(member, out var msr) ? new(msr) : null;
    }

    private Node? Complement(UnarySyntax unary, Vocabulary? hint) => Number(unary.Operand, hint) switch
    {
        null => null,
        ConstantNumber constant => new ConstantNumber(~constant.Value, constant.Bits) { Origin = constant.Origin },
        var operand => new ComplementNumber(operand),
    };

    private Node? Negative(UnarySyntax unary) => Number(unary.Operand) switch
    {
        null => null,
        ConstantNumber constant => new ConstantNumber(unchecked(0 - constant.Value)),
        var operand => new BinaryNumber(NumberOperator.Subtract, new ConstantNumber(0), operand),
    };

    private Node? Arithmetic(BinarySyntax binary, NumberOperator op, Vocabulary? hint)
    {
        // Rights are joined as they are compared: access == r | w.
        if (op == NumberOperator.Or && hint is { IsFlags: true })
        {
            return (Value(binary.Left, hint), Value(binary.Right, hint)) is (ConstantNumber { Vocabulary: { } } a, ConstantNumber { Vocabulary: { } } b)
                ? new ConstantNumber(a.Value | b.Value, null, hint)
                : Mistake(binary, $"rights are joined with rights: r | w");
        }

        var (left, right) = (Number(binary.Left), Number(binary.Right));
        if (left is null || right is null)
        {
            return null;
        }

        var (leftBits, rightBits) = ((left as ConstantNumber)?.Bits, (right as ConstantNumber)?.Bits);
        if (leftBits is not null && rightBits is not null && leftBits != rightBits)
        {
            return Mistake(binary, $"these are bits of two registers, {leftBits.Register} and {rightBits.Register}");
        }

        return left is ConstantNumber l && right is ConstantNumber r
            ? new ConstantNumber(Compute(op, l.Value, r.Value), op is NumberOperator.Or or NumberOperator.And or NumberOperator.Xor ? leftBits ?? rightBits : null) { Origin = leftBits is null ? r.Origin : l.Origin }
            : new BinaryNumber(op, left, right);
    }

    private MemoryNumber? Memory(ReadSyntax read)
    {
        var name = read.Kind.Name;
        if (!ReadNames.Contains(name, StringComparer.OrdinalIgnoreCase))
        {
            Error(read.Kind, $"'{name}[…]' is no read of memory; write u8, u16, u32 or u64 (linear) or p8 to p64 (physical)", Suggestion.Nearest(name, ReadNames));
            Value(read.Address);
            return null;
        }

        var bytes = int.Parse(name.AsSpan(1), System.Globalization.CultureInfo.InvariantCulture) / 8;
        return Number(read.Address) is { } address ? new MemoryNumber(bytes, name[0] is 'p' or 'P', address) : null;
    }

    private Node? SymbolAddress(AddressSyntax syntax)
    {
        var ranges = Symbol(syntax, syntax.Symbol);
        if (ranges is null)
        {
            return null;
        }

        return ranges.Count switch
        {
            0 => new UnknownNumber(),
            1 => new ConstantNumber(ranges[0].First),
            _ => Mistake(syntax, $"the guest has {ranges.Count} symbols '{syntax.Symbol}'; write in sym({syntax.Symbol})"),
        };
    }

    // The addresses of a symbol; none where no symbols are known; null when it is unknown, which is told.
    private IReadOnlyList<NumberRange>? Symbol(Syntax at, string name)
    {
        if (_scope.Symbols is not { } symbols)
        {
            IsWaiting = true;
            Warning(at, "no symbols of the guest are known here: a comparison with this is never true");
            return [];
        }

        var ranges = symbols.RangesOf(name);
        if (ranges.Count == 0 && !symbols.IsComplete)
        {
            IsWaiting = true;
            Warning(at, $"'{name}' is none of the symbols that are known here: a comparison with this is never true");
        }
        else if (ranges.Count == 0)
        {
            Error(at, $"the guest has no symbol '{name}'", Suggestion.Nearest(name, symbols.Names));
            return null;
        }

        return ranges;
    }

    internal static ulong Compute(NumberOperator op, ulong left, ulong right) => op switch
    {
        NumberOperator.Or => left | right,
        NumberOperator.Xor => left ^ right,
        NumberOperator.And => left & right,
        NumberOperator.ShiftLeft => right < 64 ? left << (int)right : 0,
        NumberOperator.ShiftRight => right < 64 ? left >> (int)right : 0,
        NumberOperator.Add => unchecked(left + right),
        NumberOperator.Subtract => unchecked(left - right),
        _ => unchecked(left * right),
    };

    private static NumberOperator? NumberOperatorOf(TokenKind kind) => kind switch
    {
        TokenKind.Bar => NumberOperator.Or,
        TokenKind.Caret => NumberOperator.Xor,
        TokenKind.Ampersand => NumberOperator.And,
        TokenKind.ShiftLeft => NumberOperator.ShiftLeft,
        TokenKind.ShiftRight => NumberOperator.ShiftRight,
        TokenKind.Plus => NumberOperator.Add,
        TokenKind.Minus => NumberOperator.Subtract,
        TokenKind.Star => NumberOperator.Multiply,
        _ => null,
    };
}
