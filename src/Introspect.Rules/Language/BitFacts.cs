using System.Numerics;

namespace Introspect.Rules.Language;

/// <summary>
/// What each of 64 bits of an expression is when the bits at its place are 0 or 1 in the old and the new value: four
/// rows of a truth table for each bit.
/// </summary>
/// <param name="When00">Where both are 0.</param>
/// <param name="When01">Where the old is 0 and the new 1.</param>
/// <param name="When10">Where the old is 1 and the new 0.</param>
/// <param name="When11">Where both are 1.</param>
internal readonly record struct BitTable(ulong When00, ulong When01, ulong When10, ulong When11)
{
    public static BitTable Old => new(0, 0, ulong.MaxValue, ulong.MaxValue);

    public static BitTable New => new(0, ulong.MaxValue, 0, ulong.MaxValue);

    public static BitTable Constant(ulong value) => new(value, value, value, value);

    public static BitTable operator &(BitTable a, BitTable b) => new(a.When00 & b.When00, a.When01 & b.When01, a.When10 & b.When10, a.When11 & b.When11);

    public static BitTable operator |(BitTable a, BitTable b) => new(a.When00 | b.When00, a.When01 | b.When01, a.When10 | b.When10, a.When11 | b.When11);

    public static BitTable operator ^(BitTable a, BitTable b) => new(a.When00 ^ b.When00, a.When01 ^ b.When01, a.When10 ^ b.When10, a.When11 ^ b.When11);

    public static BitTable operator ~(BitTable a) => new(~a.When00, ~a.When01, ~a.When10, ~a.When11);
}

/// <summary>
/// What is known of the bits of a write: for each bit which of the four pairs of old and new are possible (a table with 1
/// where a pair is), and bits of which at least one changes.
/// </summary>
/// <param name="Possible">The pairs that are possible.</param>
/// <param name="OneChanged">Bits of which at least one changes; null where that is not known.</param>
internal readonly record struct BitFacts(BitTable Possible, ulong? OneChanged)
{
    public static BitFacts Nothing => new(BitTable.Constant(ulong.MaxValue), null);

    /// <summary>True when some bit can be nothing at all, or none can change of those of which one does.</summary>
    public bool IsImpossible =>
        (OneChanged is { } bits && (bits & (Possible.When01 | Possible.When10)) == 0)
        || (Possible.When00 | Possible.When01 | Possible.When10 | Possible.When11) != ulong.MaxValue;

    /// <summary>Bits of which at least one changes, as far as all that is known tells.</summary>
    public ulong? Changed
    {
        get
        {
            // A bit that can neither stay 0 nor stay 1 changes, and so do all of these.
            var certain = ~(Possible.When00 | Possible.When11);
            return certain == 0 ? OneChanged : Narrower(certain, OneChanged);
        }
    }

    /// <summary>With an expression known to be 0, or known not to be.</summary>
    public BitFacts Where(BitTable expression, bool differs)
    {
        if (!differs)
        {
            return this with { Possible = Possible & ~expression };
        }

        var held = expression & Possible;
        var unchanged = held.When00 | held.When11;
        var changed = held.When01 | held.When10;
        if (BitOperations.PopCount(unchanged | changed) <= 1)
        {
            // Only one bit can make it differ from 0, so that one does.
            var bit = unchanged | changed;
            return bit == 0 ? this with { OneChanged = 0 } : this with { Possible = Possible & (expression | BitTable.Constant(~bit)) };
        }

        return unchanged == 0 ? this with { OneChanged = Narrower(changed, OneChanged) } : this;
    }

    public BitFacts And(BitFacts other) => new(Possible & other.Possible, Narrower(OneChanged, other.OneChanged));

    public BitFacts Or(BitFacts other) => new(Possible | other.Possible, Changed is { } a && other.Changed is { } b ? a | b : null);

    // Both hold; fewer bits to watch are better.
    private static ulong? Narrower(ulong? a, ulong? b) =>
        a is null ? b : b is null || BitOperations.PopCount(a.Value) <= BitOperations.PopCount(b.Value) ? a : b;
}
