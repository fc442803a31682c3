using System.Net.Sockets;
using Introspect.Daemon.Control;
using Introspect.Daemon.Tests.Sinks;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary>What a collector gets to know of the service's doings.</summary>
public sealed class TraceExportTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-traces-").FullName;

    private string Yaml => Path.Combine(_folder, "introspect.yaml");

    private string ControlSocket => Path.Combine(_folder, "control.sock");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_collector_sees_the_life_of_a_watch_and_each_reload(bool grpc)
    {
        await using var collector = await Collector.StartAsync(grpc);
        var yaml = $$"""
            hypervisor: { demo: true }
            domains: [ { match: demo, events: { cpuid: true } } ]
            metrics: { listen: "off" }
            control: { socket: {{ControlSocket}} }
            reload: { watch: false }
            otlp: { endpoint: "{{collector.Endpoint}}", protocol: {{(grpc ? "grpc" : "http")}}, headers: x-key=secret, logs: false, metrics: false }

            """;
        File.WriteAllText(Yaml, yaml);
        using (var service = IntrospectProcess.Start("run", "--config", Yaml))
        {
            await UntilWatched(service);
            File.WriteAllText(Yaml, yaml.Replace("cpuid: true", "cpuid: true, msrs: [lstar]", StringComparison.Ordinal));
            Assert.True((await Ask("reload")).Ok);
            File.WriteAllText(Yaml, "domains: perhaps");
            Assert.False((await Ask("reload")).Ok);
            service.Terminate();
            Assert.Equal(0, service.WaitForExit());
        }

        Assert.All(collector.Requests, request => Assert.Equal((grpc ? "/opentelemetry.proto.collector.trace.v1.TraceService/Export" : "/v1/traces", "secret"), (request.Path, request.Key)));
        var resources = collector.Requests.SelectMany(request => request.Message.Messages(1)).ToList();
        Assert.All(resources, resource => Assert.Equal("introspect", resource.Messages(1).Single().Attributes(1)["service.name"]));
        var spans = resources.SelectMany(resource => resource.Messages(2)).SelectMany(scope => scope.Messages(2)).Select(span => new Span(span)).ToList();
        Assert.Equal(["attach", "change", "connect", "detach", "reload", "reload", "watch"], spans.Select(span => span.Name).Order(StringComparer.Ordinal));
        Assert.All(spans, span => Assert.True(span.Start <= span.End));

        var watch = spans.Single(span => span.Name == "watch");
        Assert.Equal(("demo", "1", "demo"), (watch.Attributes["introspect.domain.name"], watch.Attributes["introspect.domain.id"], watch.Attributes["introspect.policy"]));
        foreach (var part in spans.Where(span => span.Name is "attach" or "change" or "detach"))
        {
            Assert.Equal((watch.Trace, watch.Id, "demo", 0ul), (part.Trace, part.Parent, part.Attributes["introspect.domain.name"], part.Status));
            Assert.InRange(part.End, watch.Start, watch.End);
        }

        Assert.Equal("the service stops", spans.Single(span => span.Name == "detach").Attributes["introspect.detach.why"]);
        var reloads = spans.Where(span => span.Name == "reload").OrderBy(span => span.Start).ToList();
        Assert.Equal((0ul, "1", 2ul, "0"), (reloads[0].Status, reloads[0].Attributes["introspect.reload.changed_domains"], reloads[1].Status, reloads[1].Attributes["introspect.reload.changed_domains"]));
        Assert.Contains("domains", reloads[1].Why, StringComparison.Ordinal);
        Assert.All(spans.Where(span => span.Name is "watch" or "reload" or "connect"), span => Assert.Null(span.Parent));
    }

    private async Task UntilWatched(IntrospectProcess service)
    {
        for (var i = 0; i < 3000; i++)
        {
            try
            {
                if ((await Ask("status")).Status is { } status && status.Summary == "watching 1 of 1 domains")
                {
                    return;
                }
            }
            catch (Exception e) when (e is Daemon.Cli.UserError or SocketException)
            {
                // It only starts.
            }

            await Task.Delay(20);
        }

        Assert.Fail(service.Error);
    }

    private async Task<ControlResponse> Ask(string op)
    {
        using var control = await ControlClient.ConnectAsync(ControlSocket, CancellationToken.None);
        return await control.AskAsync(op, CancellationToken.None);
    }

    private sealed class Span(Proto proto)
    {
        public string Name => proto.Text(5);

        public string Trace => proto.Hex(1);

        public string Id => proto.Hex(2);

        public string? Parent => proto.Has(4) ? proto.Hex(4) : null;

        public ulong Start => proto.Number(7);

        public ulong End => proto.Number(8);

        public Dictionary<string, string> Attributes => proto.Attributes(9);

        // 2 is an error.
        public ulong Status => proto.Messages(15).SingleOrDefault() is { } status && status.Has(3) ? status.Number(3) : 0;

        public string Why => proto.Messages(15).Single().Text(2);
    }
}
