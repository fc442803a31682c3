using System.CommandLine;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Cli;

/// <summary><c>introspect trace</c>: watch one domain and print what it does.</summary>
internal static class TraceCommand
{
    /// <summary>Makes the command.</summary>
    public static Command Create(Func<TraceRequest, CancellationToken, Task<int>> run)
    {
        var domain = new Argument<string?>("DOMAIN") { Description = "Number, UUID or name of a domain, with --connect", Arity = ArgumentArity.ZeroOrOne };
        var json = new Option<bool>("--json") { Description = "NDJSON, one object a line (docs/events-json.md)" };
        var registers = new Option<bool>("--registers") { Description = "All registers with each event; with --json" };
        var unpause = new Option<bool>("--unpause") { Description = "Let a paused domain go once it is watched: its events from the first instruction on" };
        var count = new Option<string?>("--count") { Description = "End after N events", HelpName = "N" };
        var duration = new Option<string?>("--duration") { Description = "End after a time (30s, 500ms, 2m)", HelpName = "TIME" };
        var deny = new Option<bool>("--deny-protection-clears") { Description = "Deny writes that clear CR4.SMEP or CR4.SMAP" };
        var lossless = new Option<bool>("--lossless") { Description = "Show every event: the guest waits for the output instead" };
        var guest = new GuestOptions();
        var events = new EventOptions();
        var symbols = new SymbolOptions();
        var command = new Command("trace", "Watch one domain and print its events; without event options everything that needs no value");
        command.Add(domain);
        guest.AddTo(command);
        guest.AddHypervisorTo(command);
        events.AddTo(command);
        symbols.AddTo(command);
        foreach (var option in new Option[] { json, registers, unpause, count, duration, lossless, deny })
        {
            command.Add(option);
        }

        command.SetAction((result, cancellation) =>
        {
            var built = guest.ReadBuilt(result);
            var name = result.GetValue(domain);
            DomainRef? reference = name is null ? null : CommandLine.ParseDomain(name, result);
            if (built is not null && (name is not null || GuestOptions.IsGiven(result, guest.Connect)))
            {
                throw UserError.Usage($"{(name is not null ? $"domain '{name}'" : "--connect")} and a guest to build exclude each other; give one of --demo, --kernel FILE and DOMAIN --connect SOCKET");
            }

            if (built is not null)
            {
                guest.RefuseXen(result);
            }

            if (built is null && name is null)
            {
                throw UserError.Usage("'trace' needs a guest; give --demo, --kernel FILE or DOMAIN --connect SOCKET (in Xen's dom0 DOMAIN alone)");
            }

            if (built is not null && result.GetValue(unpause))
            {
                throw UserError.Usage("--unpause is for a DOMAIN that is there; a guest to build is watched from its first instruction anyway");
            }

            var request = new TraceRequest
            {
                Hypervisor = built ?? guest.ReadConnected(result, "trace DOMAIN"),
                Domain = reference,
                Choice = events.Read(result),
                Symbols = symbols.Read(result),
                Json = result.GetValue(json),
                Registers = result.GetValue(registers) && (result.GetValue(json) ? true : throw UserError.Usage("--registers is for NDJSON; give --json, too")),
                Unpause = result.GetValue(unpause),
                DenyProtectionClears = result.GetValue(deny),
                Lossless = result.GetValue(lossless),
                Count = ReadCount(result.GetValue(count)),
                Duration = ReadDuration(result.GetValue(duration)),
            };
            return run(request, cancellation);
        });
        return command;
    }

    private static long? ReadCount(string? text) => text is null ? null
        : SelectionParser.TryNumber(text, out var count) && count is >= 1 and <= long.MaxValue ? (long)count
        : throw UserError.Usage($"--count: '{text}' is no number of events; write 1 or more");

    private static TimeSpan? ReadDuration(string? text) => text is null ? null
        : SelectionParser.TryDuration(text, out var duration, out var mistake) ? duration
        : throw UserError.Usage($"--duration: {mistake}");
}
