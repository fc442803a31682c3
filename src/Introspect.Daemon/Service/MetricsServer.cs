using System.Net;
using System.Net.Sockets;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Telemetry;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Service;

/// <summary>Serves <c>/metrics</c>, <c>/healthz</c> and <c>/readyz</c> by Kestrel, and nothing else.</summary>
internal sealed class MetricsServer(IPEndPoint listen, PrometheusExporter exporter, IHealthSource health, ILogger<MetricsServer> logger) : IHostedService, IAsyncDisposable
{
    private const int MaxConnections = 64;

    private static readonly TimeSpan ScrapeTimeout = TimeSpan.FromSeconds(5);

    private WebApplication? _application;

    /// <summary>Where it listens; the port is a real one also when 0 was asked for.</summary>
    public IPEndPoint? Address { get; private set; }

    /// <inheritdoc/>
    public async Task StartAsync(CancellationToken cancellationToken)
    {
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxConcurrentConnections = MaxConnections;
            kestrel.Limits.MaxRequestBodySize = 0;
            kestrel.Listen(listen);
        });
        _application = builder.Build();
        _application.Run(AnswerAsync);
        try
        {
            await _application.StartAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (IOException e) when (e.InnerException is AddressInUseException)
        {
            throw UserError.Failure($"metrics.listen {listen}: the port is in use; stop who listens there or give another address", e);
        }
        catch (Exception e) when (e is SocketException or IOException)
        {
            throw UserError.Failure($"metrics.listen {listen}: {e.Message}; give an address of this machine and a port of 1024 or more", e);
        }

        var port = new Uri(_application.Urls.First()).Port;
        Address = new(listen.Address, port);
        Log.MetricsServed(logger, Address.ToString());
        if (!IPAddress.IsLoopback(listen.Address))
        {
            Log.MetricsReachable(logger, Address.ToString());
        }
    }

    /// <inheritdoc/>
    public async Task StopAsync(CancellationToken cancellationToken)
    {
        if (_application is not null)
        {
            await _application.StopAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_application is not null)
        {
            await _application.DisposeAsync().ConfigureAwait(false);
        }
    }

    private Task AnswerAsync(HttpContext context)
    {
        var response = context.Response;
        response.Headers.CacheControl = "no-store";
        if (!HttpMethods.IsGet(context.Request.Method) && !HttpMethods.IsHead(context.Request.Method))
        {
            response.Headers.Allow = "GET, HEAD";
            return TextAsync(context, StatusCodes.Status405MethodNotAllowed, "only GET and HEAD\n");
        }

        switch (context.Request.Path.Value)
        {
            case "/metrics":
                return exporter.Scrape(ScrapeTimeout) is { } page
                    ? TextAsync(context, StatusCodes.Status200OK, page, PrometheusText.ContentType)
                    : TextAsync(context, StatusCodes.Status503ServiceUnavailable, "the metrics could not be collected in time\n");
            case "/healthz":
                var report = health.CheckHealth();
                return TextAsync(context, report.IsHealthy ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable, report.ToText());
            case "/readyz":
                return health.WhyNotReady is { } why
                    ? TextAsync(context, StatusCodes.Status503ServiceUnavailable, why + "\n")
                    : TextAsync(context, StatusCodes.Status200OK, "ready\n");
            case "/":
                return TextAsync(context, StatusCodes.Status200OK, "introspect: /metrics /healthz /readyz\n");
            default:
                return TextAsync(context, StatusCodes.Status404NotFound, "not found: /metrics, /healthz and /readyz are here\n");
        }
    }

    private static Task TextAsync(HttpContext context, int status, string text, string contentType = "text/plain; charset=utf-8")
    {
        context.Response.StatusCode = status;
        context.Response.ContentType = contentType;
        return HttpMethods.IsHead(context.Request.Method) ? Task.CompletedTask : context.Response.WriteAsync(text, context.RequestAborted);
    }
}
