using System.CommandLine;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Tracing;

namespace Introspect.Daemon.Cli;

/// <summary>What <c>introspect top</c> is asked for.</summary>
/// <param name="Socket">The service's control socket.</param>
/// <param name="Once">One table, and the end.</param>
/// <param name="Interval">Time between two looks.</param>
internal sealed record TopRequest(string Socket, bool Once, TimeSpan Interval);

/// <summary>The commands that run the service, and those that talk to it.</summary>
internal static class ServiceCommands
{
    private static readonly TimeSpan ShortestInterval = TimeSpan.FromMilliseconds(100);

    /// <summary><c>introspect run</c>.</summary>
    public static Command CreateRun(Func<string, CancellationToken, Task<int>> run)
    {
        var config = ConfigOption();
        var command = new Command("run", "Watch domains as a service, as a configuration file says") { config };
        command.SetAction((result, cancellation) => run(result.GetRequiredValue(config), cancellation));
        return command;
    }

    /// <summary><c>introspect config</c>.</summary>
    public static Command CreateConfig(Func<string, int> check)
    {
        var config = ConfigOption();
        var command = new Command("check", "Read the configuration, and tell every mistake in it") { config };
        command.SetAction(result => check(result.GetRequiredValue(config)));
        return new Command("config", "The configuration of the service") { command };
    }

    /// <summary><c>introspect reload</c>.</summary>
    public static Command CreateReload(Func<string, CancellationToken, Task<int>> reload)
    {
        var socket = SocketOption();
        var command = new Command("reload", "Have the service read its configuration anew; fails when it has mistakes") { socket };
        command.SetAction((result, cancellation) => reload(result.GetRequiredValue(socket), cancellation));
        return command;
    }

    /// <summary><c>introspect top</c>.</summary>
    public static Command CreateTop(Func<TopRequest, CancellationToken, Task<int>> top)
    {
        var socket = SocketOption();
        var once = new Option<bool>("--once") { Description = "Print one table and end" };
        var interval = new Option<string>("--interval") { Description = "Time between two looks", HelpName = "TIME", DefaultValueFactory = _ => "1s" };
        var command = new Command("top", "Show what the service does: domains, rates, pauses, slow handlers") { socket, once, interval };
        command.SetAction((result, cancellation) =>
        {
            if (!SelectionParser.TryDuration(result.GetRequiredValue(interval), out var time, out var mistake))
            {
                throw UserError.Usage($"--interval: {mistake}");
            }

            return time >= ShortestInterval
                ? top(new(result.GetRequiredValue(socket), result.GetValue(once), time), cancellation)
                : throw UserError.Usage($"--interval: '{result.GetRequiredValue(interval)}' is too short; give 100ms or more");
        });
        return command;
    }

    private static Option<string> ConfigOption() => new("--config")
    {
        Description = "Configuration file (docs/configuration.md)",
        HelpName = "FILE",
        DefaultValueFactory = _ => ConfigurationLoader.DefaultPath,
    };

    private static Option<string> SocketOption() => new("--socket")
    {
        Description = "Control socket of the service",
        HelpName = "PATH",
        DefaultValueFactory = _ => ControlOptions.DefaultSocket,
    };
}
