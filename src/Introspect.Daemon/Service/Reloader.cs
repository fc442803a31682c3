using System.Collections;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Plugins;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Systemd;
using Introspect.Daemon.Telemetry;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Service;

/// <summary>How a reload went.</summary>
/// <param name="Mistakes">Why nothing changed, a line each; empty when the new configuration is in force.</param>
internal sealed record ReloadReport(IReadOnlyList<string> Mistakes)
{
    /// <summary>Policies in force.</summary>
    public int Policies { get; init; }

    /// <summary>Domains that are watched in another way now.</summary>
    public int Changed { get; init; }

    /// <summary>Sections that changed and take effect with a restart only.</summary>
    public IReadOnlyList<string> NeedRestart { get; init; } = [];
}

/// <summary>
/// Reads the configuration anew: by a signal, by a change of its files, or by the control socket. The old one serves until
/// the new one is proven; one with mistakes changes nothing.
/// </summary>
internal sealed class Reloader(
    string path,
    IDictionary environment,
    DaemonConfiguration started,
    MonitoringService monitoring,
    SinkSet sinks,
    ServiceMetrics metrics,
    SdNotify notify,
    ILogger<Reloader> logger,
    PluginSet? plugins = null) : IDisposable
{
    private readonly SemaphoreSlim _one = new(1);

    /// <summary>What the configuration was last read from, and what one with mistakes was to be read from since.</summary>
    public ConfigurationSources Sources { get; private set; } = started.Sources;

    /// <summary>The file that was named.</summary>
    public string Path => path;

    /// <summary>Reads and takes over. One at a time.</summary>
    /// <param name="by">What asked for it, for the log.</param>
    public async Task<ReloadReport> ReloadAsync(string by)
    {
        await _one.WaitAsync().ConfigureAwait(false);
        try
        {
            Log.Reloading(logger, by);
            notify.Reloading();
            sinks.Reopen();
            using var span = Spans.Reload(by);
            var report = await ReadAsync().ConfigureAwait(false);
            span?.SetTag("introspect.reload.changed_domains", (long)report.Changed);
            if (report.Mistakes.Count != 0)
            {
                span.Fail(string.Join('\n', report.Mistakes));
            }

            foreach (var mistake in report.Mistakes)
            {
                Log.ReloadFailed(logger, mistake);
            }

            metrics.MarkReload(report.Mistakes.Count == 0);
            notify.Ready(report.Mistakes.Count == 0 ? monitoring.Status : $"{monitoring.Status}; the last reload failed");
            return report;
        }
        finally
        {
            _one.Release();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _one.Dispose();

    private async Task<ReloadReport> ReadAsync()
    {
        // A configuration that is not there has no more than this.
        var own = ConfigurationSources.OfConfiguration(path);
        try
        {
            var read = ConfigurationLoader.Load(path, environment, plugins is null ? null : plugins.Prove);
            Sources = read.Sources;
            foreach (var warning in read.Warnings)
            {
                Log.RuleWarning(logger, warning);
            }

            var policies = await monitoring.ReloadAsync(read.Domains).ConfigureAwait(false);
            if (policies.Mistakes.Count != 0)
            {
                return new(policies.Mistakes);
            }

            plugins?.Keep(read.Plugins.Select(plugin => plugin.Entry));
            var restarts = Restarts(read);
            if (restarts.Count != 0)
            {
                Log.ReloadIncomplete(logger, string.Join(", ", restarts));
            }

            return new([]) { Policies = read.Domains.Count, Changed = policies.Changed, NeedRestart = restarts };
        }
        catch (ConfigurationMistakes e)
        {
            Sources = Sources.With(e.Sources);
            return new(e.Mistakes);
        }
        catch (UserError e)
        {
            Sources = Sources.With(own);
            return new([e.Message]);
        }
        finally
        {
            plugins?.KeepThose();
        }
    }

    private List<string> Restarts(DaemonConfiguration read)
    {
        var sections = new List<string>();
        AddWhen("hypervisor", started.Hypervisor with { Modules = [] } != read.Hypervisor with { Modules = [] } || !started.Hypervisor.Modules.SequenceEqual(read.Hypervisor.Modules));
        AddWhen("metrics", !Equals(started.Metrics, read.Metrics));
        AddWhen("logging", started.Logging != read.Logging);
        AddWhen("sinks", started.Sinks != read.Sinks);
        AddWhen("otlp", started.Otlp != read.Otlp);
        AddWhen("timeouts", started.ShutdownTimeout != read.ShutdownTimeout || started.PumpStallTimeout != read.PumpStallTimeout);
        AddWhen("control", started.Control != read.Control);
        AddWhen("reload", started.WatchFiles != read.WatchFiles);
        return sections;

        void AddWhen(string section, bool changed)
        {
            if (changed)
            {
                sections.Add(section);
            }
        }
    }
}
