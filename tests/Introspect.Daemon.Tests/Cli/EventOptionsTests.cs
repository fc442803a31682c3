using Introspect.Daemon.Cli;
using Introspect.Daemon.Symbols;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tests.Cli;

/// <summary>What the event options of <c>trace</c> mean, and what is said of those that mean nothing.</summary>
public sealed class EventOptionsTests
{
    private const ulong Smep = 1 << 20;
    private const ulong Smap = 1 << 21;

    [Fact]
    public async Task each_list_of_registers_has_its_own_options()
    {
        var choice = await ReadAsync("--cr", "cr3,cr0:async", "--cr", "cr4:onchange,mask=smep|SMAP|0x1", "--cr", "xcr0");
        Assert.Equal(
            [
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3, Sync: false),
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0, Sync: false),
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4, OnChangeOnly: true, WatchMask: Smep | Smap | 1),
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Xcr0),
            ],
            choice.Selection.Events);
    }

    [Fact]
    public async Task a_bare_option_adds_the_usual_registers_to_those_that_are_named()
    {
        var choice = await ReadAsync("--cr", "cr4:async", "--cr");
        Assert.Equal(
            [
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4, Sync: false),
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0),
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3),
            ],
            choice.Selection.Events);
        Assert.Equal(choice.Selection.Events, (await ReadAsync("--cr", "--cr", "cr4:async")).Selection.Events);
    }

    [Fact]
    public async Task msrs_take_changes_alone()
    {
        var choice = await ReadAsync("--msr", "LSTAR,0x10:onchange", "--msr", "efer");
        Assert.Equal([new MonitorEvent.Msr(0xc000_0082, true), new MonitorEvent.Msr(0x10, true), new MonitorEvent.Msr(0xc000_0080)], choice.Selection.Events);
    }

    [Fact]
    public async Task breakpoints_with_addresses_are_the_traces_own()
    {
        var choice = await ReadAsync("--int3", "0x101000,work+0x10", "--int3", "work+0x10,entry64");
        Assert.Empty(choice.Selection.Events);
        Assert.False(choice.IsEmpty);
        Assert.Equal([(null, 0x101000ul), ("work", 0x10ul), ("entry64", 0ul)], choice.Places.Breakpoints.Select(p => (p.Symbol, p.Value)));

        choice = await ReadAsync("--int3", "--int3", "work");
        Assert.Equal([new MonitorEvent.SoftwareBreakpoint()], choice.Selection.Events);
        Assert.Single(choice.Places.Breakpoints);
    }

    [Fact]
    public async Task modes_are_sync_and_async()
    {
        Assert.Equal(
            [new MonitorEvent.GuestRequest(), new MonitorEvent.VmExit(), new MonitorEvent.DebugException(), new MonitorEvent.IoInstruction()],
            (await ReadAsync("--vmexit", "--debug", "--io", "--guest-request")).Selection.Events);
        Assert.Equal(
            [new MonitorEvent.GuestRequest(false, true), new MonitorEvent.VmExit(true), new MonitorEvent.DebugException(false), new MonitorEvent.IoInstruction(false)],
            (await ReadAsync("--vmexit=sync", "--debug=async", "--io=async", "--guest-request=async,userspace")).Selection.Events);
    }

    [Fact]
    public async Task ranges_are_physical_unless_said_otherwise_or_named_by_symbols()
    {
        var choice = await ReadAsync("--read", "0x1000-0x2fff,counter", "--write", "counter+8", "--exec", "_start-_etext");
        Assert.Equal([new MemoryWatch(new(1), 2, MemAccessFlags.Read)], choice.Selection.Memory);
        Assert.Equal(
            ["--read counter + 1", "--write counter + 8", "--exec _start - _etext"],
            choice.Places.Ranges.Select(r => $"{r.Option} {r.Start.Text} {(r.End is { } end ? $"- {end.Text}" : $"+ {r.Length}")}"));

        choice = await ReadAsync("--va", "--write", "0xffff800000001000+0x2000");
        Assert.Empty(choice.Selection.Memory);
        Assert.Equal((0xffff800000001000ul, 0xffff800000002ffful), Assert.Single(choice.Places.Ranges).Resolve(null));
    }

    [Fact]
    public async Task processes_and_steps_from_a_place()
    {
        var choice = await ReadAsync("--process", "0x1000,8192", "--singlestep", "5", "--from", "main+4", "--interrupt");
        Assert.Equal([0x1000ul, 0x2000ul], choice.Selection.AddressSpaces);
        Assert.Equal((5, "main", 4ul), (choice.Steps, choice.Places.StepFrom!.Symbol, choice.Places.StepFrom.Value));
        Assert.True(choice.Selection.Interrupts);
        Assert.True((await ReadAsync("--process", "0x1000")).IsEmpty);
        Assert.True((await ReadAsync("--view", "--write", "0x1000")).Selection.InView);
    }

    [Theory]
    [InlineData("0x1000", 0x1000ul)]
    [InlineData("-0x1000", 0xffff_ffff_ffff_f000ul)]
    public async Task symbols_may_be_moved_up_and_down(string offset, ulong value)
    {
        Assert.Equal(new SymbolSpec("map", value), await SymbolsAsync("--symbols", "map", "--symbols-offset", offset));
        Assert.Equal(new SymbolSpec(null, value), await SymbolsAsync("--symbols-offset", offset));
        Assert.Null(await SymbolsAsync());
    }

    [Theory]
    [InlineData("--cr c3", "--cr: 'c3' is no control register", "did you mean 'cr3'?")]
    [InlineData("--cr :async", "--cr: ':async' names no control register", "name cr0")]
    [InlineData("--cr cr4:asnyc", "--cr: 'asnyc' is no option of a control register", "did you mean 'async'?")]
    [InlineData("--cr cr4:sync,async", "'cr4:sync,async' is both sync and async", "choose one")]
    [InlineData("--cr cr3:sync,cr4:async", "'cr4:async' is another list", "--cr of its own")]
    [InlineData("--cr cr4:mask=SMEPP", "mask: 'SMEPP' is no bit of CR4", "did you mean 'SMEP'?")]
    [InlineData("--cr cr3:mask=SMEP", "mask: 'SMEP' is no bit of CR3", "write a number (0xfff)")]
    [InlineData("--cr cr3,cr4:mask=SMEP", "mask: 'SMEP' is no bit of CR3", "write a number")]
    [InlineData("--cr cr4:mask=0", "mask: '0' watches no bit of CR4", "name at least one")]
    [InlineData("--cr cr4:mask=1,mask=2", "has two masks", "write one")]
    [InlineData("--cr cr4:mask=", "mask: '' is no bit of CR4", "write a number or one of")]
    [InlineData("--cr cr4 --cr cr4:async", "--cr: cr4 is named twice with different options", "name it once")]
    [InlineData("--msr efer,efer:onchange --msr efer", "--msr: MSR 0xc0000080 is named twice", "name it once")]
    [InlineData("--msr lstra", "--msr: 'lstra' is no MSR", "did you mean 'lstar'?")]
    [InlineData("--msr lstar:sync", "--msr: 'sync' is no option of an MSR", "write onchange")]
    [InlineData("--msr :onchange", "--msr: ':onchange' names no MSR", "write a number")]
    [InlineData("--int3 1x", "--int3: '1x' is no address", "SYMBOL[+OFFSET]")]
    [InlineData("--int3 main+", "--int3: 'main+' is no address", "SYMBOL[+OFFSET]")]
    [InlineData("--int3 main+x", "--int3: 'main+x' is no address", "write a number")]
    [InlineData("--from main", "--from belongs to --singlestep", "give --singlestep N, too")]
    [InlineData("--singlestep 2 --from 1x", "--from: '1x' is no address", "write a number")]
    [InlineData("--exec main+0", "--exec: the range 'main+0' is empty", "at least 1")]
    [InlineData("--exec main+x", "--exec: 'main+x' is no range", "write START-END")]
    [InlineData("--exec main-", "--exec: 'main-' is no range", "write START-END")]
    [InlineData("--view", "--view belongs to memory and breakpoints", "give --read")]
    [InlineData("--view --int3", "--view belongs to memory and breakpoints", "--int3 with a place")]
    [InlineData("--va", "--va belongs to a range", "--read, --write or --exec")]
    [InlineData("--process init", "--process: 'init' is no value of CR3", "write a number")]
    [InlineData("--process", "--process", "see 'introspect trace --help'")]
    [InlineData("--vmexit=snyc", "--vmexit: 'snyc' is unknown", "did you mean 'sync'?")]
    [InlineData("--guest-request=user", "--guest-request: 'user' is unknown", "userspace")]
    [InlineData("--debug=sync,async", "--debug: an event is either sync or async", "choose one")]
    [InlineData("--cpud", "unknown option '--cpud'", "did you mean '--cpuid'?")]
    [InlineData("--singelstep 3", "unknown option '--singelstep'", "did you mean '--singlestep'?")]
    [InlineData("--count 1 --count 2", "--count is given more than once", "give it once")]
    [InlineData("--duration 1s --duration 2s", "--duration is given more than once", "give it once")]
    [InlineData("--singlestep 1 --singlestep 2", "--singlestep is given more than once", "give it once")]
    [InlineData("--symbols a --symbols b", "--symbols is given more than once", "give it once")]
    [InlineData("--symbols-offset up", "--symbols-offset: 'up' is no number", "with a minus for downwards")]
    public async Task a_mistake_is_one_line_with_the_value_and_the_remedy(string options, string what, string remedy)
    {
        var (exitCode, commands, error) = await InvokeAsync(options.Split(' '));
        Assert.Equal(2, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains(what, error, StringComparison.Ordinal);
        Assert.Contains(remedy, error, StringComparison.Ordinal);
        Assert.Null(commands.Trace);
    }

    [Theory]
    [InlineData("lits", "list")]
    [InlineData("trcae", "trace")]
    [InlineData("disassm", "disasm")]
    public async Task a_misspelt_command_is_told_what_was_meant(string word, string command)
    {
        using var output = new StringWriter();
        using var error = new StringWriter { NewLine = "\n" };
        Assert.Equal(2, await CommandLine.InvokeAsync([word], new FakeCommands(), output, error, CancellationToken.None));
        CommandLineTests.AssertOneLine(error.ToString());
        Assert.Contains($"did you mean '{command}'?", error.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("lstra", "lstar")]
    [InlineData("LSTAR1", "lstar")]
    [InlineData("eferr", "efer")]
    [InlineData("pomegranate", null)]
    [InlineData("", null)]
    [InlineData("e", null)]
    public void a_suggestion_is_near_or_none(string wrong, string? near) => Assert.Equal(near, Suggestion.Nearest(wrong, ["efer", "lstar", "star", "cstar"]));

    private static async Task<EventChoice> ReadAsync(params string[] options) => (await TraceAsync(options)).Choice;

    private static async Task<SymbolSpec?> SymbolsAsync(params string[] options) => (await TraceAsync(options)).Symbols;

    private static async Task<TraceRequest> TraceAsync(string[] options)
    {
        var (exitCode, commands, error) = await InvokeAsync(options);
        Assert.Equal((0, ""), (exitCode, error));
        return commands.Trace!;
    }

    private static async Task<(int ExitCode, FakeCommands Commands, string Error)> InvokeAsync(string[] options)
    {
        var commands = new FakeCommands();
        using var output = new StringWriter();
        using var error = new StringWriter { NewLine = "\n" };
        var exitCode = await CommandLine.InvokeAsync(["trace", "--demo", .. options], commands, output, error, CancellationToken.None);
        return (exitCode, commands, error.ToString());
    }
}
