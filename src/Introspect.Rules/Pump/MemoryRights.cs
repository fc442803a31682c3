using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;

namespace Introspect.Rules.Pump;

/// <summary>Rights of a run of guest pages.</summary>
internal readonly record struct RightsRun(ulong First, uint Count, MemoryAccess Access);

/// <summary>
/// The rights of every watched page, merged from the ranges of all handlers: sorted runs without overlap, each page
/// forbidding what any handler watches.
/// </summary>
internal sealed class MemoryRights
{
    private readonly RightsRun[] _runs;

    public MemoryRights(IEnumerable<RangeWish> ranges)
    {
        var wishes = ranges.ToArray();
        var bounds = wishes.SelectMany(wish => new[] { wish.First, wish.First + wish.Count }).Distinct().Order().ToArray();
        var runs = new List<RightsRun>();
        for (var i = 0; i + 1 < bounds.Length; i++)
        {
            var watched = MemAccessFlags.None;
            foreach (var wish in wishes)
            {
                if (bounds[i] - wish.First < wish.Count)
                {
                    watched |= wish.Watched;
                }
            }

            if (watched != MemAccessFlags.None)
            {
                Append(runs, bounds[i], bounds[i + 1], Forbid(watched));
            }
        }

        _runs = [.. runs];
    }

    public ReadOnlySpan<RightsRun> Runs => _runs;

    public bool IsEmpty => _runs.Length == 0;

    /// <summary>The rights of a page; all of them for one that nobody watches.</summary>
    public MemoryAccess this[ulong gfn]
    {
        get
        {
            int low = 0, high = _runs.Length - 1;
            while (low <= high)
            {
                var middle = (low + high) >>> 1;
                ref readonly var run = ref _runs[middle];
                if (gfn - run.First < run.Count)
                {
                    return run.Access;
                }

                (low, high) = gfn < run.First ? (low, middle - 1) : (middle + 1, high);
            }

            return MemoryAccess.Rwx;
        }
    }

    /// <summary>The pages that have other rights there, with those rights.</summary>
    public IReadOnlyList<RightsRun> Differences(MemoryRights other)
    {
        var runs = _runs.Concat(other._runs).ToArray();
        var bounds = runs.SelectMany(run => new[] { run.First, run.First + run.Count }).Distinct().Order().ToArray();
        var different = new List<RightsRun>();
        for (var i = 0; i + 1 < bounds.Length; i++)
        {
            if (this[bounds[i]] != other[bounds[i]])
            {
                Append(different, bounds[i], bounds[i + 1], other[bounds[i]]);
            }
        }

        return different;
    }

    /// <summary>
    /// The rights that make every watched access fault. A page that can be written and not read does not exist in
    /// the processors' tables, so that watching reads takes the right to write, too.
    /// </summary>
    internal static MemoryAccess Forbid(MemAccessFlags watched)
    {
        var execute = (watched & MemAccessFlags.Execute) == 0;
        return (watched & MemAccessFlags.Read) != 0 ? (execute ? MemoryAccess.X : MemoryAccess.N)
            : (watched & MemAccessFlags.Write) != 0 ? (execute ? MemoryAccess.Rx : MemoryAccess.R)
            : (execute ? MemoryAccess.Rwx : MemoryAccess.Rw);
    }

    private static void Append(List<RightsRun> runs, ulong first, ulong end, MemoryAccess access)
    {
        if (runs.Count > 0)
        {
            var last = runs[^1];
            if (last.Access == access && last.First + last.Count == first && end - last.First <= uint.MaxValue)
            {
                runs[^1] = last with { Count = (uint)(end - last.First) };
                return;
            }
        }

        runs.Add(new(first, (uint)(end - first), access));
    }
}
