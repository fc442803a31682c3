namespace Introspect.Benchmarks.Measuring;

/// <summary>Which clock a rate is against.</summary>
internal enum TimeBase
{
    /// <summary>Processor time: of use for a single busy thread, and what other load on the machine disturbs least.</summary>
    Cpu,

    /// <summary>Time on the clock: for what waits and wakes, where latency is the point.</summary>
    Wall,
}

/// <summary>The samples of a benchmark, boiled down.</summary>
internal sealed class Result
{
    private readonly double[] _nanoseconds;

    public Result(string name, string operation, TimeBase timeBase, IReadOnlyList<Sample> samples)
    {
        Name = name;
        Operation = operation;
        TimeBase = timeBase;
        Operations = samples[0].Operations;
        _nanoseconds = [.. samples.Select(s => 1e9 * (timeBase == TimeBase.Cpu ? s.CpuSeconds : s.WallSeconds) / s.Operations).Order()];
        CpuShare = samples.Sum(s => s.CpuSeconds) / samples.Sum(s => s.WallSeconds);
        BytesPerOperation = samples.Min(s => (double)s.Bytes / s.Operations);
    }

    public string Name { get; }

    /// <summary>What is counted, in the singular.</summary>
    public string Operation { get; }

    public TimeBase TimeBase { get; }

    /// <summary>Operations in a repetition.</summary>
    public long Operations { get; }

    public int Repetitions => _nanoseconds.Length;

    public double MedianNanoseconds => Quantile(_nanoseconds, 0.5);

    public double FastestNanoseconds => _nanoseconds[0];

    public double SlowestNanoseconds => _nanoseconds[^1];

    /// <summary>Distance of the quartiles as a part of the median.</summary>
    public double Spread => (Quantile(_nanoseconds, 0.75) - Quantile(_nanoseconds, 0.25)) / MedianNanoseconds;

    public double PerSecond => 1e9 / MedianNanoseconds;

    /// <summary>Processor time over time on the clock; under 1 for a busy thread means that the machine was shared.</summary>
    public double CpuShare { get; }

    /// <summary>
    /// Managed bytes allocated for one operation, the least of the repetitions: what an operation allocates is in each,
    /// what the runtime allocates once (a lock's event, a method compiled anew) is not.
    /// </summary>
    public double BytesPerOperation { get; }

    private static double Quantile(double[] sorted, double part)
    {
        var at = part * (sorted.Length - 1);
        var below = (int)at;
        var above = Math.Min(below + 1, sorted.Length - 1);
        return sorted[below] + ((at - below) * (sorted[above] - sorted[below]));
    }
}
