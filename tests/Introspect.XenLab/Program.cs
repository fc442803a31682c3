using Introspect.Hypervisor.Core.Building.Demo;
using Introspect.XenLab.Compare;
using Introspect.XenLab.Guest;

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
    default:
        Console.Error.WriteLine("usage: xenlab guests | xenlab guest NAME FILE | xenlab compare FILE FILE");
        return 2;
}
