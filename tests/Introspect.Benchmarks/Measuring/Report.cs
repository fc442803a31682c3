using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace Introspect.Benchmarks.Measuring;

/// <summary>Results for people and for programs.</summary>
internal static class Report
{
    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        WriteIndented = true,
    };

    public static void WriteTableHead(TextWriter output) => output.WriteLine(
        $"{"benchmark",-22} {"operation",-12} {"per second",12} {"ns/op",10} {"fastest",10} {"slowest",10} {"spread",7} {"clock",5} {"on CPU",7} {"bytes/op",9}");

    public static void WriteTableRow(TextWriter output, Result r) => output.WriteLine(string.Create(
        CultureInfo.InvariantCulture,
        $"{r.Name,-22} {r.Operation,-12} {Rate(r.PerSecond),12} {r.MedianNanoseconds,10:0.00} {r.FastestNanoseconds,10:0.00} {r.SlowestNanoseconds,10:0.00} {100 * r.Spread,6:0.0}% {(r.TimeBase == TimeBase.Cpu ? "cpu" : "wall"),5} {100 * r.CpuShare,6:0}% {r.BytesPerOperation,9:0.##}"));

    public static void WriteMachine(TextWriter output) => output.WriteLine(
        $"{ProcessorName()}, {Environment.ProcessorCount} processors, {RuntimeInformation.OSDescription}, {RuntimeInformation.FrameworkDescription}");

    public static void WriteJson(TextWriter output, IEnumerable<Result> results, AllocationBudgets budgets) =>
        output.WriteLine(JsonSerializer.Serialize(
            new
            {
                Processor = ProcessorName(),
                Processors = Environment.ProcessorCount,
                OperatingSystem = RuntimeInformation.OSDescription,
                Runtime = RuntimeInformation.FrameworkDescription,
                Time = DateTime.UtcNow,
                Results = results.Select(r => new
                {
                    r.Name,
                    r.Operation,
                    Clock = r.TimeBase == TimeBase.Cpu ? "cpu" : "wall",
                    r.Repetitions,
                    r.Operations,
                    r.PerSecond,
                    r.MedianNanoseconds,
                    r.FastestNanoseconds,
                    r.SlowestNanoseconds,
                    r.Spread,
                    r.CpuShare,
                    r.BytesPerOperation,
                    AllocationBudget = budgets.Of(r.Name),
                }),
            },
            Json));

    private static string Rate(double perSecond) => perSecond switch
    {
        >= 1e6 => (perSecond / 1e6).ToString("0.0 M", CultureInfo.InvariantCulture),
        >= 1e4 => (perSecond / 1e3).ToString("0.0 k", CultureInfo.InvariantCulture),
        _ => perSecond.ToString("0", CultureInfo.InvariantCulture),
    };

    private static string ProcessorName()
    {
        const string Field = "model name";
        const string Source = "/proc/cpuinfo";
        var line = File.Exists(Source) ? File.ReadLines(Source).FirstOrDefault(l => l.StartsWith(Field, StringComparison.Ordinal)) : null;
        return line is null ? RuntimeInformation.ProcessArchitecture.ToString() : line[(line.IndexOf(':', StringComparison.Ordinal) + 1)..].Trim();
    }
}
