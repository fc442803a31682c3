using System.Text.RegularExpressions;

namespace Introspect.Daemon.Tests.Cli.Documentation;

/// <summary>Help fits a screen of 50 lines, whatever the command has.</summary>
public sealed partial class ScreenHelpTests : IDisposable
{
    private const int Lines = 50;
    private const int Columns = 80;

    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-help-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Every_commands_help_fits_a_screen()
    {
        Assert.Equal(0, ManPageTests.Invoke("man", _folder).ExitCode);
        var commands = Directory.GetFiles(_folder).Select(page => Path.GetFileNameWithoutExtension(page).Split('-')[1..]).ToList();
        Assert.True(commands.Count > 20);
        foreach (var words in commands)
        {
            var (exitCode, help, error) = ManPageTests.Invoke([.. words, "--help"]);
            Assert.Equal((0, ""), (exitCode, error));
            Assert.True(help.AsSpan().Count('\n') <= Lines, $"{string.Join(' ', words)}:\n{help}");
        }
    }

    [Theory]
    [InlineData("trace")]
    [InlineData("record")]
    public void Where_there_is_much_each_option_is_a_line_and_none_is_left_out(string command)
    {
        Assert.Equal(0, ManPageTests.Invoke("man", _folder).ExitCode);
        var help = ManPageTests.Invoke(command, "--help").Output;
        Assert.All(help.Split('\n'), line => Assert.True(line.Length <= Columns, line));
        var page = File.ReadAllText(Path.Combine(_folder, $"introspect-{command}.1"));
        var options = Option().Matches(page).Select(match => match.Groups[1].Value.Replace("\\-", "-", StringComparison.Ordinal)).ToList();
        Assert.True(options.Count > 30);
        Assert.All(options, option => Assert.Matches($"(?m)^  {option}[ \n]", help));
        Assert.Contains($"man introspect-{command}", help, StringComparison.Ordinal);
    }

    // The last of an option's names is the long one.
    [GeneratedRegex(@"(?m)^\.TP\n(?:\\fB[^,\n]*, )*\\fB(\\-\\-[a-z\\3-]+)\\fR")]
    private static partial Regex Option();
}
