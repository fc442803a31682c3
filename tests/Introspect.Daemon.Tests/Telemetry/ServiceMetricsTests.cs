using Introspect.Daemon.Telemetry;

namespace Introspect.Daemon.Tests.Telemetry;

public sealed class ServiceMetricsTests
{
    [Fact]
    public void Two_services_in_a_process_tell_of_their_own_domains_only()
    {
        using var first = new ServiceMetrics("1", () => []);
        using var second = new ServiceMetrics("1", () => []);
        first.Add(new DomainMetrics(first.DomainMeterName, "web", () => null));
        second.Add(new DomainMetrics(second.DomainMeterName, "mail", () => null));

        var page = first.Exporter.Scrape(TimeSpan.FromSeconds(10));

        Assert.Contains("introspect_domain_attached{domain=\"web\"} 0", page, StringComparison.Ordinal);
        Assert.DoesNotContain("mail", page, StringComparison.Ordinal);
    }
}
