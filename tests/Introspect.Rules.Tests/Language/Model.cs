using System.Globalization;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Tests.Language;

/// <summary>An event, with the memory of its guest, as the model sees it.</summary>
public sealed record Situation(VmEvent Event, IReadOnlyDictionary<ulong, byte> Memory)
{
    public override string ToString()
    {
        var e = Event;
        var detail = e.Reason switch
        {
            VmEventReason.WriteCtrlreg => $"{e.WriteCtrlreg.Index} {e.WriteCtrlreg.OldValue:x} -> {e.WriteCtrlreg.NewValue:x}",
            VmEventReason.MovToMsr => $"{e.MovToMsr.Msr:x} {e.MovToMsr.OldValue:x} -> {e.MovToMsr.NewValue:x}",
            _ => $"{e.MemAccess.Gfn:x} {e.MemAccess.Flags} {e.MemAccess.Gla:x}",
        };
        return $"{e.Reason} {detail} rip {e.Registers.Rip:x} cr3 {e.Registers.Cr3:x} rax {e.Registers.Rax:x} vcpu {e.VcpuId}";
    }
}

/// <summary>
/// What an expression should be worth, by rules of its own: three values, of which null is unknown, and nothing shared with
/// the compiler but the text.
/// </summary>
public abstract record Model
{
    /// <summary>Binding power of the outermost operator; what binds less than it must is put in parentheses.</summary>
    protected const int Atom = 100;

    protected abstract int Power { get; }

    protected string Within(Model part, int power) => part.Power < power ? $"({part})" : part.ToString();

    public abstract record Number : Model
    {
        public abstract ulong? Of(Situation s);
    }

    public abstract record Truth : Model
    {
        public abstract bool? Of(Situation s);

        /// <summary>Smaller ones that may fail in the same way.</summary>
        public virtual IEnumerable<Truth> Parts => [];
    }

    public sealed record Constant(ulong Value) : Number
    {
        protected override int Power => Atom;

        public override ulong? Of(Situation s) => Value;

        public override string ToString() => (Value % 3) switch
        {
            0 => Value.ToString(CultureInfo.InvariantCulture),
            1 => $"0x{Value:x}",
            _ => $"0b{Value:b}",
        };
    }

    public sealed record Field(string Name, Func<VmEvent, ulong?> Read) : Number
    {
        protected override int Power => Atom;

        public override ulong? Of(Situation s) => Read(s.Event);

        public override string ToString() => Name;
    }

    public sealed record Memory(int Bytes, bool IsPhysical, Number Address) : Number
    {
        protected override int Power => Atom;

        public override ulong? Of(Situation s)
        {
            if (Address.Of(s) is not { } address)
            {
                return null;
            }

            var value = 0UL;
            for (var i = 0; i < Bytes; i++)
            {
                if (!s.Memory.TryGetValue(unchecked(address + (ulong)i), out var part))
                {
                    return null;
                }

                value |= (ulong)part << (8 * i);
            }

            return value;
        }

        public override string ToString() => $"{(IsPhysical ? 'p' : 'u')}{8 * Bytes}[{Address}]";
    }

    public sealed record Complement(Number Operand) : Number
    {
        protected override int Power => 20;

        public override ulong? Of(Situation s) => ~Operand.Of(s);

        public override string ToString() => $"~{Within(Operand, Power)}";
    }

    public sealed record Binary(string Operator, Number Left, Number Right) : Number
    {
        protected override int Power => Operator switch
        {
            "|" => 10,
            "^" => 11,
            "&" => 12,
            "<<" or ">>" => 13,
            "+" or "-" => 14,
            _ => 15,
        };

        public override ulong? Of(Situation s)
        {
            if (Left.Of(s) is not { } l || Right.Of(s) is not { } r)
            {
                return null;
            }

            return unchecked(Operator switch
            {
                "|" => l | r,
                "^" => l ^ r,
                "&" => l & r,
                "<<" => r > 63 ? 0 : l << (int)r,
                ">>" => r > 63 ? 0 : l >> (int)r,
                "+" => l + r,
                "-" => l - r,
                _ => l * r,
            });
        }

        public override string ToString() => $"{Within(Left, Power)} {Operator} {Within(Right, Power + 1)}";
    }

    public sealed record Compare(string Operator, Number Left, Number Right) : Truth
    {
        protected override int Power => 5;

        public override bool? Of(Situation s)
        {
            if (Left.Of(s) is not { } l || Right.Of(s) is not { } r)
            {
                return null;
            }

            return Operator switch
            {
                "==" => l == r,
                "!=" => l != r,
                "<" => l < r,
                "<=" => l <= r,
                ">" => l > r,
                ">=" => l >= r,
                _ => (l & r) == r,
            };
        }

        public override string ToString() => $"{Within(Left, 6)} {Operator} {Within(Right, 6)}";
    }

    /// <summary>Whether there is a value.</summary>
    public sealed record Known(Number Value) : Truth
    {
        protected override int Power => Atom;

        public override bool? Of(Situation s) => Value.Of(s) is not null;

        public override string ToString() => $"known({Value})";
    }

    public sealed record In(Number Subject, IReadOnlyList<(ulong First, ulong Last)> Ranges, bool IsNegated) : Truth
    {
        protected override int Power => 5;

        public override bool? Of(Situation s) => Subject.Of(s) is { } value ? Ranges.Any(r => value >= r.First && value <= r.Last) != IsNegated : null;

        public override string ToString() =>
            $"{Within(Subject, 6)} {(IsNegated ? "not in" : "in")} ({string.Join(", ", Ranges.Select(r => r.First == r.Last ? $"{r.First}" : $"0x{r.First:x}..{r.Last}"))})";
    }

    /// <summary>Something that is asked in a form of its own.</summary>
    public sealed record Question(string Text, int TextPower, Func<VmEvent, bool?> Read) : Truth
    {
        protected override int Power => TextPower;

        public override bool? Of(Situation s) => Read(s.Event);

        public override string ToString() => Text;
    }

    public sealed record Not(Truth Operand) : Truth
    {
        protected override int Power => 4;

        public override bool? Of(Situation s) => !Operand.Of(s);

        public override IEnumerable<Truth> Parts => [Operand, .. Operand.Parts.Select(p => new Not(p))];

        public override string ToString() => $"not {Within(Operand, Power)}";
    }

    public sealed record Both(Truth Left, Truth Right) : Truth
    {
        protected override int Power => 3;

        public override bool? Of(Situation s) => (Left.Of(s), Right.Of(s)) switch
        {
            (false, _) or (_, false) => false,
            (true, true) => true,
            _ => null,
        };

        public override IEnumerable<Truth> Parts => [Left, Right, .. Left.Parts.Select(p => new Both(p, Right)), .. Right.Parts.Select(p => new Both(Left, p))];

        public override string ToString() => $"{Within(Left, Power)} and {Within(Right, Power + 1)}";
    }

    public sealed record Either(Truth Left, Truth Right) : Truth
    {
        protected override int Power => 2;

        public override bool? Of(Situation s) => (Left.Of(s), Right.Of(s)) switch
        {
            (true, _) or (_, true) => true,
            (false, false) => false,
            _ => null,
        };

        public override IEnumerable<Truth> Parts => [Left, Right, .. Left.Parts.Select(p => new Either(p, Right)), .. Right.Parts.Select(p => new Either(Left, p))];

        public override string ToString() => $"{Within(Left, Power)} or {Within(Right, Power + 1)}";
    }
}
