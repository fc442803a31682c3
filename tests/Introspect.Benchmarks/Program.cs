using Introspect.Benchmarks.Agent;
using Introspect.Benchmarks.Forks;
using Introspect.Benchmarks.Interpreter;
using Introspect.Benchmarks.Measuring;
using Introspect.Benchmarks.Pump;
using Introspect.Benchmarks.Ring;

const int Usage = 2;
const int OverBudget = 1;

Benchmark[] benchmarks = [.. InterpreterBenchmarks.All, .. RingBenchmarks.All, .. PumpBenchmarks.All, .. PluginBenchmarks.All, .. RecordBenchmarks.All, .. ForkBenchmarks.All];
var budgets = AllocationBudgets.Read();
if (args.Contains("--list"))
{
    foreach (var benchmark in benchmarks)
    {
        Console.WriteLine($"{benchmark.Name,-22} {benchmark.Operation}");
    }

    return 0;
}

string[] options = ["--json", "--quick", "--agent"];
var names = args.Where(a => !a.StartsWith("--", StringComparison.Ordinal)).ToArray();
if (args.FirstOrDefault(a => a.StartsWith("--", StringComparison.Ordinal) && !options.Contains(a)) is { } option)
{
    await Console.Error.WriteLineAsync($"unknown option {option}: use [name…] [--json] [--quick], --agent or --list");
    return Usage;
}

if (names.FirstOrDefault(n => !benchmarks.Any(b => b.Name.StartsWith(n, StringComparison.Ordinal))) is { } stranger)
{
    await Console.Error.WriteLineAsync($"no benchmark's name begins with {stranger}: see --list");
    return Usage;
}

if (budgets.Unknown(benchmarks.Select(b => b.Name)).FirstOrDefault() is { } unknown)
{
    await Console.Error.WriteLineAsync($"allocation-budgets.json names {unknown}, which is no benchmark: correct the name");
    return Usage;
}

var json = args.Contains("--json");
var effort = args.Contains("--quick") ? Effort.Quick : Effort.Full;
if (args.Contains("--agent"))
{
    Report.WriteMachine(Console.Out);
    return AgentBenchmarks.Compare(Console.Out, effort) ? 0 : Usage;
}

var results = new List<Result>();
if (!json)
{
    Report.WriteMachine(Console.Out);
    Report.WriteTableHead(Console.Out);
}

foreach (var benchmark in benchmarks.Where(b => names.Length == 0 || names.Any(n => b.Name.StartsWith(n, StringComparison.Ordinal))))
{
    var result = benchmark.Run(effort);
    results.Add(result);
    if (!json)
    {
        Report.WriteTableRow(Console.Out, result);
    }
}

if (!json && results.Exists(r => r.Name == "record"))
{
    Console.WriteLine(string.Create(System.Globalization.CultureInfo.InvariantCulture, $"a recorded event takes {RecordBenchmarks.BytesPerEvent(compress: true):0.0} bytes in the file, {RecordBenchmarks.BytesPerEvent(compress: false):0.0} without compression"));
}

if (json)
{
    Report.WriteJson(Console.Out, results, budgets);
}

var over = results.Where(budgets.IsExceeded).ToArray();
foreach (var result in over)
{
    await Console.Error.WriteLineAsync($"{result.Name} allocates {result.BytesPerOperation:0.###} bytes for each {result.Operation}, its budget is {budgets.Of(result.Name)}: find what allocates, or change allocation-budgets.json and say why");
}

return over.Length == 0 ? 0 : OverBudget;
