using System.Collections;
using System.Runtime.InteropServices;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Control;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Plugins;
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
        using var plugins = new PluginSet(PluginSet.ThisProgram);
        var configuration = Load(path, plugins);
        plugins.Keep(configuration.Plugins.Select(plugin => plugin.Entry));
        using var traces = OtlpTraces.Start(configuration.Otlp);
        using var notify = SdNotify.FromEnvironment(variable, TimeProvider.System);
        var serilog = CreateLogger(configuration.Logging);
        var host = CreateHost(path, configuration, serilog, notify, plugins);
        using var pluginMetrics = new PluginMetrics(host.Services.GetRequiredService<ServiceMetrics>().DomainMeterName, () => plugins.Counts);
        plugins.UseLogger(host.Services.GetRequiredService<ILogger<PluginSet>>());
        try
        {
            using var reload = PosixSignalRegistration.Create(PosixSignal.SIGHUP, signal =>
            {
                signal.Cancel = true;
                // Signal handlers should be short; the file is read elsewhere.
                _ = Task.Run(() => host.Services.GetRequiredService<Reloader>().ReloadAsync("SIGHUP"), CancellationToken.None);
            });
            try
            {
                await host.StartAsync(cancellationToken).ConfigureAwait(false);
            }
            catch
            {
                // What started before is watching domains already, and lets them go.
                await host.StopAsync(CancellationToken.None).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                throw;
            }

            await host.WaitForShutdownAsync(cancellationToken).ConfigureAwait(false);
            return host.Services.GetRequiredService<MonitoringService>().LeftSomethingBehind ? ExitCode.Failure : ExitCode.Ok;
        }
        finally
        {
            await ((IAsyncDisposable)host).DisposeAsync().ConfigureAwait(false);

            // What they say at their end is for the log, too.
            plugins.Dispose();
            await serilog.DisposeAsync().ConfigureAwait(false);
        }
    }

    private DaemonConfiguration Load(string path, PluginSet plugins)
    {
        try
        {
            return ConfigurationLoader.Load(path, environment, plugins.Prove);
        }
        catch
        {
            // There will be no log, and what a plugin said may be why.
            foreach (var line in plugins.TakeUntold())
            {
                Console.Error.WriteLine(line);
            }

            throw;
        }
    }

    private IHost CreateHost(string path, DaemonConfiguration configuration, Serilog.Core.Logger serilog, SdNotify notify, PluginSet plugins)
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
        services.AddSingleton(provider => new SinkSet(configuration.Sinks, provider.GetRequiredService<ILogger<SinkSet>>(), configuration.Otlp, configuration.ShutdownTimeout));
        services.AddSingleton(provider => new ServiceMetrics(ProgramInfo.Version, provider.GetRequiredService<SinkSet>().Count, configuration.Otlp));
        services.AddSingleton(provider => new MonitoringService(
            configuration, factory, provider.GetRequiredService<SinkSet>().Queues, provider.GetRequiredService<ServiceMetrics>(),
            TimeProvider.System, provider.GetRequiredService<ILogger<MonitoringService>>(),
            AttachedDomains.FromEnvironment(variable, configuration.Hypervisor, (folder, why) => Log.NotNoted(provider.GetRequiredService<ILogger<MonitoringService>>(), folder, why)),
            plugins));
        services.AddSingleton<IHealthSource>(provider => provider.GetRequiredService<MonitoringService>());
        services.AddSingleton(provider => new Reloader(
            path, environment, configuration, provider.GetRequiredService<MonitoringService>(), provider.GetRequiredService<SinkSet>(),
            provider.GetRequiredService<ServiceMetrics>(), notify, provider.GetRequiredService<ILogger<Reloader>>(), plugins));
        services.AddSingleton<StatusSource>();
        services.AddSingleton(configuration.Control);

        // Started in this order, stopped in the reverse one: nothing is ready before everything runs.
        if (configuration.Metrics.Listen is { } listen)
        {
            services.AddHostedService(provider => new MetricsServer(
                listen, provider.GetRequiredService<ServiceMetrics>().Exporter, provider.GetRequiredService<IHealthSource>(),
                provider.GetRequiredService<ILogger<MetricsServer>>()));
        }

        services.AddHostedService(provider => provider.GetRequiredService<MonitoringService>());
        services.AddHostedService<ControlServer>();
        if (configuration.WatchFiles)
        {
            services.AddHostedService(provider => new ConfigurationWatch(
                provider.GetRequiredService<Reloader>(), ConfigurationWatch.Settle, TimeProvider.System, provider.GetRequiredService<ILogger<ConfigurationWatch>>()));
        }

        services.AddHostedService<NotifyService>();
        return builder.Build();
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
