using System.CommandLine;
using System.Globalization;
using Introspect.Daemon.Capturing;
using Introspect.Daemon.Tracing;
using Introspect.Rules.Capture;

namespace Introspect.Daemon.Cli;

/// <summary>The commands around captures: <c>record</c>, <c>replay</c> and <c>capture info</c>.</summary>
internal static class CaptureCommands
{
    private static readonly string[] Speeds = ["max", "real"];

    /// <summary>Makes <c>introspect record</c>.</summary>
    public static Command CreateRecord(ICommands commands)
    {
        var output = new Option<string>("--output", "-o") { Description = "File to record into ('-': stdout); what is in it is replaced", HelpName = "FILE", Required = true };
        var window = new Option<string[]>("--window")
        {
            Description = "Memory around registers, taken at each event: rip, rsp+256, rdi-16+64, gla (docs/capture.md)",
            HelpName = "REGISTER[-BEFORE][+AFTER],...",
            Arity = ArgumentArity.OneOrMore,
        };
        var size = new Option<string?>("--max-size") { Description = "End before the file grows larger (64M, 2G)", HelpName = "SIZE" };
        var drop = new Option<bool>("--drop") { Description = "Leave out, and count, what the disk is too slow for; else the guest waits" };
        var watch = new WatchOptions();
        var command = new Command("record", "Record the events of one domain into a file, for 'replay'") { output };
        watch.AddTo(command);
        command.Add(window);
        command.Add(size);
        command.Add(drop);
        watch.AddLimitsTo(command);
        command.SetAction((result, cancellation) => commands.RecordAsync(
            new(watch.Read(result) with { Lossless = !result.GetValue(drop) }, result.GetRequiredValue(output))
            {
                Windows = ReadWindows(result.GetValue(window) ?? []),
                MaxBytes = ReadSize(result.GetValue(size)),
            },
            cancellation));
        return command;
    }

    /// <summary>Makes <c>introspect replay</c>.</summary>
    public static Command CreateReplay(ICommands commands)
    {
        var file = new Argument<string>("FILE") { Description = "A capture ('-': stdin)" };
        var json = new Option<bool>("--json") { Description = "NDJSON, one object a line (docs/events-json.md)" };
        var registers = new Option<bool>("--registers") { Description = "All registers with each event; with --json" };
        var handler = new Option<string[]>("--handler")
        {
            Description = "Judge the events anew by these handlers: protect-cr4, log",
            HelpName = "NAME,...",
            Arity = ArgumentArity.OneOrMore,
        };
        var rules = new Option<string[]>("--rules")
        {
            Description = "Judge the events anew by rules: files and folders of them",
            HelpName = "PATH",
            Arity = ArgumentArity.OneOrMore,
            AllowMultipleArgumentsPerToken = true,
        };
        var from = new Option<string?>("--from") { Description = "Leave out what came sooner than this after the begin", HelpName = "TIME" };
        var until = new Option<string?>("--until") { Description = "Leave out what came later than this after the begin", HelpName = "TIME" };
        var vcpu = new Option<string?>("--vcpu") { Description = "Only events of this vCPU", HelpName = "N" };
        var speed = new Option<string?>("--speed") { Description = "max (default), or real: as far apart as they were", HelpName = "SPEED" };
        var symbols = new SymbolOptions();
        var command = new Command("replay", "Print a capture as 'trace' would have printed it, or judge it by handlers and rules") { file };
        foreach (var option in new Option[] { json, registers, handler, rules, from, until, vcpu, speed })
        {
            command.Add(option);
        }

        symbols.AddTo(command);
        command.SetAction((result, cancellation) => Task.FromResult(commands.Replay(
            new(ReadFile(result, file))
            {
                Json = result.GetValue(json),
                Registers = TraceCommand.ReadRegisters(result, registers, json),
                Handlers = [.. (result.GetValue(handler) ?? []).SelectMany(Split).Distinct()],
                Rules = result.GetValue(rules) ?? [],
                Symbols = symbols.Read(result),
                Options = new()
                {
                    From = WatchOptions.ReadDuration(result.GetValue(from), "--from"),
                    Until = WatchOptions.ReadDuration(result.GetValue(until), "--until"),
                    Vcpu = ReadVcpu(result.GetValue(vcpu)),
                    InRealTime = ReadSpeed(result.GetValue(speed)),
                },
            },
            cancellation)));
        return command;
    }

    /// <summary>Makes <c>introspect capture</c>.</summary>
    public static Command CreateCapture(ICommands commands)
    {
        var file = new Argument<string>("FILE") { Description = "A capture ('-': stdin)" };
        var json = new Option<bool>("--json") { Description = "One JSON object (docs/events-json.md)" };
        var info = new Command("info", "Tell what is in a capture, and check all of it") { file, json };
        info.SetAction(result => commands.CaptureInfo(ReadFile(result, file), result.GetValue(json)));
        return new Command("capture", "Look at files that 'record' made") { info };
    }

    /// <summary>Reads a window: <c>REGISTER[-BEFORE][+AFTER]</c>.</summary>
    internal static MemoryWindow ReadWindow(string text)
    {
        var at = text.IndexOfAny(['-', '+']);
        var name = at < 0 ? text : text[..at];
        if (name.Length == 0 || !char.IsAsciiLetter(name[0]) || !Enum.TryParse<WindowRegister>(name, ignoreCase: true, out var register))
        {
            throw UserError.Usage($"--window: '{text}' names no register; write rip, rsp or another general register, or gla, with -BEFORE and +AFTER in bytes (rsp-16+256)");
        }

        var rest = at < 0 ? "" : text[at..];
        var plus = rest.IndexOf('+', StringComparison.Ordinal);
        var before = rest.StartsWith('-') ? Bytes(plus < 0 ? rest[1..] : rest[1..plus]) : 0;
        var after = plus >= 0 ? Bytes(rest[(plus + 1)..])
            : before != 0 ? 0
            : register == WindowRegister.Rip ? MemoryWindow.InstructionBytes : MemoryWindow.UsualBytes;
        return before + after > 0 ? new(register, before, after) : throw UserError.Usage($"--window: '{text}' is empty; give at least one byte");

        int Bytes(string number) => SelectionParser.TryNumber(number, out var value) && value <= MemoryWindow.MaxBytes ? (int)value
            : throw UserError.Usage($"--window: '{number}' in '{text}' is no number of bytes up to {MemoryWindow.MaxBytes}");
    }

    private static List<MemoryWindow> ReadWindows(string[] lists)
    {
        var windows = lists.SelectMany(Split).Select(ReadWindow).Distinct().ToList();
        var total = windows.Sum(window => window.Length);
        return total <= MemoryWindow.MaxTotalBytes ? windows
            : throw UserError.Usage($"--window: {total} bytes at each event are too many; name windows of at most {MemoryWindow.MaxTotalBytes} bytes together");
    }

    private static long? ReadSize(string? text)
    {
        if (text is null)
        {
            return null;
        }

        var (digits, shift) = text switch
        {
            [.. var d, 'k' or 'K'] => (d, 10),
            [.. var d, 'm' or 'M'] => (d, 20),
            [.. var d, 'g' or 'G'] => (d, 30),
            [.. var d, 't' or 'T'] => (d, 40),
            _ => (text, 0),
        };
        return !ulong.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var number) || number > (ulong)(long.MaxValue >> shift)
            ? throw UserError.Usage($"--max-size: '{text}' is no size; write bytes, or a number with K, M, G or T (64M)")
            : number << shift < CaptureWriterOptions.LeastMaxBytes
                ? throw UserError.Usage($"--max-size: {text} is too small for a capture; give at least {CaptureWriterOptions.LeastMaxBytes >> 10}K")
                : (long)(number << shift);
    }

    private static uint? ReadVcpu(string? text) => text is null ? null
        : SelectionParser.TryNumber(text, out var vcpu) && vcpu <= uint.MaxValue ? (uint)vcpu
        : throw UserError.Usage($"--vcpu: '{text}' is no number of a vCPU; write 0, 1, …");

    private static bool ReadSpeed(string? text) => text is null ? false
        : Array.IndexOf(Speeds, text) is var speed and >= 0 ? speed == 1
        : throw UserError.Usage($"--speed: '{text}' is unknown; write max or real");

    private static string ReadFile(ParseResult result, Argument<string> file) => result.GetRequiredValue(file) switch
    {
        "" => throw UserError.Usage("the name of the capture is empty; give a file"),
        CaptureFiles.Standard => CaptureFiles.Standard,
        ['-', ..] option => throw UserError.Usage(CommandLine.Unknown("option", option, result.CommandResult)),
        var path => path,
    };

    private static string[] Split(string list) => list.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
}
