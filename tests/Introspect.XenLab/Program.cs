using Introspect.Hypervisor.Core.Building.Demo;
using Introspect.XenLab.Compare;
using Introspect.XenLab.Contract;
using Introspect.XenLab.Guest;

// What a step of the lab ends with that has nothing to say on this machine.
const int Skipped = 77;

var guests = new SortedDictionary<string, Func<byte[]>>(StringComparer.Ordinal)
{
    ["demo"] = static () => DemoGuest.Build().Image,
    ["demo-forever"] = static () => DemoGuest.Build(new() { Forever = true }).Image,
    ["load"] = static () => TraceGuest.Build(new(Rounds: 0, Load: true)).Image,
    ["trace"] = static () => TraceGuest.Build().Image,
    ["trace-forever"] = static () => TraceGuest.Build(new(Rounds: 0)).Image,
};

switch (args)
{
    case ["guests"]:
        Console.WriteLine(string.Join('\n', guests.Keys));
        return 0;
    case ["guest", var name, var file] when guests.TryGetValue(name, out var build):
        File.WriteAllBytes(file, build());
        return 0;
    case ["compare", var first, var second]:
        var comparison = TraceComparison.Of(File.ReadLines(first), File.ReadLines(second));
        foreach (var (reason, count) in comparison.EqualByReason)
        {
            Console.WriteLine($"{count} {reason} equal");
        }

        foreach (var difference in comparison.Differences)
        {
            Console.WriteLine($"different: {difference}");
        }

        Console.WriteLine($"{comparison.Members} members compared");
        return comparison.Differences.Count == 0 ? 0 : 1;
    case ["contract"]:
        if (XlLab.TryOpenXen(out var refusal) is not { } lab)
        {
            Console.WriteLine(refusal);
            return Skipped;
        }

        using (lab)
        {
            return SeamChecks.RunAll(lab, Console.Out) == 0 ? 0 : 1;
        }

    default:
        Console.Error.WriteLine("usage: xenlab guests | xenlab guest NAME FILE | xenlab compare FILE FILE | xenlab contract");
        return 2;
}
