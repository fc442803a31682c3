namespace Introspect.Benchmarks.Measuring;

/// <summary>Something to measure.</summary>
/// <param name="Name">Lower case, words joined by dashes, the room first.</param>
/// <param name="Operation">What one operation is, in the singular.</param>
/// <param name="TimeBase">The clock.</param>
/// <param name="Measure">Sets up, warms up, and takes as many samples as the effort says.</param>
internal sealed record Benchmark(string Name, string Operation, TimeBase TimeBase, Func<Effort, IReadOnlyList<Sample>> Measure)
{
    public Result Run(Effort effort) => new(Name, Operation, TimeBase, Measure(effort));
}
