using System.Collections;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Output;
using Introspect.Daemon.Sinks.Otlp;
using Introspect.Daemon.Sinks.Syslog;

namespace Introspect.Daemon.Tests.Configuration;

public sealed class ExportConfigurationTests : IDisposable
{
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"introspect-{Guid.NewGuid():N}.yaml");

    public void Dispose() => File.Delete(_path);

    [Fact]
    public void nothing_leaves_the_program_unless_it_is_told_to()
    {
        var read = Load("");
        Assert.Equal(new SinkOptions(8192, false, null), read.Sinks);
        Assert.Null(read.Otlp);
    }

    [Fact]
    public void every_way_out_can_be_set()
    {
        var read = Load("""
            sinks:
              json_file: /var/log/introspect/events.ndjson
              json_format: ecs
              json_max_mib: 64
              json_keep: 3
              journald: true
              journald_socket: /run/journal
              syslog: tcp://logs.example:6514
              syslog_facility: authpriv
              syslog_format: ocsf
            otlp:
              endpoint: https://collector.example:4317
              protocol: grpc
              headers: authorization=Bearer abc,tenant=one
              timeout: 3s
              logs: true
              metrics: false
              metrics_interval: 15s
              traces: false
            """);
        Assert.Equal(
            new SinkOptions(8192, false, "/var/log/introspect/events.ndjson")
            {
                JsonFormat = JsonShape.Ecs,
                JsonRotation = new(64 << 20, 3),
                Journald = true,
                JournaldSocket = "/run/journal",
                Syslog = new(new(SyslogTransport.Tcp, "logs.example", 6514), 10, JsonShape.Ocsf),
            },
            read.Sinks);
        Assert.Equal(
            new OtlpOptions(
                new("https://collector.example:4317"), OtlpProtocol.Grpc, "authorization=Bearer abc,tenant=one",
                TimeSpan.FromSeconds(3), Logs: true, Metrics: false, TimeSpan.FromSeconds(15))
            {
                Traces = false,
            },
            read.Otlp);
    }

    [Fact]
    public void mistakes_are_told_all_at_once()
    {
        var mistakes = Assert.Throws<ConfigurationMistakes>(() => Load("""
            sinks:
              json_format: xml
              json_max_mib: 10
              syslog: logs.example
              syslog_facility: local9
            otlp:
              protocol: tcp
              headers: nonsense
              metrics_interval: 10ms
            """)).Mistakes;
        string[] expected = ["sinks.json_format", "sinks.json_max_mib", "sinks.syslog:", "sinks.syslog_facility", "otlp.protocol", "otlp.headers", "otlp.metrics_interval", "otlp.endpoint"];
        Assert.Equal(expected.Length, mistakes.Count);
        Assert.All(expected, key => Assert.Contains(mistakes, mistake => mistake.Contains(key, StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("sinks: { json_file: \"-\", json_max_mib: 10 }", "json_max_mib")]
    [InlineData("otlp: { endpoint: \"collector:4317\" }", "otlp.endpoint")]
    [InlineData("sinks: { syslog: \"tcp://h/path\" }", "sinks.syslog")]
    public void a_mistake_names_its_key(string text, string key) =>
        Assert.Contains(key, Assert.Single(Assert.Throws<ConfigurationMistakes>(() => Load(text)).Mistakes), StringComparison.Ordinal);

    [Theory]
    [InlineData("tls://logs.example:6514")]
    [InlineData("tcp+tls://logs.example")]
    [InlineData("syslogs://logs.example")]
    [InlineData("SSL://logs.example")]
    public void syslog_by_tls_is_refused_with_the_way_around_it(string address)
    {
        var mistake = Assert.Single(Assert.Throws<ConfigurationMistakes>(() => Load($"sinks: {{ syslog: \"{address}\" }}")).Mistakes);
        Assert.Contains($"sinks.syslog: '{address}' needs TLS, which this program does not speak; write unix:/dev/log", mistake, StringComparison.Ordinal);
    }

    private DaemonConfiguration Load(string text)
    {
        File.WriteAllText(_path, $$"""
            hypervisor: { demo: true }
            domains: [ { match: "*", events: { cpuid: true } } ]
            {{text}}
            """);
        return ConfigurationLoader.Load(_path, new Hashtable());
    }
}
