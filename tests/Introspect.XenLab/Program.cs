using Introspect.Hypervisor;
using Introspect.Hypervisor.Core.Building.Demo;
using Introspect.XenLab.Compare;
using Introspect.XenLab.Contract;
using Introspect.XenLab.Events;
using Introspect.XenLab.Guest;
using Introspect.XenLab.Measure;

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
        return Compare(first, second);
    case ["contract"]:
        return OnXen(static lab => SeamChecks.RunAll(lab, Console.Out) == 0);
    case ["events", var document]:
        return OnXen(lab => WriteEvents(lab, document));
    case ["goes-on", var domain]:
        return OnXen(lab => Say($"{OfGuest(lab, domain, GuestCounter.WaitUntilItGoesOn)} rounds more"));
    case ["stands", var domain]:
        return OnXen(lab => Say($"{OfGuest(lab, domain, GuestCounter.WaitUntilItStands)} rounds, and no more"));
    case ["beside", var domain, var rounds] when int.TryParse(rounds, out var count):
        return OnXen(lab => SideBySide.Run(lab.Hypervisor, domain, count, Console.Out));
    default:
        Console.Error.WriteLine("usage: xenlab guests | guest NAME FILE | compare FILE FILE | contract | events DOCUMENT | goes-on DOMAIN | stands DOMAIN | beside DOMAIN ROUNDS");
        return 2;
}

static int OnXen(Func<IContractLab, bool> run)
{
    if (XlLab.TryOpenXen(out var refusal) is not { } lab)
    {
        Console.WriteLine(refusal);
        return Skipped;
    }

    using (lab)
    {
        try
        {
            return run(lab) ? 0 : 1;
        }
        catch (Exception e) when (e is ContractException or HypervisorException)
        {
            Console.WriteLine(e.Message);
            return 1;
        }
    }
}

static bool Say(string text)
{
    Console.WriteLine(text);
    return true;
}

static ulong OfGuest(IContractLab lab, string name, Func<IDomain, ulong> ask)
{
    using var domain = lab.Hypervisor.Open(DomainRef.Parse(name));
    return ask(domain);
}

// Writes the table of events, and says whether the document has the same.
static bool WriteEvents(IContractLab lab, string document)
{
    var table = EventTable.Write(lab);
    Console.Write(table);
    return EventTable.FindIn(File.ReadAllText(document)) == table;
}

static int Compare(string first, string second)
{
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
}
