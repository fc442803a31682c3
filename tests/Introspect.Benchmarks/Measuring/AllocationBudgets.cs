using System.Text.Json;

namespace Introspect.Benchmarks.Measuring;

/// <summary>
/// What benchmarks may allocate for one operation, by name, from allocation-budgets.json. Unlike a time, it is the
/// same on every machine, so that it can be held.
/// </summary>
internal sealed class AllocationBudgets
{
    private const string FileName = "allocation-budgets.json";

    // What the runtime itself allocates now and then (a timer, a tiered method) is spread over very many operations.
    private const double Tolerance = 0.005;

    private readonly Dictionary<string, double> _budgets;

    private AllocationBudgets(Dictionary<string, double> budgets) => _budgets = budgets;

    public static AllocationBudgets Read()
    {
        using var file = File.OpenRead(Path.Combine(AppContext.BaseDirectory, FileName));
        return new(JsonSerializer.Deserialize<Dictionary<string, double>>(file) ?? []);
    }

    /// <summary>Names in the file which no benchmark has: a renamed benchmark must not lose its budget unseen.</summary>
    public IEnumerable<string> Unknown(IEnumerable<string> benchmarks) => _budgets.Keys.Except(benchmarks);

    public double? Of(string benchmark) => _budgets.TryGetValue(benchmark, out var budget) ? budget : null;

    public bool IsExceeded(Result result) => Of(result.Name) is { } budget && result.BytesPerOperation > budget + Tolerance;
}
