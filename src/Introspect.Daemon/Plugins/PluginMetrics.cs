using System.Diagnostics.Metrics;
using Introspect.Rules.Plugins;

namespace Introspect.Daemon.Plugins;

/// <summary>How the plugins fare, as metrics. What their handlers do is with the domains.</summary>
internal sealed class PluginMetrics : IDisposable
{
    private readonly Meter _meter;

    /// <param name="meterName">A meter that the service's metrics collect.</param>
    /// <param name="plugins">How each of them fares.</param>
    public PluginMetrics(string meterName, Func<IReadOnlyList<PluginCounts>> plugins)
    {
        _meter = new(meterName);
        _meter.CreateObservableGauge("introspect.plugin.up", () => Of(plugin => plugin.IsUp ? 1 : 0), null, "1 while a plugin can be asked, 0 while its process is started anew.");
        _meter.CreateObservableCounter("introspect.plugin.restarts", () => Of(plugin => plugin.Restarts), "{restart}", "Times that a plugin's process was started anew.");
        _meter.CreateObservableCounter("introspect.plugin.crashes", () => Of(plugin => plugin.Crashes), "{crash}", "Times that a plugin's process ended by itself.");
        _meter.CreateObservableCounter("introspect.plugin.hangs", () => Of(plugin => plugin.Hangs), "{hang}", "Times that a plugin's process did not answer an event and was killed.");

        IEnumerable<Measurement<long>> Of(Func<PluginCounts, long> value) =>
            plugins().Select(plugin => new Measurement<long>(value(plugin), new KeyValuePair<string, object?>("plugin", plugin.Name)));
    }

    /// <inheritdoc/>
    public void Dispose() => _meter.Dispose();
}
