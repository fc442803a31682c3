using Introspect.Daemon.Cli;
using Introspect.Rules.Capture;

namespace Introspect.Daemon.Tests.Cli;

public sealed class CaptureCommandTests
{
    [Theory]
    [InlineData("record --demo", "'--output' is required")]
    [InlineData("record -o f", "'record' needs a guest")]
    [InlineData("record 1 -o f", "'record DOMAIN' needs a hypervisor")]
    [InlineData("record --demo -o f --lossless", "unknown option '--lossless'")]
    [InlineData("record --demo -o f --window cr3", "--window: 'cr3' names no register")]
    [InlineData("record --demo -o f --window 4", "--window: '4' names no register")]
    [InlineData("record --demo -o f --window rip+0", "--window: 'rip+0' is empty")]
    [InlineData("record --demo -o f --window rip+5000", "--window: '5000' in 'rip+5000' is no number of bytes up to 4096")]
    [InlineData("record --demo -o f --window rip-x", "--window: 'x' in 'rip-x' is no number of bytes")]
    [InlineData("record --demo -o f --window rip-4096+4096,rsp-4096+4096,rdi-4096+4096,rsi-4096+4096,rax+1", "--window: 32769 bytes at each event are too many")]
    [InlineData("record --demo -o f --max-size 1K", "--max-size: 1K is too small for a capture; give at least 64K")]
    [InlineData("record --demo -o f --max-size much", "--max-size: 'much' is no size")]
    [InlineData("record --demo -o f --max-size 99999999999G", "--max-size: '99999999999G' is no size")]
    [InlineData("replay", "'FILE' missing")]
    [InlineData("replay --nothing", "unknown option '--nothing'")]
    [InlineData("replay f --registers", "give --json, too")]
    [InlineData("replay f --from soon", "--from: 'soon' is no time")]
    [InlineData("replay f --vcpu x", "--vcpu: 'x' is no number")]
    [InlineData("replay f --speed warp", "--speed: 'warp' is unknown; write max or real")]
    [InlineData("capture", "Required command was not provided")]
    [InlineData("capture info", "'FILE' missing")]
    public async Task a_mistake_is_one_line_and_exit_code_2(string line, string says)
    {
        var (exitCode, error, commands) = await RunAsync(line);
        Assert.Equal(2, exitCode);
        CommandLineTests.AssertOneLine(error);
        Assert.Contains(says, error, StringComparison.Ordinal);
        Assert.Null(commands.Recorded);
        Assert.Null(commands.Replayed);
    }

    [Fact]
    public async Task a_recording_is_what_the_options_say()
    {
        var (exitCode, error, commands) = await RunAsync("record guest --connect s -o f --cr cr4 --count 7 --duration 3s --max-size 2M --window rip,RSP,rdi-16,r15-0x10+0x20,gla+8");
        Assert.Equal((0, ""), (exitCode, error));
        var request = commands.Recorded!;
        Assert.Equal(("f", 2L << 20, 7L, TimeSpan.FromSeconds(3), true), (request.Path, request.MaxBytes, request.Trace.Count, request.Trace.Duration, request.Trace.Lossless));
        Assert.Equal(
            [new(WindowRegister.Rip, 0, 16), new(WindowRegister.Rsp, 0, 128), new(WindowRegister.Rdi, 16, 0), new(WindowRegister.R15, 16, 32), new(WindowRegister.Gla, 0, 8)],
            request.Windows);
        Assert.False((await RunAsync("record --demo --output f --drop")).Commands.Recorded!.Trace.Lossless);
    }

    [Fact]
    public async Task a_replay_is_what_the_options_say()
    {
        var request = (await RunAsync("replay f --json --registers --handler log,protect-cr4 --from 1s --until 2m --vcpu 3 --speed real --symbols m")).Commands.Replayed!;
        Assert.Equal(("f", true, true, "m"), (request.Path, request.Json, request.Registers, request.Symbols!.Path));
        Assert.Equal(["log", "protect-cr4"], request.Handlers);
        var options = request.Options;
        Assert.Equal((TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(2), 3u, true), (options.From, options.Until, options.Vcpu, options.InRealTime));
        Assert.Equal(["a", "b,c", "d"], (await RunAsync("replay f --rules a b,c --json --rules d")).Commands.Replayed!.Rules);
        Assert.False((await RunAsync("replay f --speed max")).Commands.Replayed!.Options.InRealTime);
        Assert.Equal("f", (await RunAsync("capture info f --json")).Commands.Info);
    }

    private static async Task<(int ExitCode, string Error, FakeCommands Commands)> RunAsync(string line)
    {
        using var output = new StringWriter();
        using var error = new StringWriter { NewLine = "\n" };
        var commands = new FakeCommands();
        var exitCode = await CommandLine.InvokeAsync(line.Split(' '), commands, output, error, CancellationToken.None);
        return (exitCode, error.ToString(), commands);
    }
}
