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
        Assert.Equal(3, lines.Length);
        Assert.All(lines, line => Assert.Empty(schema.Check(line)));
    }

    [Theory]
    [InlineData("trace")]
    [InlineData("run")]
    [InlineData("lab serve")]
    [InlineData("recover")]
    [InlineData("list")]
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
        var text = File.ReadAllText(Repository.PathOf("docs", "cli.md"));
        var commands = Regex.Matches(text, "^introspect (.+)$", RegexOptions.Multiline).Select(m => m.Groups[1].Value).ToList();
        Assert.NotEmpty(commands);
        Assert.All(commands, command =>
        {
            using var output = new StringWriter();
            using var error = new StringWriter();
            var exitCode = CommandLine.InvokeAsync(command.Split(' '), new FakeCommands(), output, error, CancellationToken.None).GetAwaiter().GetResult();
            Assert.True(exitCode == 0, $"introspect {command}: {error}");
        });
    }
}
