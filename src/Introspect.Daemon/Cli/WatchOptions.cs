using System.CommandLine;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Cli;

/// <summary>What commands have in common that watch one domain: which, what of it, and how long.</summary>
internal sealed class WatchOptions
{
    private readonly Argument<string?> _domain = new("DOMAIN") { Description = "Number, UUID or name of a domain, with --connect", Arity = ArgumentArity.ZeroOrOne };
    private readonly Option<bool> _unpause = new("--unpause") { Description = "Let a paused domain go once it is watched: its events from the first instruction on" };
    private readonly Option<string?> _count = new("--count") { Description = "End after N events", HelpName = "N" };
    private readonly Option<string?> _duration = new("--duration") { Description = "End after a time (30s, 500ms, 2m)", HelpName = "TIME" };
    private readonly Option<bool> _deny = new("--deny-protection-clears") { Description = "Deny writes that clear CR4.SMEP or CR4.SMAP" };
    private readonly GuestOptions _guest = new();
    private readonly EventOptions _events = new();
    private readonly SymbolOptions _symbols = new();

    /// <summary>Adds the argument and the options that say which domain, and which of its events.</summary>
    public void AddTo(Command command)
    {
        command.Add(_domain);
        _guest.AddTo(command);
        _guest.AddHypervisorTo(command);
        _events.AddTo(command);
        _symbols.AddTo(command);
    }

    /// <summary>Adds the options that say how long, and what is done about it.</summary>
    public void AddLimitsTo(Command command)
    {
        foreach (var option in new Option[] { _unpause, _count, _duration, _deny })
        {
            command.Add(option);
        }
    }

    /// <summary>What the user asked for.</summary>
    /// <exception cref="UserError">Options that contradict each other, or values that mean nothing.</exception>
    public TraceRequest Read(ParseResult result)
    {
        var command = result.CommandResult.Command.Name;
        var built = _guest.ReadBuilt(result);
        var name = result.GetValue(_domain);
        DomainRef? reference = name is null ? null : CommandLine.ParseDomain(name, result);
        if (built is not null && (name is not null || GuestOptions.IsGiven(result, _guest.Connect)))
        {
            throw UserError.Usage($"{(name is not null ? $"domain '{name}'" : "--connect")} and a guest to build exclude each other; give one of --demo, --kernel FILE and DOMAIN --connect SOCKET");
        }

        if (built is not null)
        {
            _guest.RefuseXen(result);
        }

        if (built is null && name is null)
        {
            throw UserError.Usage($"'{command}' needs a guest; give --demo, --kernel FILE or DOMAIN --connect SOCKET (in Xen's dom0 DOMAIN alone)");
        }

        if (built is not null && result.GetValue(_unpause))
        {
            throw UserError.Usage("--unpause is for a DOMAIN that is there; a guest to build is watched from its first instruction anyway");
        }

        return new()
        {
            Hypervisor = built ?? _guest.ReadConnected(result, $"{command} DOMAIN"),
            Domain = reference,
            Choice = _events.Read(result),
            Symbols = _symbols.Read(result),
            Unpause = result.GetValue(_unpause),
            DenyProtectionClears = result.GetValue(_deny),
            Count = ReadCount(result.GetValue(_count)),
            Duration = ReadDuration(result.GetValue(_duration), "--duration"),
        };
    }

    /// <summary>Reads a time.</summary>
    /// <exception cref="UserError">It is none.</exception>
    public static TimeSpan? ReadDuration(string? text, string option) => text is null ? null
        : SelectionParser.TryDuration(text, out var duration, out var mistake) ? duration
        : throw UserError.Usage($"{option}: {mistake}");

    private static long? ReadCount(string? text) => text is null ? null
        : SelectionParser.TryNumber(text, out var count) && count is >= 1 and <= long.MaxValue ? (long)count
        : throw UserError.Usage($"--count: '{text}' is no number of events; write 1 or more");
}
