using System.Collections;
using System.Text.RegularExpressions;
using Introspect.Daemon.Configuration;

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

    [Theory]
    [InlineData("config")]
    [InlineData("debian")]
    public void the_configuration_that_is_shipped_is_right(string folder)
    {
        // The package's has no hypervisor: Xen, which the tests do not run on.
        var text = File.ReadAllText(Repository.PathOf("deploy", folder, "introspect.yaml"));
        var path = Path.GetTempFileName();
        try
        {
            File.WriteAllText(path, Regex.IsMatch(text, "^hypervisor:", RegexOptions.Multiline) ? text : text + "hypervisor: { demo: true }\n");
            var read = ConfigurationLoader.Load(path, new Hashtable());
            Assert.Equal("127.0.0.1:9660", read.Metrics.Listen!.ToString());
            Assert.NotNull(read.Sinks.JsonFile);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void the_package_names_what_its_program_is_made_of()
    {
        var copyright = Regex.Replace(File.ReadAllText(Repository.PathOf("deploy", "debian", "copyright")), @"\s+", " ");
        var project = File.ReadAllText(Repository.PathOf("src", "Introspect.Daemon", "Introspect.Daemon.csproj")) + File.ReadAllText(Repository.PathOf("src", "Introspect.Hypervisor", "Introspect.Hypervisor.csproj"));
        var packages = Regex.Matches(project, "PackageReference Include=\"([A-Za-z]+)").Select(m => m.Groups[1].Value).Where(p => p != "System").Distinct().ToList();
        Assert.True(packages.Count > 3);
        Assert.All(packages, package => Assert.Contains(package, copyright, StringComparison.Ordinal));
    }

    [NeedsToolFact("promtool")]
    public void each_alert_fires_when_it_should_and_not_before()
    {
        var (exitCode, output, error) = Repository.Run("promtool", ["test", "rules", Repository.PathOf("deploy", "prometheus", "alerts.test.yml")]);
        Assert.True(exitCode == 0, output + error);
    }

    [Fact]
    public void each_alert_has_a_test()
    {
        var tested = Regex.Matches(File.ReadAllText(Repository.PathOf("deploy", "prometheus", "alerts.test.yml")), @"alertname: (\w+)").Select(m => m.Groups[1].Value).ToHashSet();
        var alerts = Regex.Matches(File.ReadAllText(Repository.PathOf("deploy", "prometheus", "alerts.yml")), @"- alert: (\w+)").Select(m => m.Groups[1].Value).ToHashSet();
        Assert.True(alerts.Count >= 10);
        Assert.Equal(alerts.Order(), tested.Order());
    }

    [Fact]
    public void alerts_and_the_dashboard_use_only_metrics_that_are_documented()
    {
        var documented = Regex.Matches(File.ReadAllText(Repository.PathOf("docs", "metrics.md")), @"\b(introspect|process)_[a-z_]+").Select(m => m.Value).ToHashSet();
        var alerts = File.ReadAllText(Repository.PathOf("deploy", "prometheus", "alerts.yml"));
        foreach (var expression in Regex.Matches(alerts, @"expr: (.+)").Select(m => m.Groups[1].Value).Concat(Dashboard.Queries.Select(q => q.Query)))
        {
            foreach (var metric in Regex.Matches(expression, @"\b(introspect|process)_[a-z_]+").Select(m => m.Value))
            {
                Assert.Contains(Regex.Replace(metric, "_(bucket|sum|count)$", ""), documented);
            }
        }
    }

    [Fact]
    public void the_dashboard_is_whole()
    {
        var panels = Dashboard.Root.GetProperty("panels").EnumerateArray().ToList();
        Assert.Equal(panels.Count, panels.Select(p => p.GetProperty("id").GetInt32()).Distinct().Count());
        Assert.True(Dashboard.Panels.Count() > 15);
        Assert.All(Dashboard.Queries, q => Assert.Empty(Regex.Matches(Dashboard.Fill(q.Query), @"\$\w+")));

        // No two panels lie on each other.
        var places = panels.Select(p => p.GetProperty("gridPos")).Select(g => (X: g.GetProperty("x").GetInt32(), Y: g.GetProperty("y").GetInt32(), W: g.GetProperty("w").GetInt32(), H: g.GetProperty("h").GetInt32())).ToList();
        Assert.All(places, a => Assert.Single(places, b => a.X < b.X + b.W && b.X < a.X + a.W && a.Y < b.Y + b.H && b.Y < a.Y + a.H));
        Assert.All(places, p => Assert.InRange(p.X + p.W, 1, 24));
    }
}
