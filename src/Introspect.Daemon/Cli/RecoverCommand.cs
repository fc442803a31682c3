using System.CommandLine;
using Introspect.Daemon.Hypervisors;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Cli;

/// <summary><c>introspect recover</c>: one domain, or all that a service left.</summary>
internal static class RecoverCommand
{
    /// <summary>Makes the command.</summary>
    /// <param name="recover">Frees a domain of a hypervisor.</param>
    /// <param name="recoverLeft">Frees the domains that a service noted in a folder.</param>
    public static Command Create(Func<HypervisorSpec, DomainRef, int> recover, Func<string, int> recoverLeft)
    {
        var domain = new Argument<string?>("DOMAIN") { Description = "Number, UUID or name", Arity = ArgumentArity.ZeroOrOne };
        var state = new Option<string?>("--state") { Description = "Instead of DOMAIN: all that the service left whose notes are in this folder (/run/introspect/attached)", HelpName = "DIR" };
        var guest = new GuestOptions();
        var command = new Command("recover", "Free a domain from what a dead monitor left: answer, disable, unpause") { domain, state };
        guest.AddHypervisorTo(command);
        command.SetAction(result => (result.GetValue(domain), result.GetValue(state)) switch
        {
            (null, null) => throw UserError.Usage("argument 'DOMAIN' missing: name a domain, or give --state DIR; see 'introspect recover --help'"),
            (not null, not null) => throw UserError.Usage("DOMAIN and --state exclude each other; give one"),
            (null, { } folder) when GuestOptions.IsGiven(result, guest.Connect) => throw UserError.Usage($"--state and --connect exclude each other: the notes in '{folder}' name their hypervisor"),
            (null, { } folder) => recoverLeft(folder),
            ({ } name, null) => recover(guest.ReadConnected(result, "recover"), CommandLine.ParseDomain(name, result)),
        });
        return command;
    }
}
