using System.Text.RegularExpressions;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Cli.Documentation;

namespace Introspect.Daemon.Tests.Cli.Documentation;

public sealed class ManPageTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-man-").FullName;

    public ManPageTests() => Assert.Equal((0, "", ""), Invoke("man", _folder));

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    internal static (int ExitCode, string Output, string Error) Invoke(params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var exitCode = CommandLine.InvokeAsync(arguments, new FakeCommands(), output, error, CancellationToken.None).GetAwaiter().GetResult();
        return (exitCode, output.ToString(), error.ToString());
    }

    [NeedsToolFact("groff")]
    public void groff_has_nothing_to_say_about_any_page()
    {
        var pages = Directory.GetFiles(_folder);
        Assert.True(pages.Length > 10);
        foreach (var page in pages)
        {
            var (exitCode, output, error) = Repository.Run("groff", ["-man", "-ww", "-Tutf8", page]);
            Assert.Equal((0, ""), (exitCode, error));
            Assert.StartsWith("INTROSPECT", output, StringComparison.Ordinal);
        }
    }

    [NeedsToolFact("man")]
    public void man_shows_a_page()
    {
        var (exitCode, output, error) = Repository.Run("man", ["-l", Path.Combine(_folder, "introspect-trace.1")], environment: new Dictionary<string, string> { ["MANWIDTH"] = "80", ["PAGER"] = "cat", ["LC_ALL"] = "C" });
        Assert.Equal((0, ""), (exitCode, error));
        Assert.All(output.Split('\n'), line => Assert.True(line.Length <= 80 || line.Contains("introspect trace", StringComparison.Ordinal), line));
        Assert.Contains("introspect trace --demo --int3 work,step_here+5 --count 10", output, StringComparison.Ordinal);
    }

    [Fact]
    public void each_command_has_a_page_with_each_of_its_options()
    {
        Assert.Equal(0, Invoke("--help").ExitCode);
        var commands = Directory.GetFiles(_folder).Select(f => Path.GetFileNameWithoutExtension(f)!).ToList();
        Assert.Contains("introspect", commands);
        Assert.Contains("introspect-lab-serve", commands);
        Assert.DoesNotContain("introspect-man", commands);
        foreach (var command in commands)
        {
            var page = File.ReadAllText(Path.Combine(_folder, command + ".1")).Replace("\\-", "-", StringComparison.Ordinal);
            var words = command == "introspect-lab-serve" ? ["lab", "serve"] : command.Split('-').Skip(1).ToArray();
            var (_, help, _) = Invoke([.. words, "--help"]);
            var options = Regex.Matches(help, @"^  (?:-\S+, )*(--[a-z0-9-]+)", RegexOptions.Multiline).Select(m => m.Groups[1].Value).ToList();
            Assert.NotEmpty(options);
            Assert.All(options, option => Assert.Contains($"\\fB{option}\\fR", page, StringComparison.Ordinal));
        }
    }

    [Theory]
    [InlineData(@"C:\n 'x' -y ^~`", @"C:\en \(aqx\(aq \-y \(ha\(ti\(ga")]
    [InlineData("1 µs\nor 𝄞", @"1 \[u00B5]s or \[u1D11E]")]
    public void text_is_taken_as_it_is(string text, string escaped) => Assert.Equal(escaped, ManPage.Escape(text));

    [Fact]
    public void a_folder_that_cannot_be_written_is_one_line()
    {
        var file = Path.Combine(_folder, "file");
        File.WriteAllText(file, "");
        var (exitCode, _, error) = Invoke("man", file);
        Assert.Equal(1, exitCode);
        CommandLineTests.AssertOneLine(error);
    }
}
