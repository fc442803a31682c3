namespace Introspect.Benchmarks.Measuring;

/// <summary>How long to measure.</summary>
/// <param name="Repetitions">Samples of each benchmark.</param>
/// <param name="Divisor">By how much the work of a sample is cut down.</param>
internal sealed record Effort(int Repetitions, int Divisor)
{
    public static Effort Full { get; } = new(9, 1);

    /// <summary>For a look whether everything still runs; the figures are coarse.</summary>
    public static Effort Quick { get; } = new(3, 8);
}
