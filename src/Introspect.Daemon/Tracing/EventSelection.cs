using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tracing;

/// <summary>Guest pages whose accesses are watched.</summary>
/// <param name="First">First page.</param>
/// <param name="Count">Number of pages.</param>
/// <param name="Forbidden">Rights that are taken away: an access that needs one is an event.</param>
internal readonly record struct MemoryWatch(Gfn First, uint Count, MemoryAccess Forbidden)
{
    /// <summary>Rights that the pages keep.</summary>
    public MemoryAccess Remaining => (MemoryAccess)((byte)MemoryAccess.Rwx & ~(byte)Forbidden);
}

/// <summary>What is watched on a domain.</summary>
internal sealed record EventSelection
{
    /// <summary>Events to enable, none twice.</summary>
    public IReadOnlyList<MonitorEvent> Events { get; init; } = [];

    /// <summary>Memory to watch.</summary>
    public IReadOnlyList<MemoryWatch> Memory { get; init; } = [];

    /// <summary>Nothing is watched.</summary>
    public bool IsEmpty => Events.Count == 0 && Memory.Count == 0;

    /// <summary>
    /// Memory by rights that remain, overlaps resolved: a page that is watched for reads and for writes has both
    /// rights taken. In the order of pages.
    /// </summary>
    public IReadOnlyList<(Gfn First, uint Count, MemoryAccess Access)> ResolveMemory()
    {
        // A sweep over the ends of the ranges: between two neighbouring ends every page has the same rights.
        var ends = Memory.SelectMany(w => new[] { w.First.Value, w.First.Value + w.Count }).Distinct().Order().ToArray();
        var result = new List<(Gfn First, uint Count, MemoryAccess Access)>();
        for (var i = 0; i + 1 < ends.Length; i++)
        {
            var forbidden = Memory
                .Where(w => w.First.Value <= ends[i] && ends[i] < w.First.Value + w.Count)
                .Aggregate(0, (rights, w) => rights | (byte)w.Forbidden);
            if (forbidden != 0)
            {
                result.Add((new Gfn(ends[i]), (uint)(ends[i + 1] - ends[i]), (MemoryAccess)((byte)MemoryAccess.Rwx & ~forbidden)));
            }
        }

        return result;
    }
}
