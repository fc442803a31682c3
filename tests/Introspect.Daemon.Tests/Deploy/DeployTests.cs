using System.Text.RegularExpressions;

namespace Introspect.Daemon.Tests.Deploy;

public sealed class DeployTests
{
    [NeedsToolFact("promtool")]
    public void promtool_accepts_the_scrape_job_and_the_alert_rules()
    {
        var (exitCode, output, error) = Repository.Run("promtool", ["check", "config", Repository.PathOf("deploy", "prometheus", "scrape.yml")]);
        Assert.True(exitCode == 0, output + error);
        (exitCode, output, error) = Repository.Run("promtool", ["check", "rules", Repository.PathOf("deploy", "prometheus", "alerts.yml")]);
        Assert.True(exitCode == 0, output + error);
    }

    [NeedsToolFact("systemd-analyze")]
    public void systemd_finds_nothing_wrong_with_the_unit()
    {
        var folder = Directory.CreateTempSubdirectory("introspect-unit-").FullName;
        try
        {
            // The program is not installed where the tests run; everything else is checked as it is.
            var unit = File.ReadAllText(Repository.PathOf("systemd", "introspect.service")).Replace("/usr/bin/introspect", "/bin/true", StringComparison.Ordinal);
            var path = Path.Combine(folder, "introspect.service");
            File.WriteAllText(path, unit);
            var (exitCode, _, error) = Repository.Run("systemd-analyze", ["verify", "--man=no", path]);
            // It returns 0 also for keys that it does not know.
            Assert.Equal("", error);
            Assert.Equal(0, exitCode);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    [NeedsToolFact("systemd-analyze")]
    public void the_unit_is_well_confined()
    {
        var (exitCode, output, error) = Repository.Run("systemd-analyze", ["security", "--offline=yes", "--threshold=30", Repository.PathOf("systemd", "introspect.service")]);
        Assert.True(exitCode == 0, output + error);
    }

    [Fact]
    public void the_service_has_longer_to_stop_than_the_program_takes()
    {
        var unit = File.ReadAllText(Repository.PathOf("systemd", "introspect.service"));
        var seconds = int.Parse(Regex.Match(unit, @"^TimeoutStopSec=(\d+)$", RegexOptions.Multiline).Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture);
        // Twice timeouts.shutdown (its default), for the control loop and for the domains, and what the host adds.
        Assert.True(seconds >= 25);
    }

    [Fact]
    public void alerts_use_only_metrics_that_are_documented()
    {
        var documented = Regex.Matches(File.ReadAllText(Repository.PathOf("docs", "metrics.md")), @"\b(introspect|process)_[a-z_]+").Select(m => m.Value).ToHashSet();
        var alerts = File.ReadAllText(Repository.PathOf("deploy", "prometheus", "alerts.yml"));
        foreach (var expression in Regex.Matches(alerts, @"expr: (.+)").Select(m => m.Groups[1].Value))
        {
            foreach (var metric in Regex.Matches(expression, @"introspect_[a-z_]+").Select(m => m.Value))
            {
                Assert.Contains(metric, documented);
            }
        }
    }
}
