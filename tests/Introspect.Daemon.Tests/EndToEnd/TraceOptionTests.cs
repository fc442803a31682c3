using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary>The other options of <c>trace</c> on the core: what they let through and what they leave out.</summary>
public sealed class TraceOptionTests : IDisposable
{
    private static readonly DemoGuest Demo = DemoGuest.Build();
    private static readonly ulong UserRoot = DemoLayout.Root(DemoTask.C);

    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-trace-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("cr4:mask=SMEP", 1ul << 20)]
    [InlineData("cr4:mask=SMEP|SMAP,async", (1ul << 20) | (1ul << 21))]
    [InlineData("cr4:mask=0x20,onchange", 0x20ul)]
    [InlineData("cr0:mask=TS", 8ul)]
    public async Task The_mask_says_which_bits_to_watch(string option, ulong mask)
    {
        var all = (await TraceRun.OfAsync("--demo", "--cr", option.Split(':')[0])).Events.ConvertAll(e => e.GetProperty("write_ctrlreg"));
        var expected = all.FindAll(w => ((TraceRun.Number(w, "old") ^ TraceRun.Number(w, "new")) & mask) != 0);
        Assert.NotEmpty(expected);
        Assert.True(expected.Count < all.Count);

        var some = (await TraceRun.OfAsync("--demo", "--cr", option)).Events;
        Assert.Equal(expected.ConvertAll(w => w.GetRawText()), some.ConvertAll(e => e.GetProperty("write_ctrlreg").GetRawText()));
        Assert.All(some, e => Assert.Equal(!option.Contains("async", StringComparison.Ordinal), e.GetProperty("sync").GetBoolean()));
    }

    [Fact]
    public async Task Each_register_is_sync_or_async_by_itself()
    {
        var events = (await TraceRun.OfAsync("--demo", "--cr", "cr3:async", "--cr", "cr0,cr4")).Events;
        Assert.All(events, e => Assert.Equal(TraceRun.Text(e.GetProperty("write_ctrlreg"), "register") != "cr3", e.GetProperty("sync").GetBoolean()));
        Assert.Equal(3, events.Select(e => TraceRun.Text(e.GetProperty("write_ctrlreg"), "register")).Distinct().Count());
    }

    [Fact]
    public async Task Writes_of_the_same_value_are_reported_where_the_core_is_told_to()
    {
        var changes = (await TraceRun.OfAsync("--demo", "--cr", "cr0,cr3,cr4")).Events;
        var writes = (await TraceRun.OfAsync("--demo", "--cr", "cr0,cr3,cr4", "--core", "report-unchanged")).Events;
        var onlyChanges = (await TraceRun.OfAsync("--demo", "--cr", "cr0,cr3,cr4:onchange", "--core", "report-unchanged")).Events;

        Assert.Equal(changes.ConvertAll(Values), onlyChanges.ConvertAll(Values));
        Assert.Equal(changes.ConvertAll(Values), writes.ConvertAll(Values).FindAll(w => w.Old != w.New));
        Assert.True(writes.Count > changes.Count);

        static (ulong Old, ulong New) Values(System.Text.Json.JsonElement e) =>
            (TraceRun.Number(e.GetProperty("write_ctrlreg"), "old"), TraceRun.Number(e.GetProperty("write_ctrlreg"), "new"));
    }

    [Fact]
    public async Task Port_access_is_watched_where_the_core_is_told_to()
    {
        Assert.NotEmpty(await TraceRun.RefusedAsync("--demo", "--io"));
        var ports = await TraceRun.OfAsync("--demo", "--io", "--core", "io");
        Assert.NotEmpty(ports.Events);
        Assert.Equal(Demo.ExpectedConsole(), ports.Console);
    }

    [Fact]
    public async Task A_process_is_an_address_space()
    {
        var all = (await TraceRun.OfAsync("--demo", "--cpuid")).Events;
        var some = (await TraceRun.OfAsync("--demo", "--cpuid", "--process", $"0x{UserRoot | 5:x}")).Events;
        Assert.Equal(
            all.FindAll(e => TraceRun.Number(e, "cr3") == UserRoot).ConvertAll(e => TraceRun.Number(e, "rip")),
            some.ConvertAll(e => TraceRun.Number(e, "rip")));
        Assert.NotEmpty(some);
        Assert.True(some.Count < all.Count);
    }

    [Fact]
    public async Task Code_is_watched_by_its_symbol()
    {
        var trace = await TraceRun.OfAsync("--demo", "--exec", "entry32");
        Assert.NotEmpty(trace.Events);
        Assert.All(trace.Events, e => Assert.Equal("0x100", TraceRun.Text(e.GetProperty("mem_access"), "gfn")));
        Assert.Equal("entry32", TraceRun.Text(trace.Events[0], "symbol"));
        Assert.Equal(Demo.ExpectedConsole(), trace.Console);
    }

    [Fact]
    public async Task Virtual_memory_is_that_of_the_process()
    {
        using var lab = new Lab();
        Assert.True(lab.GuestGoesOn);
        var range = $"0x{DemoLayout.UserStackVirtual:x}";
        var trace = await TraceRun.OfAsync("demo", "--connect", lab.Socket, "--va", "--write", range, "--process", $"0x{UserRoot:x}", "--count", "3");
        Assert.All(trace.Events, e =>
        {
            Assert.Equal(DemoLayout.UserStack >> 12, TraceRun.Number(e.GetProperty("mem_access"), "gfn"));
            Assert.Equal(UserRoot, TraceRun.Number(e, "cr3"));
        });
        Assert.Contains("is not mapped", await TraceRun.RefusedAsync("demo", "--connect", lab.Socket, "--va", "--write", "0x7fff00000000", "--process", $"0x{UserRoot:x}"), StringComparison.Ordinal);
        Assert.True(lab.GuestGoesOn);
    }

    [Fact]
    public async Task Symbols_of_a_file_name_the_code_of_a_domain_that_runs_already()
    {
        var map = Path.Combine(_folder, "System.map");
        const ulong Moved = 0x1000_0000;
        var forever = DemoGuest.Build(new() { Forever = true });
        await File.WriteAllLinesAsync(map, forever.Symbols.Select(s => $"{s.Value + Moved:x16} T {s.Key}"));
        using var lab = new Lab();
        Assert.True(lab.GuestGoesOn);

        var trace = await TraceRun.OfAsync("demo", "--connect", lab.Socket, "--symbols", map, "--symbols-offset", $"-0x{Moved:x}", "--int3", "round", "--count", "2");

        Assert.All(trace.Events, e => Assert.Equal(("round", forever.Symbols["round"]), (TraceRun.Text(e, "symbol"), TraceRun.Number(e, "rip"))));
    }

    [Fact]
    public async Task A_sync_vmexit_is_not_handled_and_comes_again()
    {
        var trace = await TraceRun.OfAsync("--demo", "--vmexit=sync", "--count", "4");
        Assert.Equal(4, trace.Events.Count);
        Assert.All(trace.Events, e => Assert.True(e.GetProperty("sync").GetBoolean()));
        Assert.Single(trace.Events.Select(e => TraceRun.Text(e, "rip")).Distinct());
    }
}
