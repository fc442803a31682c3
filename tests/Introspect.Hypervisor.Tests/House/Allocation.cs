namespace Introspect.Hypervisor.Tests.House;

/// <summary>What code allocates, told apart from what the runtime does for itself.</summary>
internal static class Allocation
{
    private const int Rounds = 5;

    /// <summary>
    /// The least that the calling thread allocates in one of several rounds, after one that does not count. What code allocates for
    /// each event it allocates in every round; the runtime fills its caches and makes better code in one or another.
    /// </summary>
    public static long LeastOf(Action round)
    {
        round();
        var least = long.MaxValue;
        for (var n = 0; n < Rounds && least != 0; n++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            round();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}
