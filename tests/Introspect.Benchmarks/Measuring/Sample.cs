using System.Diagnostics;

namespace Introspect.Benchmarks.Measuring;

/// <summary>One repetition: how much was done, and what it took.</summary>
/// <param name="Operations">Instructions, events or round trips.</param>
/// <param name="WallSeconds">Time on the clock.</param>
/// <param name="CpuSeconds">Processor time of the whole process, user and kernel.</param>
/// <param name="Bytes">Bytes allocated on the managed heap.</param>
internal readonly record struct Sample(long Operations, double WallSeconds, double CpuSeconds, long Bytes);

/// <summary>Where a repetition starts.</summary>
internal readonly record struct StopWatch(long Timestamp, TimeSpan Cpu, long Bytes)
{
    /// <summary>Starts; allocations are those of every thread.</summary>
    public static StopWatch Start()
    {
        var bytes = GC.GetTotalAllocatedBytes(precise: true);
        return new(Stopwatch.GetTimestamp(), Environment.CpuUsage.TotalTime, bytes);
    }

    /// <summary>Starts; allocations are those of this thread.</summary>
    public static StopWatch StartOnThread() =>
        new(Stopwatch.GetTimestamp(), Environment.CpuUsage.TotalTime, GC.GetAllocatedBytesForCurrentThread());

    public Sample Stop(long operations)
    {
        var (wall, cpu) = Times();
        return new(operations, wall, cpu, GC.GetTotalAllocatedBytes(precise: true) - Bytes);
    }

    public Sample StopOnThread(long operations)
    {
        var bytes = GC.GetAllocatedBytesForCurrentThread() - Bytes;
        var (wall, cpu) = Times();
        return new(operations, wall, cpu, bytes);
    }

    private (double Wall, double Cpu) Times()
    {
        var wall = Stopwatch.GetElapsedTime(Timestamp).TotalSeconds;
        return (wall, (Environment.CpuUsage.TotalTime - Cpu).TotalSeconds);
    }
}
