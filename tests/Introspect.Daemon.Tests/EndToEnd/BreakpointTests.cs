using Introspect.Hypervisor;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary><c>trace --int3</c> and <c>--singlestep --from</c> on the core: what is seen, and that the guest sees nothing.</summary>
public sealed class BreakpointTests
{
    private static readonly DemoGuest Demo = DemoGuest.Build();
    private static readonly DemoGuest Forever = DemoGuest.Build(new() { Forever = true });

    [Fact]
    public async Task A_breakpoint_is_seen_each_time_and_the_guest_does_what_it_would()
    {
        var trace = await TraceRun.OfAsync("--demo", "--int3", "step_here,step_trigger");

        var rounds = new DemoGuestOptions().Rounds;
        ulong[] round = [Demo.Symbols["step_trigger"], Demo.Symbols["step_here"]];
        Assert.Equal(Enumerable.Repeat(round, rounds).SelectMany(r => r), trace.Events.Select(e => TraceRun.Number(e, "rip")));
        Assert.Equal(["step_trigger", "step_here"], trace.Events.Take(2).Select(e => TraceRun.Text(e, "symbol")));
        Assert.All(trace.Events, e => Assert.Equal("software_breakpoint", TraceRun.Text(e, "reason")));
        Assert.Equal(Demo.ExpectedConsole(), trace.Console);
        Assert.Equal("poweroff", trace.End);
    }

    [Fact]
    public async Task Breakpoints_on_all_kinds_of_instructions_change_nothing()
    {
        // Entries, loops, system calls, interrupts and returns, in all modes: every label of the guest's code, and each
        // instruction of the sequence that it has for stepping.
        var places = Demo.Symbols.Where(s => s.Value is >= DemoLayout.Entry32 and < DemoLayout.UserCode).Select(s => s.Value)
            .Concat(Demo.StepAddresses).Distinct().Order().ToList();
        Assert.True(places.Count > 30);

        var trace = await TraceRun.OfAsync("--demo", "--int3", string.Join(',', places));

        Assert.Equal(Demo.ExpectedConsole(), trace.Console);
        Assert.Equal("poweroff", trace.End);
        var seen = trace.Events.Select(e => TraceRun.Number(e, "rip")).ToHashSet();
        Assert.Superset(Demo.StepAddresses.ToHashSet(), seen);
        Assert.Contains(Demo.Symbols["entry32"], seen);
        Assert.Subset(places.ToHashSet(), seen);
    }

    [Fact]
    public async Task The_guests_own_breakpoints_are_shown_when_asked_for_and_it_gets_them_either_way()
    {
        var own = await TraceRun.OfAsync("--demo", "--int3", "--int3", "step_here");
        var rounds = new DemoGuestOptions().Rounds;
        Assert.Equal(2 * rounds, own.Events.Count);
        Assert.Equal(rounds, own.Events.Count(e => TraceRun.Number(e, "rip") == Demo.Symbols["step_here"]));
        Assert.Equal(Demo.ExpectedConsole(), own.Console);
    }

    [Fact]
    public async Task A_breakpoint_where_the_guest_has_one_is_the_guests()
    {
        var own = (await TraceRun.OfAsync("--demo", "--int3", "--count", "1")).Events;
        var place = TraceRun.Number(own[0], "rip");

        var trace = await TraceRun.OfAsync("--demo", "--int3", $"0x{place:x}");
        Assert.Equal(new DemoGuestOptions().Rounds, trace.Events.Count);
        Assert.Equal(Demo.ExpectedConsole(), trace.Console);
    }

    [Fact]
    public async Task Stepping_begins_at_a_place_and_nowhere_else()
    {
        var trace = await TraceRun.OfAsync("--demo", "--singlestep", "4", "--from", "step_here", "--guest-request");
        var rounds = new DemoGuestOptions().Rounds;
        var steps = trace.Events.FindAll(e => TraceRun.Text(e, "reason") == "singlestep").Select(e => TraceRun.Number(e, "rip"));
        Assert.Equal(Enumerable.Repeat(Demo.StepAddresses.Skip(1).Take(4), rounds).SelectMany(r => r), steps);
        Assert.Equal(rounds, trace.Events.Count(e => TraceRun.Text(e, "reason") == "guest_request"));
        Assert.Equal(Demo.ExpectedConsole(), trace.Console);
    }

    [Fact]
    public async Task An_endless_guest_has_its_code_back_when_the_trace_ends()
    {
        using var lab = new Lab();
        Assert.True(lab.GuestGoesOn);
        var place = Forever.Symbols["round"];
        var before = Code(lab, place);
        var trace = await TraceRun.OfAsync("demo", "--connect", lab.Socket, "--int3", $"0x{place:x}", "--count", "5");
        Assert.Equal("count", trace.End);
        Assert.Equal(Enumerable.Repeat(place, 5), trace.Events.Select(e => TraceRun.Number(e, "rip")));
        Assert.Equal(before, Code(lab, place));
        Assert.True(lab.GuestGoesOn);
        Assert.Equal(0, lab.Domain.GetInfo().PauseCount);
    }

    [Fact]
    public void An_interrupted_trace_takes_its_breakpoints_out()
    {
        using var lab = new Lab();
        Assert.True(lab.GuestGoesOn);
        var place = Forever.Symbols["round"];
        var before = Code(lab, place);
        using (var trace = IntrospectProcess.Start("trace", "demo", "--connect", lab.Socket, "--int3", $"0x{place:x}"))
        {
            trace.WaitForOutput("software_breakpoint");
            trace.Terminate(); // not SIGINT, which whoever runs the tests in the background has ignored
            Assert.Equal(0, trace.WaitForExit());
            Assert.Contains("ended by interrupted", trace.Output, StringComparison.Ordinal);
        }

        Assert.Equal(before, Code(lab, place));
        Assert.True(lab.GuestGoesOn);
    }

    [Fact]
    public async Task In_a_view_the_guest_cannot_see_what_is_watched()
    {
        var places = Demo.Symbols.Where(s => s.Value is >= DemoLayout.Entry32 and < DemoLayout.UserCode).Select(s => s.Value).Distinct().Order();
        string[] options = ["--int3", string.Join(',', places), "--write", "counter", "--exec", "0x106000"];
        var plain = await TraceRun.OfAsync(["--demo", .. options]);

        var trace = await TraceRun.OfAsync(["--demo", "--view", .. options]);

        Assert.Equal(Demo.ExpectedConsole(), trace.Console);
        Assert.Equal("poweroff", trace.End);
        Assert.Equal(plain.Events.ConvertAll(Describe), trace.Events.ConvertAll(Describe));
        Assert.All(trace.Events, e => Assert.NotEqual(0, e.GetProperty("view").GetInt32()));

        static string Describe(System.Text.Json.JsonElement e) => $"{TraceRun.Text(e, "reason")} {TraceRun.Text(e, "rip")} {TraceRun.Text(e, "cr3")}";
    }

    [Fact]
    public void A_view_leaves_the_guests_memory_as_it_is_even_when_the_trace_is_killed()
    {
        using var lab = new Lab();
        Assert.True(lab.GuestGoesOn);
        var place = Forever.Symbols["round"];
        var before = Code(lab, place);
        // The first monitor takes the ring's page out of the guest for good.
        Assert.Equal(0, IntrospectProcess.Run("trace", "demo", "--connect", lab.Socket, "--cpuid", "--count", "1").ExitCode);
        var memory = lab.Domain.GetInfo().MemoryBytes;
        using (var trace = IntrospectProcess.Start("trace", "demo", "--connect", lab.Socket, "--view", "--int3", $"0x{place:x}"))
        {
            trace.WaitForOutput("software_breakpoint");
            Assert.Equal(before, Code(lab, place));
            trace.Terminate(); // not SIGINT, which whoever runs the tests in the background has ignored
            Assert.Equal(0, trace.WaitForExit());
        }

        Assert.Equal(memory, lab.Domain.GetInfo().MemoryBytes);
        Assert.True(lab.GuestGoesOn);
        using (var trace = IntrospectProcess.Start("trace", "demo", "--connect", lab.Socket, "--view", "--int3", $"0x{place:x}"))
        {
            trace.WaitForOutput("software_breakpoint");
            trace.Kill();
            trace.WaitForExit();
        }

        Assert.Equal(before, Code(lab, place));
        Assert.Equal(0, IntrospectProcess.Run("recover", "demo", "--connect", lab.Socket).ExitCode);
        Assert.True(lab.GuestGoesOn);
    }

    [Fact]
    public async Task Without_views_or_steps_a_view_is_refused_in_one_line()
    {
        Assert.Contains("altp2m view", await TraceRun.RefusedAsync("--demo", "--vendor", "svm", "--view", "--int3", "work"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Where_vCPUs_cannot_step_the_instruction_is_emulated()
    {
        var trace = await TraceRun.OfAsync("--demo", "--vendor", "svm", "--int3", "step_here,work");
        Assert.Equal(Demo.ExpectedConsole(), trace.Console);
        Assert.Equal(new DemoGuestOptions().Rounds, trace.Events.Count(e => TraceRun.Number(e, "rip") == Demo.Symbols["step_here"]));
    }

    [Fact]
    public async Task A_place_that_is_not_there_ends_the_trace_before_it_begins()
    {
        using var lab = new Lab();
        Assert.True(lab.GuestGoesOn);
        Assert.Contains("--int3 '0xdead000': address 0xdead000 is not mapped in the address space of CR3 0x", await TraceRun.RefusedAsync("demo", "--connect", lab.Socket, "--int3", "0xdead000"), StringComparison.Ordinal);
        Assert.Contains("there are no symbols to find 'work' in; give --symbols FILE", await TraceRun.RefusedAsync("demo", "--connect", lab.Socket, "--int3", "work"), StringComparison.Ordinal);
        Assert.Contains("there is no symbol 'wrok'; did you mean 'work'?", await TraceRun.RefusedAsync("--demo", "--int3", "wrok"), StringComparison.Ordinal);
        Assert.True(lab.GuestGoesOn);
        Assert.False(lab.Domain.Recover().WasEnabled);
    }

    private static byte[] Code(Lab lab, ulong address)
    {
        var code = new byte[16];
        lab.Domain.Memory.ReadPhysical(new GuestPhysical(address), code);
        return code;
    }
}
