using System.CommandLine;
using System.CommandLine.Parsing;
using Introspect.Daemon.Capturing;
using Introspect.Daemon.Cli.Documentation;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Control;
using Introspect.Daemon.Describing;
using Introspect.Daemon.Guests;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Inspection;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Cli;

/// <summary>What the program can do, for the command line to call.</summary>
internal interface ICommands
{
    /// <summary><c>introspect trace</c>.</summary>
    Task<int> TraceAsync(TraceRequest request, CancellationToken cancellationToken);

    /// <summary><c>introspect record</c>.</summary>
    Task<int> RecordAsync(RecordRequest request, CancellationToken cancellationToken);

    /// <summary><c>introspect replay</c>.</summary>
    int Replay(ReplayRequest request, CancellationToken cancellationToken);

    /// <summary><c>introspect domain describe</c>.</summary>
    int DescribeDomain(DescribeRequest request);

    /// <summary><c>introspect capture info</c>.</summary>
    int CaptureInfo(string path, bool json);

    /// <summary><c>introspect run</c>.</summary>
    Task<int> RunAsync(string configurationPath, CancellationToken cancellationToken);

    /// <summary><c>introspect config check</c>.</summary>
    int CheckConfiguration(string configurationPath);

    /// <summary><c>introspect reload</c>.</summary>
    Task<int> ReloadAsync(string socketPath, CancellationToken cancellationToken);

    /// <summary><c>introspect top</c>.</summary>
    Task<int> TopAsync(TopRequest request, CancellationToken cancellationToken);

    /// <summary><c>introspect lab serve</c>.</summary>
    Task<int> ServeLabAsync(string socketPath, HypervisorSpec? guest, CoreFeatures features, LabLife life, CancellationToken cancellationToken);

    /// <summary><c>introspect lab create</c> and the others that ask a lab for something.</summary>
    Task<int> LabAsync(LabRequest request, CancellationToken cancellationToken);

    /// <summary><c>introspect recover</c>.</summary>
    int Recover(HypervisorSpec hypervisor, DomainRef domain);

    /// <summary><c>introspect recover --state</c>.</summary>
    int RecoverLeft(string folder);

    /// <summary><c>introspect list</c>.</summary>
    int List(HypervisorSpec hypervisor, bool json);

    /// <summary><c>introspect regs</c>.</summary>
    int Registers(InspectionTarget target, bool json);

    /// <summary><c>introspect mem</c>.</summary>
    int Memory(MemoryRequest request);

    /// <summary><c>introspect disasm</c>.</summary>
    int Disassemble(DisassemblyRequest request);

    /// <summary><c>introspect rules check</c>.</summary>
    int CheckRules(RulesCheckRequest request);

    /// <summary><c>introspect rules explain</c>.</summary>
    int ExplainRules(IReadOnlyList<string> paths);

    /// <summary><c>introspect rules test</c>.</summary>
    int TestRules(RulesTestRequest request);

    /// <summary><c>introspect version</c>.</summary>
    int Version();
}

/// <summary>
/// The command line. Whatever is wrong with it becomes one line on stderr; whatever a command throws, too.
/// </summary>
internal static class CommandLine
{
    private const string ProgramName = "introspect";

    /// <summary>Runs a command line.</summary>
    /// <returns>The exit code.</returns>
    public static async Task<int> InvokeAsync(string[] arguments, ICommands commands, TextWriter output, TextWriter error, CancellationToken cancellationToken)
    {
        var verbose = new Option<bool>("--verbose") { Description = "Show where an unexpected error came from", Recursive = true };
        var root = CreateRoot(commands, verbose);
        var result = root.Parse(arguments, new ParserConfiguration { EnablePosixBundling = false, ResponseFileTokenReplacer = null });
        var invocation = new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null, Output = output, Error = error };
        try
        {
            // Help is an action that clears the parser's complaints.
            if (result.Errors.Count != 0 && result.Action is not ScreenHelp)
            {
                throw UserError.Usage(Complaint(result));
            }

            return await result.InvokeAsync(invocation, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            return Report(e, result.GetValue(verbose), error);
        }
    }

    /// <summary>Tells of an error as users should see it.</summary>
    /// <returns>The exit code.</returns>
    public static int Report(Exception e, bool verbose, TextWriter error)
    {
        switch (e)
        {
            case UserError user:
                Line(user.Message);
                Trace();
                return user.ExitCode;
            case ConfigurationMistakes configuration:
                foreach (var mistake in configuration.Mistakes)
                {
                    Line(mistake);
                }

                return ExitCode.Usage;
            case ReloadRefused reload:
                foreach (var mistake in reload.Mistakes)
                {
                    Line(mistake);
                }

                Line("the configuration was not taken over, the old one stays in force");
                return ExitCode.Failure;
            case HypervisorException refused:
                Line(refused.Message);
                Trace();
                return ExitCode.Failure;
            case OperationCanceledException:
                Line("interrupted");
                return ExitCode.Failure;
            default:
                Line($"unexpected {e.GetType().Name}: {e.Message}{(verbose ? "" : " (--verbose shows where)")}");
                Trace();
                return ExitCode.Failure;
        }

        void Line(string message) => error.WriteLine($"{ProgramName}: {UserError.OneLine(message)}");

        void Trace()
        {
            if (verbose)
            {
                error.WriteLine(e.ToString());
            }
        }
    }

    private static RootCommand CreateRoot(ICommands commands, Option<bool> verbose)
    {
        var root = new RootCommand("Watches virtual machines from outside, by the vm_event interface of Xen and of its own hypervisor core.");
        // 'introspect version' tells more than the option that comes with the parser, which goes.
        foreach (var option in root.Options.OfType<VersionOption>().ToArray())
        {
            root.Options.Remove(option);
        }

        root.Add(verbose);
        root.Add(TraceCommand.Create(commands.TraceAsync));
        root.Add(CaptureCommands.CreateRecord(commands));
        root.Add(CaptureCommands.CreateReplay(commands));
        root.Add(CaptureCommands.CreateCapture(commands));
        root.Add(ServiceCommands.CreateRun(commands.RunAsync));
        root.Add(ServiceCommands.CreateConfig(commands.CheckConfiguration));
        root.Add(ServiceCommands.CreateReload(commands.ReloadAsync));
        root.Add(ServiceCommands.CreateTop(commands.TopAsync));
        root.Add(LabCommands.Create(commands));
        root.Add(RecoverCommand.Create(commands.Recover, commands.RecoverLeft));
        root.Add(CreateList(commands));
        root.Add(DomainCommands.Create(commands));
        root.Add(InspectionCommands.CreateRegisters(commands));
        root.Add(InspectionCommands.CreateMemory(commands));
        root.Add(InspectionCommands.CreateDisassembly(commands));
        root.Add(RulesCommands.Create(commands));
        var version = new Command("version", "Print the version of the program and of what it runs on");
        version.SetAction(_ => commands.Version());
        root.Add(version);
        DocumentationCommands.AddTo(root);
        ScreenHelp.AddTo(root);
        return root;
    }

    private static Command CreateList(ICommands commands)
    {
        var json = new Option<bool>("--json") { Description = "NDJSON, one object a domain" };
        var guest = new GuestOptions();
        var command = new Command("list", "List the domains") { json };
        command.Aliases.Add("domains");
        guest.AddHypervisorTo(command);
        command.SetAction(result => commands.List(guest.ReadConnected(result, "list"), result.GetValue(json)));
        return command;
    }

    /// <summary>Reads a domain as a user names it; what looks like an option is a mistake in one, not a name.</summary>
    /// <exception cref="UserError">It is no domain.</exception>
    public static DomainRef ParseDomain(string text, ParseResult result) =>
        text.StartsWith('-') ? throw UserError.Usage(Unknown("option", text, result.CommandResult))
        : string.IsNullOrWhiteSpace(text) ? throw UserError.Usage("the name of the domain is empty; give a number, UUID or name")
        : DomainRef.Parse(text);

    // The parser's own sentences name the value; ours name the remedy as well.
    private static string Complaint(ParseResult result)
    {
        var help = $"see '{CommandPath(result.CommandResult)} --help'";
        if (result.CommandResult.Tokens.FirstOrDefault(t => t.Value.StartsWith('-')) is { } option)
        {
            // Taken for an argument, so that what belongs to it is what seems not to fit.
            return Unknown("option", option.Value, result.CommandResult);
        }

        if (result.UnmatchedTokens is [var token, ..])
        {
            var what = token.StartsWith('-') ? "option" : result.CommandResult.Command.Subcommands.Count != 0 ? "command" : "argument";
            return Unknown(what, token, result.CommandResult);
        }

        return Repeated(result.CommandResult) is { } twice
            ? $"{twice} is given more than once; give it once ({help})"
            : $"{result.Errors[0].Message.TrimEnd('.')}; {help}";
    }

    /// <summary>What is to be said of a word that a command does not know.</summary>
    public static string Unknown(string what, string token, CommandResult command)
    {
        IEnumerable<Symbol> known = what switch
        {
            "option" => command.Command.Options,
            "command" => command.Command.Subcommands,
            _ => [],
        };
        return $"unknown {what} '{token}'; see '{CommandPath(command)} --help'{Suggestion.For(token, known.Select(k => k.Name))}";
    }

    // An option with one value that was written twice.
    private static string? Repeated(CommandResult command) =>
        command.Children.OfType<OptionResult>().FirstOrDefault(o => o.IdentifierTokenCount > 1 && o.Errors.Any())?.Option.Name;

    private static string CommandPath(CommandResult command)
    {
        var names = new Stack<string>();
        for (SymbolResult? at = command; at is CommandResult current; at = at.Parent)
        {
            names.Push(current.Command is RootCommand ? ProgramName : current.Command.Name);
        }

        return string.Join(' ', names);
    }
}
