using System.Globalization;
using System.Text.Json;
using Introspect.Daemon.Output;
using Introspect.Daemon.Tests.Output;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Daemon.Tests.Cli;

/// <summary>What <c>introspect trace --demo</c> prints, against what the guest is written to do.</summary>
public sealed class DemoProcessTests
{
    [Theory]
    [InlineData("--demo")]
    [InlineData("--demo", "--deny-protection-clears")]
    public void the_demos_events_are_those_that_it_is_written_to_cause(params string[] arguments)
    {
        var (exitCode, output, error) = ProcessTests.Program(["trace", .. arguments, "--json", "--lossless"]);
        Assert.Equal((0, ""), (exitCode, error));
        var schema = new SchemaChecker(File.ReadAllText(Repository.PathOf("docs", "events.schema.json")));
        var lines = output.Split('\n', StringSplitOptions.RemoveEmptyEntries).ToList();
        Assert.All(lines, line => Assert.Empty(schema.Check(line)));
        var objects = lines.ConvertAll(line => JsonDocument.Parse(line).RootElement);

        var demo = DemoGuest.Build();
        var cpu = new DemoCpu { ClearsAreDenied = arguments.Contains("--deny-protection-clears") };
        // The interface that the core plays, Xen 4.17's, has no events for ports.
        var expected = demo.ExpectedEvents(cpu).Where(act => act.Reason is not (VmEventReason.VmExit or VmEventReason.IoInstruction)).Select(Describe).ToList();
        var events = objects.Where(o => Text(o, "type") == "event").ToList();
        Assert.Equal(expected, events.Where(e => Text(e, "reason") is not ("vmexit" or "singlestep")).Select(Describe));

        // Each round steps through the sequence that the guest has for it, and through nothing else.
        var steps = events.Where(e => Text(e, "reason") == "singlestep").Select(e => Number(e, "rip"));
        Assert.Equal(Enumerable.Repeat(demo.StepAddresses.Skip(1), new DemoGuestOptions().Rounds).SelectMany(r => r), steps);

        var console = string.Concat(objects.Where(o => Text(o, "type") == "console").Select(o => Text(o, "text") + "\n"));
        Assert.Equal(demo.ExpectedConsole(cpu), console);

        var summary = objects[^1];
        Assert.Equal(("summary", "poweroff", 0), (Text(summary, "type"), Text(summary, "end"), summary.GetProperty("dropped").GetInt64()));
        Assert.Equal(events.Count, summary.GetProperty("events").GetInt64());
        foreach (var reason in summary.GetProperty("by_reason").EnumerateObject())
        {
            Assert.Equal(events.Count(e => Text(e, "reason") == reason.Name), reason.Value.GetInt64());
        }
    }

    [Fact]
    public void the_demo_runs_on_either_vendors_virtualisation()
    {
        foreach (var vendor in new[] { "vmx", "svm" })
        {
            var (exitCode, output, error) = ProcessTests.Program("trace", "--demo", "--vendor", vendor, "--cr", "--cpuid", "--lossless");
            Assert.Equal((0, ""), (exitCode, error));
            Assert.Contains("console | introspect demo guest: done\n", output, StringComparison.Ordinal);
            Assert.Contains("ended by poweroff\n", output, StringComparison.Ordinal);
        }
    }

    private static string Describe(DemoAct act) => act.Reason switch
    {
        VmEventReason.WriteCtrlreg => $"{act.Rip:x} {act.ControlRegister} {act.Old:x} {act.New:x}".ToLowerInvariant(),
        VmEventReason.MovToMsr => $"{act.Rip:x} msr {act.Msr:x} {act.Old:x} {act.New:x}",
        VmEventReason.Cpuid => $"{act.Rip:x} cpuid {act.Leaf:x} {act.Subleaf:x}",
        VmEventReason.MemAccess => $"{act.Rip:x} access {EventDetail.Rights(act.Access)} {act.Gfn.Value:x} {act.Gla:x}",
        VmEventReason.DescriptorAccess => $"{act.Rip:x} load {act.Descriptor}".ToLowerInvariant(),
        _ => $"{act.Rip:x} {ReasonNames.Of(act.Reason)}",
    };

    private static string Describe(JsonElement e)
    {
        var rip = Number(e, "rip");
        var reason = Text(e, "reason");
        return e.TryGetProperty(reason, out var detail) ? reason switch
        {
            "write_ctrlreg" => $"{rip:x} {Text(detail, "register")} {Number(detail, "old"):x} {Number(detail, "new"):x}",
            "mov_to_msr" => $"{rip:x} msr {Number(detail, "msr"):x} {Number(detail, "old"):x} {Number(detail, "new"):x}",
            "cpuid" => $"{rip:x} cpuid {Number(detail, "leaf"):x} {Number(detail, "subleaf"):x}",
            "mem_access" => $"{rip:x} access {Text(detail, "access")} {Number(detail, "gfn"):x} {Number(detail, "gla"):x}",
            "descriptor_access" => $"{rip:x} {Text(detail, "access")} {Text(detail, "register")}",
            _ => $"{rip:x} {reason}",
        } : $"{rip:x} {reason}";
    }

    private static string Text(JsonElement e, string name) => e.GetProperty(name).GetString()!;

    private static ulong Number(JsonElement e, string name) => ulong.Parse(Text(e, name).AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
}
