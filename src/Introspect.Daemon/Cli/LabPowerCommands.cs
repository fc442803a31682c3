using System.CommandLine;
using Introspect.Daemon.Guests;
using Introspect.Hypervisor.Core.Host;

namespace Introspect.Daemon.Cli;

/// <summary><c>introspect lab shutdown</c> and <c>lab reboot</c>, which ask the guest.</summary>
internal static class LabPowerCommands
{
    private const int DefaultSeconds = 60;
    private const int MostSeconds = 24 * 60 * 60;

    /// <summary><c>lab shutdown</c>.</summary>
    public static Command CreateShutdown(ICommands commands) =>
        Create(commands, "shutdown", "Ask a guest over xenstore to switch itself off", LabPowerStep.Poweroff);

    /// <summary><c>lab reboot</c>.</summary>
    public static Command CreateReboot(ICommands commands) =>
        Create(commands, "reboot", "Ask a guest over xenstore to reboot", LabPowerStep.Reboot);

    private static Command Create(ICommands commands, string name, string description, LabPowerStep step)
    {
        var domain = new Argument<string>("DOMAIN") { Description = "Number, UUID or name" };
        var socket = new Option<string?>("--socket") { Description = "Where the domains are (default: one of this user's own)", HelpName = "PATH" };
        var waits = new Option<bool>("--wait", "-w") { Description = "Return when it has ended, and say how" };
        var timeout = new Option<int>("--timeout") { Description = $"How long the guest may take to acknowledge ({DefaultSeconds})", HelpName = "SECONDS", DefaultValueFactory = static _ => DefaultSeconds };
        var command = new Command(name, description) { domain, waits, timeout, socket };
        command.SetAction((result, cancellation) =>
        {
            var seconds = result.GetValue(timeout);
            if (seconds is < 1 or > MostSeconds)
            {
                throw UserError.Usage($"--timeout: {seconds} is no number of seconds from 1 to {MostSeconds}");
            }

            return commands.LabAsync(
                new LabPowerRequest(result.GetValue(socket), CommandLine.ParseDomain(result.GetRequiredValue(domain), result), step, result.GetValue(waits), TimeSpan.FromSeconds(seconds)),
                cancellation);
        });
        return command;
    }
}
