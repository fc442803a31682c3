using System.CommandLine;
using System.Globalization;
using Introspect.Daemon.Guests;
using Introspect.Daemon.Hypervisors;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Host;

namespace Introspect.Daemon.Cli;

/// <summary><c>introspect lab</c>: the core's domains, as <c>xl</c> has those of Xen.</summary>
internal sealed class LabCommands
{
    private readonly ICommands _commands;

    private LabCommands(ICommands commands) => _commands = commands;

    /// <summary>Makes the command.</summary>
    public static Command Create(ICommands commands)
    {
        var made = new LabCommands(commands);
        return new Command("lab", "A hypervisor to try things on, without hardware")
        {
            made.CreateServe(),
            made.CreateCreate(),
            made.CreateList(),
            made.CreateConsole(),
            made.CreateOperation("pause", "Hold the vCPUs of a domain", DomctlCommand.PauseDomain, "pausing"),
            made.CreateOperation("unpause", "Let a paused domain go on", DomctlCommand.UnpauseDomain, "unpausing"),
            LabPowerCommands.CreateShutdown(commands),
            LabPowerCommands.CreateReboot(commands),
            made.CreateSave(),
            made.CreateRestore(),
            made.CreateDumpCore(),
            made.CreateOperation("destroy", "End a domain at once", DomctlCommand.DestroyDomain, "destroying"),
        };
    }

    private Command CreateServe()
    {
        var socket = new Option<string>("--socket") { Description = "Path of the socket to listen on", HelpName = "PATH", Required = true };
        var forever = new Option<bool>("--forever") { Description = "With --demo: the guest goes on until it is destroyed" };
        var untilEmpty = new Option<bool>("--until-empty") { Description = "End when no domain and no client is left" };
        var guest = new GuestOptions();
        var hardware = new Option<string?>("--hardware-dom") { Description = "The domain that becomes the hardware domain when it is created: its shutdown is the machine's (docs/domain-roles.md)", HelpName = "ID" };
        var serve = new Command("serve", "Hold domains in this process and let monitors reach them over a socket") { socket };
        guest.AddTo(serve);
        serve.Add(forever);
        serve.Add(untilEmpty);
        serve.Add(hardware);
        serve.SetAction((result, cancellation) =>
        {
            var spec = guest.ReadBuilt(result, needsGuest: false);
            var features = guest.ReadCore(result);
            var goesOn = result.GetValue(forever);
            if (goesOn && spec?.Source != HypervisorSource.Demo)
            {
                throw UserError.Usage("--forever belongs to the demo guest; give --demo, too");
            }

            if (spec is null && features.HasFlag(CoreFeatures.Interleaved))
            {
                throw UserError.Usage("--core interleaved belongs to a guest that is built; give --demo or --kernel FILE, too");
            }

            return _commands.ServeLabAsync(result.GetRequiredValue(socket), spec is null ? null : spec with { DemoForever = goesOn }, features, new(ReadHardwareDomain(result.GetValue(hardware)), result.GetValue(untilEmpty)), cancellation);
        });
        return serve;
    }

    private static DomainId? ReadHardwareDomain(string? text)
    {
        if (text is null)
        {
            return null;
        }

        return ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var id) && id < DomainId.FirstReserved
            ? new DomainId(id)
            : throw UserError.Usage($"--hardware-dom: '{text}' is no number of a domain below {DomainId.FirstReserved}");
    }

    private Command CreateCreate()
    {
        var path = new Argument<string>("CONFIG") { Description = "The guest's configuration, as xl has it" };
        var settings = new Argument<string[]>("KEY=VALUE") { Description = "Settings over it, in the same form: 'name=\"other\"'", Arity = ArgumentArity.ZeroOrMore };
        var (socket, start) = (SocketOption(), new StartOptions());
        var command = new Command("create", "Create a domain from a configuration; starts 'lab serve' where there is none") { path, settings, socket };
        start.AddTo(command);
        command.SetAction((result, cancellation) => RunAsync(
            new LabCreateRequest(result.GetValue(socket), result.GetRequiredValue(path), ReadSettings(result, result.GetValue(settings) ?? []), start.Read(result)), cancellation));
        return command;
    }

    private Command CreateRestore()
    {
        var path = new Argument<string>("FILE") { Description = "The saved domain" };
        var name = new Option<string?>("--name") { Description = "Another name for it", HelpName = "NAME" };
        var (socket, start) = (SocketOption(), new StartOptions());
        var command = new Command("restore", "Build a domain from a saved one; starts 'lab serve' where there is none") { path, name, socket };
        start.AddTo(command);
        command.SetAction((result, cancellation) => RunAsync(
            new LabRestoreFileRequest(result.GetValue(socket), result.GetRequiredValue(path), result.GetValue(name), start.Read(result)), cancellation));
        return command;
    }

    private Command CreateList()
    {
        var domain = new Argument<string?>("DOMAIN") { Description = "Number, UUID or name; without it all", Arity = ArgumentArity.ZeroOrOne };
        var isLong = new Option<bool>("--long", "-l") { Description = "What each was created from, too" };
        var json = new Option<bool>("--json") { Description = "NDJSON, one object a domain" };
        var socket = SocketOption();
        var command = new Command("list", "List the domains") { domain, isLong, json, socket };
        command.SetAction((result, cancellation) => RunAsync(
            new LabListRequest(result.GetValue(socket), result.GetValue(domain) is { } name ? CommandLine.ParseDomain(name, result) : null, result.GetValue(isLong), result.GetValue(json)), cancellation));
        return command;
    }

    private Command CreateConsole()
    {
        var (domain, socket) = (DomainArgument(), SocketOption());
        var command = new Command("console", "Follow a domain's console to its end; Ctrl-] leaves it") { domain, socket };
        command.SetAction((result, cancellation) => RunAsync(
            new LabConsoleRequest(result.GetValue(socket), CommandLine.ParseDomain(result.GetRequiredValue(domain), result)), cancellation));
        return command;
    }

    private Command CreateSave()
    {
        var (domain, socket) = (DomainArgument(), SocketOption());
        var path = new Argument<string>("FILE") { Description = "Where to" };
        var runs = new Option<bool>("--continue", "-c") { Description = "The domain goes on afterwards; else it is destroyed" };
        var paused = new Option<bool>("--paused", "-p") { Description = "The domain stays, paused" };
        var command = new Command("save", "Save a domain to a file") { domain, path, runs, paused, socket };
        command.SetAction((result, cancellation) =>
        {
            var then = (result.GetValue(runs), result.GetValue(paused)) switch
            {
                (true, true) => throw UserError.Usage("--continue and --paused exclude each other; give one"),
                (true, false) => AfterSave.Continue,
                (false, true) => AfterSave.Pause,
                _ => AfterSave.Destroy,
            };
            return RunAsync(new LabSaveFileRequest(result.GetValue(socket), CommandLine.ParseDomain(result.GetRequiredValue(domain), result), result.GetRequiredValue(path), then), cancellation);
        });
        return command;
    }

    private Command CreateDumpCore()
    {
        var (domain, socket) = (DomainArgument(), SocketOption());
        var path = new Argument<string>("FILE") { Description = "Where to" };
        var command = new Command("dump-core", "Write a domain's vCPUs and memory to a file for a debugger, in Xen's ELF format") { domain, path, socket };
        command.SetAction((result, cancellation) => RunAsync(
            new LabDumpCoreRequest(result.GetValue(socket), CommandLine.ParseDomain(result.GetRequiredValue(domain), result), result.GetRequiredValue(path)), cancellation));
        return command;
    }

    private Command CreateOperation(string name, string description, uint operation, string what)
    {
        var (domain, socket) = (DomainArgument(), SocketOption());
        var command = new Command(name, description) { domain, socket };
        command.SetAction((result, cancellation) => RunAsync(
            new LabOperationRequest(result.GetValue(socket), CommandLine.ParseDomain(result.GetRequiredValue(domain), result), operation, what), cancellation));
        return command;
    }

    private Task<int> RunAsync(LabRequest request, CancellationToken cancellationToken) => _commands.LabAsync(request, cancellationToken);

    private static string[] ReadSettings(ParseResult result, string[] settings) =>
        settings.FirstOrDefault(static setting => setting.StartsWith('-')) is { } option ? throw UserError.Usage(CommandLine.Unknown("option", option, result.CommandResult))
        : settings.FirstOrDefault(static setting => !setting.Contains('=', StringComparison.Ordinal)) is { } wrong ? throw UserError.Usage($"'{wrong}' is no setting; write key=value")
        : settings;

    private static Argument<string> DomainArgument() => new("DOMAIN") { Description = "Number, UUID or name" };

    private static Option<string?> SocketOption() => new("--socket") { Description = "Where the domains are, or are to be (default: one of this user's own)", HelpName = "PATH" };

    /// <summary>What is done with a domain that is there anew.</summary>
    private sealed class StartOptions
    {
        private readonly Option<bool> _paused = new("--paused", "-p") { Description = "Do not let it run yet" };
        private readonly Option<bool> _console = new("--console", "-c") { Description = "Follow its console to its end, and return how it ended" };
        private readonly Option<string?> _log = new("--log") { Description = "Log of a 'lab serve' that has to be started (default: beside its socket)", HelpName = "FILE" };

        public void AddTo(Command command)
        {
            command.Add(_paused);
            command.Add(_console);
            command.Add(_log);
        }

        public LabStart Read(ParseResult result) => new(result.GetValue(_paused), result.GetValue(_console), result.GetValue(_log));
    }
}
