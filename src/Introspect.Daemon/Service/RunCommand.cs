using System.Collections;
using System.Runtime.InteropServices;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Systemd;
using Introspect.Daemon.Telemetry;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Serilog;
using Serilog.Events;

namespace Introspect.Daemon.Service;

/// <summary><c>introspect run</c>: puts the service together and runs it until it is told to stop.</summary>
internal sealed class RunCommand(IHypervisorFactory factory, Func<string, string?> variable, IDictionary environment)
{
    // What the host waits beside the monitors: servers and sinks.
    private static readonly TimeSpan HostSlack = TimeSpan.FromSeconds(5);

    /// <summary>Runs the service.</summary>
    /// <returns>The exit code.</returns>
    public async Task<int> RunAsync(string path, CancellationToken cancellationToken)
    {
        var configuration = ConfigurationLoader.Load(path, environment);
        using var notify = SdNotify.FromEnvironment(variable, TimeProvider.System);
        var serilog = CreateLogger(configuration.Logging);
        var host = CreateHost(configuration, serilog, notify);
        try
        {
            using var reload = PosixSignalRegistration.Create(PosixSignal.SIGHUP, signal =>
            {
                signal.Cancel = true;
                // Signal handlers should be short; the file is read elsewhere.
                _ = Task.Run(() => Reload(path, configuration, host.Services), CancellationToken.None);
            });
            await host.StartAsync(cancellationToken).ConfigureAwait(false);
            await host.WaitForShutdownAsync(cancellationToken).ConfigureAwait(false);
            return host.Services.GetRequiredService<MonitoringService>().LeftSomethingBehind ? ExitCode.Failure : ExitCode.Ok;
        }
        finally
        {
            await ((IAsyncDisposable)host).DisposeAsync().ConfigureAwait(false);
            await serilog.DisposeAsync().ConfigureAwait(false);
        }
    }

    private IHost CreateHost(DaemonConfiguration configuration, Serilog.Core.Logger serilog, SdNotify notify)
    {
        var builder = Host.CreateEmptyApplicationBuilder(null);
        builder.Logging.AddSerilog(serilog);
        // Errors of the host itself come back as exceptions, which become one line.
        builder.Logging.AddFilter("Microsoft", LogLevel.Warning).AddFilter("Microsoft.Extensions.Hosting", LogLevel.None);
        var services = builder.Services;
        services.Configure<HostOptions>(options => options.ShutdownTimeout = (configuration.ShutdownTimeout * 2) + HostSlack);
        services.AddSingleton<IHostLifetime, PassiveLifetime>();
        services.AddSingleton(configuration);
        services.AddSingleton(notify);
        services.AddSingleton(TimeProvider.System);
        services.AddSingleton(provider => new SinkSet(configuration.Sinks, provider.GetRequiredService<ILogger<SinkSet>>(), configuration.Otlp));
        services.AddSingleton(provider => new ServiceMetrics(ProgramInfo.Version, provider.GetRequiredService<SinkSet>().Count, configuration.Otlp));
        services.AddSingleton(provider => new MonitoringService(
            configuration, factory, provider.GetRequiredService<SinkSet>().Queues, provider.GetRequiredService<ServiceMetrics>(),
            TimeProvider.System, provider.GetRequiredService<ILogger<MonitoringService>>()));
        services.AddSingleton<IHealthSource>(provider => provider.GetRequiredService<MonitoringService>());

        // Started in this order, stopped in the reverse one: nothing is ready before everything runs.
        if (configuration.Metrics.Listen is { } listen)
        {
            services.AddHostedService(provider => new MetricsServer(
                listen, provider.GetRequiredService<ServiceMetrics>().Exporter, provider.GetRequiredService<IHealthSource>(),
                provider.GetRequiredService<ILogger<MetricsServer>>()));
        }

        services.AddHostedService(provider => provider.GetRequiredService<MonitoringService>());
        services.AddHostedService<NotifyService>();
        return builder.Build();
    }

    private void Reload(string path, DaemonConfiguration running, IServiceProvider services)
    {
        var logger = services.GetRequiredService<ILogger<RunCommand>>();
        var notify = services.GetRequiredService<SdNotify>();
        var metrics = services.GetRequiredService<ServiceMetrics>();
        var monitoring = services.GetRequiredService<MonitoringService>();
        notify.Reloading();
        services.GetRequiredService<SinkSet>().Reopen();
        try
        {
            var read = ConfigurationLoader.Load(path, environment);
            var others = Restarts(running, read);
            if (others.Length != 0)
            {
                Log.ReloadIncomplete(logger, others);
            }

            monitoring.Reload(read.Domains);
            metrics.MarkReload(successful: true);
        }
        catch (Exception e) when (e is ConfigurationMistakes or UserError)
        {
            foreach (var mistake in (e as ConfigurationMistakes)?.Mistakes ?? [e.Message])
            {
                Log.ReloadFailed(logger, mistake);
            }

            metrics.MarkReload(successful: false);
        }

        notify.Ready(monitoring.Status);
    }

    private static string Restarts(DaemonConfiguration running, DaemonConfiguration read)
    {
        var sections = new List<string>();
        if (running.Hypervisor with { Modules = [] } != read.Hypervisor with { Modules = [] } || !running.Hypervisor.Modules.SequenceEqual(read.Hypervisor.Modules))
        {
            sections.Add("hypervisor");
        }

        if (!Equals(running.Metrics, read.Metrics))
        {
            sections.Add("metrics");
        }

        if (running.Logging != read.Logging)
        {
            sections.Add("logging");
        }

        if (running.Sinks != read.Sinks)
        {
            sections.Add("sinks");
        }

        if (running.Otlp != read.Otlp)
        {
            sections.Add("otlp");
        }

        if (running.ShutdownTimeout != read.ShutdownTimeout || running.PumpStallTimeout != read.PumpStallTimeout)
        {
            sections.Add("timeouts");
        }

        return string.Join(", ", sections);
    }

    private static Serilog.Core.Logger CreateLogger(LoggingOptions options)
    {
        const string Template = "{Timestamp:yyyy-MM-ddTHH:mm:ss.fffzzz} {Level:u3} {Message:lj}{NewLine}{Exception}";
        var configuration = new LoggerConfiguration().MinimumLevel.Is(options.Level switch
        {
            LogLevel.Trace => LogEventLevel.Verbose,
            LogLevel.Debug => LogEventLevel.Debug,
            LogLevel.Information => LogEventLevel.Information,
            LogLevel.Warning => LogEventLevel.Warning,
            LogLevel.Error => LogEventLevel.Error,
            _ => LogEventLevel.Fatal,
        });
        if (options.Console)
        {
            // stdout belongs to the events.
            configuration.WriteTo.Console(outputTemplate: Template, standardErrorFromLevel: LogEventLevel.Verbose, theme: Serilog.Sinks.SystemConsole.Themes.ConsoleTheme.None);
        }

        if (options.File is { } file)
        {
            if (Path.GetDirectoryName(Path.GetFullPath(file)) is { } directory && !Directory.Exists(directory))
            {
                throw UserError.Failure($"logging.file '{file}': there is no directory '{directory}'; make it");
            }

            configuration.WriteTo.File(file, outputTemplate: Template, fileSizeLimitBytes: 64 << 20, rollOnFileSizeLimit: true, retainedFileCountLimit: 5);
        }

        return configuration.CreateLogger();
    }

    // Signals are the program's: they cancel the token that the host runs by.
    private sealed class PassiveLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
