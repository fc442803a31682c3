using System.Globalization;
using System.Text.RegularExpressions;

namespace Introspect.Daemon.Tests.Deploy;

/// <summary>The units, as systemd itself looks at them.</summary>
public sealed partial class SystemdTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-unit-").FullName;

    // The template as one of its instances.
    public static TheoryData<string, string> Units => new() { { "introspect.service", "introspect.service" }, { "introspect@.service", "introspect@web.service" } };

    public static string Unit(string file) => File.ReadAllText(Repository.PathOf("systemd", file));

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [NeedsToolTheory("systemd-analyze")]
    [MemberData(nameof(Units))]
    public void systemd_finds_nothing_wrong_with_the_unit(string file, string name)
    {
        // It returns 0 also for keys that it does not know.
        Assert.Equal((0, ""), Verify(file, name));
    }

    [NeedsToolTheory("systemd-analyze")]
    [MemberData(nameof(Units))]
    public void systemd_finds_nothing_wrong_with_the_drop_in(string file, string name)
    {
        var dropIns = Directory.CreateDirectory(Path.Combine(_folder, name + ".d")).FullName;
        File.Copy(Repository.PathOf("systemd", "notify-reload.conf"), Path.Combine(dropIns, "notify-reload.conf"));
        var (exitCode, error) = Verify(file, name);
        Assert.Equal(0, exitCode);
        var version = int.Parse(Version().Match(Repository.Run("systemd-analyze", ["--version"]).Output).Groups[1].Value, CultureInfo.InvariantCulture);
        if (version >= 253)
        {
            Assert.Equal("", error);
        }
        else
        {
            // The type is what an older one does not know, and all that it does not know.
            Assert.Matches(@"^\S*notify-reload\.conf:\d+: Failed to parse service type, ignoring: notify-reload\n$", error);
        }
    }

    [NeedsToolTheory("systemd-analyze")]
    [MemberData(nameof(Units))]
    public void the_unit_is_well_confined(string file, string name)
    {
        var path = Path.Combine(_folder, name);
        File.Copy(Repository.PathOf("systemd", file), path);
        var (exitCode, output, error) = Repository.Run("systemd-analyze", ["security", "--offline=yes", "--threshold=25", path]);
        Assert.True(exitCode == 0, output + error);
    }

    [Theory]
    [MemberData(nameof(Units))]
    public void the_service_has_longer_to_stop_than_the_program_takes(string file, string name)
    {
        var seconds = int.Parse(Regex.Match(Unit(file), @"^TimeoutStopSec=(\d+)$", RegexOptions.Multiline).Groups[1].Value, CultureInfo.InvariantCulture);
        // Twice timeouts.shutdown (its default), for the control loop and for the domains, and what the host adds.
        Assert.True(seconds >= 25, name);
    }

    [Fact]
    public void an_instance_differs_from_the_one_service_by_its_name_alone()
    {
        var template = Unit("introspect@.service");
        var one = template[(template.IndexOf('\n', StringComparison.Ordinal) + 1)..]
            .Replace(" (%i)", "", StringComparison.Ordinal)
            .Replace("/etc/introspect/%i.yaml", "/etc/introspect/introspect.yaml", StringComparison.Ordinal)
            .Replace("Environment=INTROSPECT_CONTROL__SOCKET=/run/introspect/%i/control.sock\n", "", StringComparison.Ordinal)
            .Replace(" --socket /run/introspect/%i/control.sock", "", StringComparison.Ordinal)
            .Replace("introspect/%i", "introspect", StringComparison.Ordinal);
        Assert.Equal(Unit("introspect.service"), one);
    }

    private (int ExitCode, string Error) Verify(string file, string name)
    {
        // The program is not installed where the tests run; everything else is checked as it is.
        var path = Path.Combine(_folder, name);
        File.WriteAllText(path, Unit(file).Replace("/usr/bin/introspect", "/bin/true", StringComparison.Ordinal));
        var (exitCode, output, error) = Repository.Run("systemd-analyze", ["verify", "--man=no", path]);
        return (exitCode, output + error);
    }

    [GeneratedRegex(@"^systemd (\d+)")]
    private static partial Regex Version();
}
