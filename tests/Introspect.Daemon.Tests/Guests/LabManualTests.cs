using Introspect.Daemon.Tests.Cli;

namespace Introspect.Daemon.Tests.Guests;

/// <summary>What the lab's manual shows is what happens, in the order in which it is shown.</summary>
public sealed class LabManualTests
{
    private const int LinesOfAScreen = 40;

    [Fact]
    public void The_commands_of_the_manual_work_one_after_the_other()
    {
        using var bench = new LabBench();
        var manual = File.ReadAllText(Repository.PathOf("docs", "lab.md"));
        bench.Write("guest.cfg", manual.Split("```ini\n")[1].Split("```")[0]);
        File.WriteAllBytes(bench.PathOf("listens"), XenbusGuest.Build());
        var commands = DocumentedCommand.In("docs", "lab.md");
        Assert.True(commands.Count >= 12);
        foreach (var command in commands)
        {
            var words = DocumentedCommand.Words(command).Select(word => word is "guest.cfg" or "guest.sav" ? bench.PathOf(word) : word == "/run/introspect/lab.sock" ? bench.Socket : word.Replace("/srv/guests/vmlinuz", bench.PathOf("listens"), StringComparison.Ordinal)).ToArray();
            var (exitCode, output, error) = bench.Run(words);
            Assert.True((exitCode, error) == (0, ""), $"{command}: exit code {exitCode}\n{error}\n{output}");
            var shown = words switch
            {
                ["lab", "create", .., "--console"] => "domain 'short' ended: poweroff",
                ["lab", "create", _, "name=\"asked\"", ..] => "'asked' created",
                ["lab", "reboot", ..] => "'asked' rebooted",
                ["lab", "shutdown", ..] => "domain 'asked' ended: poweroff",
                ["lab", "create", ..] => "domain 1 'guest' created, paused",
                ["lab", "restore", ..] => "domain 2 'guest' restored, paused",
                ["lab", "list", "guest", ..] => "(viridian base freq)",
                ["lab", "list", ..] => "guest",
                ["regs", ..] => "r15",
                ["trace", ..] => "ended by",
                _ => "",
            };
            Assert.Contains(shown, output, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("lab")]
    [InlineData("lab create")]
    [InlineData("lab list")]
    [InlineData("lab console")]
    [InlineData("lab save")]
    [InlineData("lab restore")]
    public void Help_fits_a_screen(string command)
    {
        var (exitCode, help, _) = ProcessTests.Program([.. command.Split(' '), "--help"]);
        Assert.Equal(0, exitCode);
        Assert.True(help.Split('\n').Length <= LinesOfAScreen, help);
    }

    [Fact]
    public void The_manual_has_every_key_that_is_read()
    {
        var manual = File.ReadAllText(Repository.PathOf("docs", "lab.md"));
        var reader = File.ReadAllText(Repository.PathOf("src", "Introspect.Daemon", "Guests", "GuestConfigReader.cs"));
        var keys = System.Text.RegularExpressions.Regex.Matches(reader, """(?:Text|Number|Boolean|Word|Find|ReadAction)\("([a-z0-9_]+)"|\("([a-z]+)", (?:true|false)\)""")
            .Select(match => match.Groups[1].Success ? match.Groups[1].Value : match.Groups[2].Value).Distinct().ToList();
        Assert.True(keys.Count > 25);
        Assert.All(keys, key => Assert.Contains($"`{key}`", manual, StringComparison.Ordinal));
    }
}
