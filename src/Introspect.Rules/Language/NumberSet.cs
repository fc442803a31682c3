using System.Globalization;

namespace Introspect.Rules.Language;

/// <summary>Numbers from one to another, both among them.</summary>
/// <param name="First">The lowest.</param>
/// <param name="Last">The highest.</param>
public readonly record struct NumberRange(ulong First, ulong Last)
{
    /// <summary>True when the number is one of them.</summary>
    public bool Contains(ulong number) => number - First <= Last - First;

    /// <inheritdoc/>
    public override string ToString() => First == Last
        ? string.Create(CultureInfo.InvariantCulture, $"0x{First:x}")
        : string.Create(CultureInfo.InvariantCulture, $"0x{First:x}..0x{Last:x}");
}

/// <summary>A set of 64-bit numbers, as ranges in order that neither meet nor overlap.</summary>
public sealed class NumberSet
{
    private readonly NumberRange[] _ranges;

    private NumberSet(NumberRange[] ranges) => _ranges = ranges;

    /// <summary>No number.</summary>
    public static NumberSet Empty { get; } = new([]);

    /// <summary>Every number.</summary>
    public static NumberSet Everything { get; } = new([new(0, ulong.MaxValue)]);

    /// <summary>The ranges, lowest first.</summary>
    public IReadOnlyList<NumberRange> Ranges => _ranges;

    /// <summary>True when it has no number.</summary>
    public bool IsEmpty => _ranges.Length == 0;

    /// <summary>True when it has every number: nothing is known.</summary>
    public bool IsEverything => _ranges is [(0, ulong.MaxValue)];

    /// <summary>How many numbers it has; 2^64 is told as 2^64-1.</summary>
    public ulong Count
    {
        get
        {
            var count = UInt128.Zero;
            foreach (var range in _ranges)
            {
                count += (UInt128)(range.Last - range.First) + 1;
            }

            return count > ulong.MaxValue ? ulong.MaxValue : (ulong)count;
        }
    }

    /// <summary>The set of some ranges; one whose last number is below its first has none.</summary>
    public static NumberSet Of(params IEnumerable<NumberRange> ranges)
    {
        var merged = new List<NumberRange>();
        foreach (var range in ranges.Where(r => r.First <= r.Last).OrderBy(r => r.First))
        {
            if (merged.Count > 0 && (merged[^1].Last == ulong.MaxValue || range.First <= merged[^1].Last + 1))
            {
                merged[^1] = new(merged[^1].First, Math.Max(merged[^1].Last, range.Last));
            }
            else
            {
                merged.Add(range);
            }
        }

        return merged.Count == 0 ? Empty : new([.. merged]);
    }

    /// <summary>The set of one number.</summary>
    public static NumberSet Of(ulong number) => new([new(number, number)]);

    /// <summary>The numbers in it one by one.</summary>
    /// <exception cref="InvalidOperationException">There are more than the limit.</exception>
    public IEnumerable<ulong> Numbers(ulong limit = 1 << 20)
    {
        if (Count > limit)
        {
            throw new InvalidOperationException($"The set has {Count} numbers, more than {limit}.");
        }

        return _ranges.SelectMany(Each);

        static IEnumerable<ulong> Each(NumberRange range)
        {
            for (var number = range.First; ; number++)
            {
                yield return number;
                if (number == range.Last)
                {
                    yield break;
                }
            }
        }
    }

    /// <summary>True when the number is in it.</summary>
    public bool Contains(ulong number)
    {
        int low = 0, high = _ranges.Length - 1;
        while (low <= high)
        {
            var middle = (low + high) >>> 1;
            ref readonly var range = ref _ranges[middle];
            if (number < range.First)
            {
                high = middle - 1;
            }
            else if (number > range.Last)
            {
                low = middle + 1;
            }
            else
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>What is in either.</summary>
    public NumberSet Union(NumberSet other)
    {
        ArgumentNullException.ThrowIfNull(other);
        return IsEverything || other.IsEmpty ? this : other.IsEverything || IsEmpty ? other : Of(_ranges.Concat(other._ranges));
    }

    /// <summary>What is in both.</summary>
    public NumberSet Intersect(NumberSet other)
    {
        ArgumentNullException.ThrowIfNull(other);
        var both = new List<NumberRange>();
        for (int i = 0, j = 0; i < _ranges.Length && j < other._ranges.Length;)
        {
            var (a, b) = (_ranges[i], other._ranges[j]);
            var (first, last) = (Math.Max(a.First, b.First), Math.Min(a.Last, b.Last));
            if (first <= last)
            {
                both.Add(new(first, last));
            }

            if (a.Last < b.Last)
            {
                i++;
            }
            else
            {
                j++;
            }
        }

        return new([.. both]);
    }

    /// <summary>What is not in it.</summary>
    public NumberSet Complement()
    {
        var gaps = new List<NumberRange>();
        var next = 0UL;
        foreach (var range in _ranges)
        {
            if (range.First > next)
            {
                gaps.Add(new(next, range.First - 1));
            }

            if (range.Last == ulong.MaxValue)
            {
                return new([.. gaps]);
            }

            next = range.Last + 1;
        }

        gaps.Add(new(next, ulong.MaxValue));
        return new([.. gaps]);
    }

    /// <inheritdoc/>
    public override string ToString() => IsEverything ? "any" : IsEmpty ? "none" : string.Join(", ", _ranges);
}
