using System.CommandLine;
using System.Globalization;
using Introspect.Daemon.Describing;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Daemon.Cli;

/// <summary>The command about a domain that need not be there: <c>domain describe</c>.</summary>
internal static class DomainCommands
{
    /// <summary>Makes <c>introspect domain</c>.</summary>
    public static Command Create(ICommands commands)
    {
        var file = new Argument<string?>("FILE") { Description = "YAML with what the domain is (docs/domain-roles.md); options come after it", Arity = ArgumentArity.ZeroOrOne };
        var arch = new Option<string?>("--arch") { Description = "x86 (default) or arm, which the core does not execute", HelpName = "ARCH", CompletionSources = { "x86", "arm" } };
        var hardware = new Option<bool>("--hardware") { Description = "It is the hardware domain" };
        var control = new Option<bool>("--control") { Description = "It is a control domain" };
        var gic = new Option<string?>("--gic") { Description = "Arm: version of the machine's GIC, 2 (default) or 3", HelpName = "VERSION", CompletionSources = { "2", "3" } };
        var lines = new Option<string?>("--nr-spis") { Description = "Arm: shared interrupt lines that it asks for", HelpName = "N" };
        var json = new Option<bool>("--json") { Description = "One JSON object" };
        var describe = new Command("describe", "Tell what is decided about a domain by its roles, as Xen decides it") { file, arch, hardware, control, gic, lines, json };
        describe.SetAction(result => commands.DescribeDomain(new(result.GetValue(file), domain => Complete(result, domain), result.GetValue(json))));
        return new Command("domain", "Tell of domains that need not be there") { describe };

        DomainDescription Complete(ParseResult result, DomainDescription domain)
        {
            domain = domain with
            {
                Architecture = Choose(result, arch, domain.Architecture, ("x86", DescribedArchitecture.X86), ("arm", DescribedArchitecture.Arm)),
                Gic = Choose(result, gic, domain.Gic, ("2", GicVersion.V2), ("3", GicVersion.V3)),
                SharedLines = ReadLines(result.GetValue(lines)) ?? domain.SharedLines,
                Roles = domain.Roles
                    | (result.GetValue(hardware) ? DomainRoles.Hardware : DomainRoles.None)
                    | (result.GetValue(control) ? DomainRoles.Control : DomainRoles.None),
            };
            Option[] armOnly = [gic, lines];
            return domain.Architecture == DescribedArchitecture.X86 && armOnly.FirstOrDefault(o => GuestOptions.IsGiven(result, o)) is { } stray
                ? throw UserError.Usage($"{stray.Name} belongs to an Arm domain; give --arch arm, too")
                : domain;
        }
    }

    private static T Choose<T>(ParseResult result, Option<string?> option, T otherwise, params (string Text, T Value)[] choices)
    {
        if (result.GetValue(option) is not { } text)
        {
            return otherwise;
        }

        foreach (var choice in choices)
        {
            if (choice.Text == text)
            {
                return choice.Value;
            }
        }

        throw UserError.Usage($"{option.Name}: '{text}' is unknown; write {string.Join(" or ", choices.Select(static choice => choice.Text))}");
    }

    private static uint? ReadLines(string? text)
    {
        const uint Most = 960;
        return text is null ? null
            : uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var lines) && lines <= Most ? lines
            : throw UserError.Usage($"--nr-spis: '{text}' is no number up to {Most}");
    }
}
