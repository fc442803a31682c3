using System.Text.Json;
using Introspect.Hypervisor.Tests.Building;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary>
/// <c>trace</c> beside a guest whose vCPUs run the watched code and write the watched page at the same time: nobody gets
/// past unseen while another is stepped over, and the guest's own sums come out.
/// </summary>
public sealed class ManyVcpusTests : IDisposable
{
    private const int Vcpus = 4;
    private const int Rounds = 60;

    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-smp-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [TheoryWithTools(CGuestBuilder.Compiler)]
    [InlineData("vmx", false)]
    [InlineData("vmx", true)]
    [InlineData("svm", false)]
    public async Task A_breakpoint_is_hit_as_often_as_the_guest_comes_by(string vendor, bool view)
    {
        var trace = await TraceAsync(["--vendor", vendor, "--int3", "request", .. view ? ["--view"] : Array.Empty<string>()]);

        Assert.Equal("requests: ok\n", trace.Console);
        AssertEachVcpu(trace, Rounds);
        Assert.All(trace.Events, e => Assert.Equal(view, e.GetProperty("view").GetInt32() != 0));

        // The second argument counts: each vCPU's come in order, none twice.
        foreach (var vcpu in trace.Events.GroupBy(e => e.GetProperty("vcpu").GetInt32()))
        {
            Assert.Equal(Enumerable.Range(0, Rounds).Select(n => (ulong)n), vcpu.Select(e => TraceRun.Number(e.GetProperty("registers"), "rsi")));
        }
    }

    [TheoryWithTools(CGuestBuilder.Compiler)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Every_write_to_a_page_that_all_write_is_seen(bool view)
    {
        var trace = await TraceAsync(["--write", "vcpu_counters", .. view ? ["--view"] : Array.Empty<string>()]);

        Assert.Equal("requests: ok\n", trace.Console);
        AssertEachVcpu(trace, Rounds);
    }

    [TheoryWithTools(CGuestBuilder.Compiler)]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Turns_on_one_thread_give_the_same_trace_again(bool view)
    {
        string[] options = [.. view ? ["--view"] : Array.Empty<string>(), "--core", "interleaved", "--int3", "request", "--write", "vcpu_counters"];
        var first = await TraceAsync(options);
        var again = await TraceAsync(options);

        Assert.Equal("requests: ok\n", first.Console);
        Assert.Equal(2 * Vcpus * Rounds, first.Events.Count);
        Assert.Equal(first.Events.ConvertAll(Describe), again.Events.ConvertAll(Describe));

        static string Describe(JsonElement e) => $"{e.GetProperty("vcpu")} {TraceRun.Text(e, "reason")} {TraceRun.Text(e, "rip")}";
    }

    private static void AssertEachVcpu(TraceRun trace, int events) =>
        Assert.Equal(
            Enumerable.Range(0, Vcpus).Select(n => (n, events)),
            trace.Events.GroupBy(e => e.GetProperty("vcpu").GetInt32()).Select(g => (g.Key, g.Count())).Order());

    private async Task<TraceRun> TraceAsync(string[] options)
    {
        var image = Path.Combine(_folder, "smp.elf");
        if (!File.Exists(image))
        {
            await File.WriteAllBytesAsync(image, CGuestBuilder.BuildSmp());
        }

        return await TraceRun.OfAsync(["--kernel", image, "--cmdline", $"requests {Vcpus} {Rounds}", "--vcpus", $"{Vcpus}", "--registers", .. options]);
    }
}
