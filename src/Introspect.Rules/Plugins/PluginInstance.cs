using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Plugins.Isolation;

namespace Introspect.Rules.Plugins;

/// <summary>A plugin that runs, in this process or in one of its own. Any thread.</summary>
internal abstract class PluginInstance : IDisposable
{
    protected PluginInstance(PluginEntry entry) => Entry = entry;

    /// <summary>What it was started for.</summary>
    public PluginEntry Entry { get; }

    /// <summary>How it fares.</summary>
    public abstract PluginCounts Counts { get; }

    /// <summary>Starts a plugin.</summary>
    /// <param name="entry">Which.</param>
    /// <param name="host">How its process is started, where it gets one.</param>
    /// <param name="log">Where its lines go, and those about it.</param>
    /// <exception cref="PluginException">It cannot be loaded.</exception>
    /// <exception cref="PluginOptionsException">Its settings do not fit.</exception>
    public static PluginInstance Start(PluginEntry entry, PluginHostCommand host, Action<PluginLogLevel, string> log) =>
        entry.Isolation == PluginIsolation.None ? new InProcessPlugin(entry, log) : IsolatedPlugin.StartProcess(entry, host, log);

    /// <summary>Makes the handler of a domain. Dispose it when the domain is watched no more.</summary>
    /// <exception cref="PluginException">The plugin refuses or fails.</exception>
    public abstract PluginHandler CreateHandler(DomainInfo domain);

    /// <summary>Ends it. Its handlers must be out of use.</summary>
    public abstract void Dispose();
}

/// <summary>A plugin's handler of a domain.</summary>
internal abstract class PluginHandler(string name) : IEventHandler, IDisposable
{
    /// <inheritdoc/>
    public string Name => name;

    /// <inheritdoc/>
    public abstract void Subscribe(SubscriptionBuilder subscription);

    /// <inheritdoc/>
    public abstract Verdict Handle(ref readonly VmEvent request, ref HandlerContext context);

    /// <inheritdoc/>
    public abstract void Dispose();
}
