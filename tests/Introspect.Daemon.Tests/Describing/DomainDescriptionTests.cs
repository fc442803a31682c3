using System.Text.Json;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Describing;
using Introspect.Daemon.Tests.Cli;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Daemon.Tests.Describing;

public sealed class DomainDescriptionTests
{
    [Fact]
    public void the_documented_file_is_one_that_is_read()
    {
        var example = File.ReadAllText(Repository.PathOf("docs", "domain-roles.md")).Split("```yaml\n")[1].Split("```")[0];
        var domain = DomainDescriptionFile.Parse("storage.yaml", example);
        Assert.Equal("storage", domain.Name);
        Assert.Equal(DescribedArchitecture.Arm, domain.Architecture);
        Assert.Equal(DomainRoles.Hardware, domain.Roles);
        Assert.Equal(64u, domain.SharedLines);
        Assert.Equal(new ArmRange(0xFF00_0000, 0x1000), domain.Machine!.Uart);
        var text = DomainReport.ToText(domain);
        Assert.StartsWith("storage: arm, hardware domain\nthe core executes x86 only", text, StringComparison.Ordinal);
        Assert.Matches(@"(?m)^virtual UART +0xff000000\+0x1000 +arch/arm/domain.c:780$", text);
        Assert.Matches("(?m)^GIC shared lines +128 ", text);
    }

    [Theory]
    [InlineData("arch: mips", "f.yaml:1: arch: 'mips' cannot be; write x86 or arm")]
    [InlineData("name: a\nhardware: yes", "f.yaml:2: hardware: 'yes' cannot be; write true or false")]
    [InlineData("gic: 4", "f.yaml:1: gic: '4' cannot be; write 2 or 3")]
    [InlineData("nr_spis: 961", "f.yaml:1: nr_spis: '961' cannot be; write a number up to 960")]
    [InlineData("colour: red", "f.yaml:1: 'colour' is unknown; write one of name, arch")]
    [InlineData("machine: none", "f.yaml:1: machine: 'none' cannot be; write a mapping")]
    [InlineData("machine:\n  gic_lines: 31", "f.yaml:2: gic_lines: '31' cannot be; write a number from 32 to 1020")]
    [InlineData("machine:\n  uart: 9", "f.yaml:2: uart: '9' cannot be; write a range as 0x9000000+0x1000")]
    [InlineData("machine:\n  uart: 0xffffffffffffffff+0x10", "f.yaml:2: uart:")]
    [InlineData("machine:\n  virtual_timer: 32", "f.yaml:2: virtual_timer: '32' cannot be; write a number up to 31")]
    [InlineData("machine:\n  secure_timer: 15", "f.yaml:2: secure_timer: '15' cannot be; write an interrupt that is private")]
    [InlineData("machine:\n  clock: 1", "f.yaml:2: 'clock' is unknown; write one of gic_lines")]
    [InlineData("- arm", "f.yaml: a description is one mapping")]
    [InlineData("", "f.yaml: a description is one mapping")]
    [InlineData("a: [", "f.yaml:")]
    public void a_mistake_in_a_file_is_one_line_with_its_place(string text, string expected)
    {
        var mistake = Assert.Throws<UserError>(() => DomainDescriptionFile.Parse("f.yaml", text));
        Assert.StartsWith(expected, mistake.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void a_file_that_is_nested_without_end_is_one_line()
    {
        var mistake = Assert.Throws<UserError>(() => DomainDescriptionFile.Parse("f.yaml", "machine: " + new string('[', 100_000)));
        Assert.StartsWith("f.yaml:1: no YAML: it is nested deeper than 64 levels", mistake.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task options_come_on_top_of_the_file_and_say_what_they_are_for()
    {
        var described = (await InvokeAsync("domain describe --arch arm --gic 3 --nr-spis 5 --hardware --control")).Commands.Described!;
        Assert.Equal((DescribedArchitecture.Arm, GicVersion.V3, 5u, DomainRoles.Both), (described.Architecture, described.Gic, described.SharedLines, described.Roles));
        Assert.Contains("--gic belongs to an Arm domain; give --arch arm, too", (await InvokeAsync("domain describe --gic 3")).Error, StringComparison.Ordinal);
        Assert.Contains("--arch: 'mips' is unknown; write x86 or arm", (await InvokeAsync("domain describe --arch mips")).Error, StringComparison.Ordinal);
        Assert.Contains("--nr-spis: 'x' is no number up to 960", (await InvokeAsync("domain describe --arch arm --nr-spis x")).Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(DescribedArchitecture.X86, DomainRoles.None, "can be saved", "yes")]
    [InlineData(DescribedArchitecture.X86, DomainRoles.Hardware, "can be saved", "no")]
    [InlineData(DescribedArchitecture.X86, DomainRoles.Control, "reads the console", "yes")]
    [InlineData(DescribedArchitecture.Arm, DomainRoles.Control, "virtual UART", "none")]
    [InlineData(DescribedArchitecture.Arm, DomainRoles.Both, "virtual UART", "0x09000000+0x1000")]
    internal void json_has_every_decision_and_says_what_is_executed(DescribedArchitecture architecture, DomainRoles roles, string policy, string decision)
    {
        using var output = new MemoryStream();
        DomainReport.WriteJson(output, new DomainDescription { Architecture = architecture, Roles = roles });
        using var json = JsonDocument.Parse(output.ToArray());
        var root = json.RootElement;
        Assert.Equal(architecture == DescribedArchitecture.X86, root.GetProperty("executed").GetBoolean());
        Assert.Equal(roles.HasFlag(DomainRoles.Hardware), root.GetProperty("hardware").GetBoolean());
        Assert.Equal(roles.HasFlag(DomainRoles.Control), root.GetProperty("control").GetBoolean());
        var found = Assert.Single(root.GetProperty("policies").EnumerateArray(), entry => entry.GetProperty("policy").GetString() == policy);
        Assert.Equal(decision, found.GetProperty("decision").GetString());
    }

    private static async Task<(string Error, FakeCommands Commands)> InvokeAsync(string line)
    {
        var commands = new FakeCommands();
        using var output = new StringWriter();
        using var error = new StringWriter();
        await CommandLine.InvokeAsync(line.Split(' '), commands, output, error, CancellationToken.None);
        return (error.ToString(), commands);
    }
}
