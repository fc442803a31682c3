using System.CommandLine;
using Introspect.Daemon.Tracing;

namespace Introspect.Daemon.Cli;

/// <summary><c>introspect trace</c>: watch one domain and print what it does.</summary>
internal static class TraceCommand
{
    /// <summary>Makes the command.</summary>
    public static Command Create(Func<TraceRequest, CancellationToken, Task<int>> run)
    {
        var json = new Option<bool>("--json") { Description = "NDJSON, one object a line (docs/events-json.md)" };
        var registers = new Option<bool>("--registers") { Description = "All registers with each event; with --json" };
        var lossless = new Option<bool>("--lossless") { Description = "Show every event: the guest waits for the output instead" };
        var watch = new WatchOptions();
        var command = new Command("trace", "Watch one domain and print its events; without event options everything that needs no value");
        watch.AddTo(command);
        command.Add(json);
        command.Add(registers);
        command.Add(lossless);
        watch.AddLimitsTo(command);
        command.SetAction((result, cancellation) => run(
            watch.Read(result) with
            {
                Json = result.GetValue(json),
                Registers = ReadRegisters(result, registers, json),
                Lossless = result.GetValue(lossless),
            },
            cancellation));
        return command;
    }

    /// <summary>Whether events have all their registers.</summary>
    /// <exception cref="UserError">They are lines for people.</exception>
    public static bool ReadRegisters(ParseResult result, Option<bool> registers, Option<bool> json) =>
        result.GetValue(registers) && (result.GetValue(json) ? true : throw UserError.Usage("--registers is for NDJSON; give --json, too"));
}
