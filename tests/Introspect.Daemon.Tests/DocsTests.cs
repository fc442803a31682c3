using System.Text.RegularExpressions;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Tests.Cli;
using Introspect.Daemon.Tests.Output;

namespace Introspect.Daemon.Tests;

/// <summary>What the documents show is what the program does.</summary>
public sealed class DocsTests
{
    [Fact]
    public void example_lines_are_within_the_schema()
    {
        var schema = new SchemaChecker(File.ReadAllText(Repository.PathOf("docs", "events.schema.json")));
        var block = File.ReadAllText(Repository.PathOf("docs", "events-json.md")).Split("```json\n")[1].Split("```")[0];
        var lines = block.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(4, lines.Length);
        Assert.All(lines, line => Assert.Empty(schema.Check(line)));
    }

    [Theory]
    [InlineData("trace")]
    [InlineData("record")]
    [InlineData("replay")]
    [InlineData("capture info")]
    [InlineData("run")]
    [InlineData("config check")]
    [InlineData("reload")]
    [InlineData("top")]
    [InlineData("lab serve")]
    [InlineData("lab create")]
    [InlineData("lab list")]
    [InlineData("lab console")]
    [InlineData("lab pause")]
    [InlineData("lab unpause")]
    [InlineData("lab shutdown")]
    [InlineData("lab reboot")]
    [InlineData("lab save")]
    [InlineData("lab restore")]
    [InlineData("lab dump-core")]
    [InlineData("lab destroy")]
    [InlineData("recover")]
    [InlineData("list")]
    [InlineData("domain describe")]
    [InlineData("regs")]
    [InlineData("mem")]
    [InlineData("disasm")]
    [InlineData("rules check")]
    [InlineData("rules explain")]
    [InlineData("rules test")]
    public void every_option_of_a_command_is_documented(string command)
    {
        var (exitCode, help, _) = ProcessTests.Program([.. command.Split(' '), "--help"]);
        Assert.Equal(0, exitCode);
        var text = File.ReadAllText(Repository.PathOf("docs", "cli.md"));
        var options = Regex.Matches(help, @"^  (?:-\S+, )*(--[a-z0-9-]+)", RegexOptions.Multiline).Select(m => m.Groups[1].Value);
        Assert.All(options.Where(o => o != "--help"), option => Assert.Contains(option, text, StringComparison.Ordinal));
    }

    [Fact]
    public void commands_in_the_documents_are_ones_that_the_program_takes()
    {
        string[][] documents =
        [
            ["docs", "cli.md"], ["docs", "rules.md"], ["README.md"], ["docs", "configuration.md"], ["docs", "service.md"], ["docs", "events-json.md"], ["docs", "vm-event.md"],
            ["docs", "testing.md"], ["docs", "capture.md"], ["docs", "guest-images.md"], ["docs", "sinks.md"], ["docs", "plugins.md"], ["docs", "lab.md"], ["docs", "saved-domains.md"], ["docs", "domain-roles.md"],
        ];
        var commands = documents.SelectMany(document => DocumentedCommand.In(document)).ToList();
        Assert.True(commands.Count > 20);
        Assert.All(commands, command =>
        {
            using var output = new StringWriter();
            using var error = new StringWriter();
            var exitCode = CommandLine.InvokeAsync(DocumentedCommand.Words(command), new FakeCommands(), output, error, CancellationToken.None).GetAwaiter().GetResult();
            Assert.True(exitCode == 0, $"{command}: {error}");
        });
    }

    [Fact]
    public void every_command_of_the_program_is_shown_in_the_manual()
    {
        var (_, help, _) = ProcessTests.Program("--help");
        var names = Regex.Matches(help.Split("Commands:")[1], @"^  ([a-z]+)", RegexOptions.Multiline).Select(m => m.Groups[1].Value);
        var manual = File.ReadAllText(Repository.PathOf("docs", "cli.md"));
        Assert.All(names, name => Assert.Contains($"## `introspect {name}", manual, StringComparison.Ordinal));
    }
}
