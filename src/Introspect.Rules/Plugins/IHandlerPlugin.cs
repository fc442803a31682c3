using Introspect.Rules.Handlers;

namespace Introspect.Rules.Plugins;

/// <summary>
/// What a plugin assembly brings: it makes a handler for each domain. An assembly names its one plugin by
/// <see cref="HandlerPluginAttribute"/>. A plugin with settings derives from <see cref="HandlerPlugin{TOptions}"/>.
/// </summary>
/// <remarks>
/// There is one plugin object for each entry of the configuration, in a process of its own or in the monitor's, as the
/// operator says; the plugin cannot tell and need not care. Calls come one at a time. A handler, or a plugin, that
/// implements <see cref="IDisposable"/> is disposed when its domain, or its entry, is gone.
/// </remarks>
public interface IHandlerPlugin
{
    /// <summary>Makes the handler of a domain. Each domain has its own, which is called on one thread at a time.</summary>
    /// <param name="context">The domain and the log.</param>
    /// <exception cref="ArgumentException">Something about the domain does not fit; its text is shown to the operator.</exception>
    IEventHandler Create(PluginContext context);
}

/// <summary>A plugin with settings: the <c>config</c> of its entry in the configuration becomes an object.</summary>
/// <typeparam name="TOptions">
/// A class whose public settable properties are the keys, in snake case: <c>DenyWrites</c> is <c>deny_writes</c>. See
/// docs/plugins.md for the types. What has no key in the configuration keeps the value that the constructor gave it;
/// <c>required</c> properties must be given, and attributes of System.ComponentModel.DataAnnotations are asked.
/// </typeparam>
public abstract class HandlerPlugin<TOptions> : IHandlerPlugin, IConfigurablePlugin
    where TOptions : class
{
    /// <inheritdoc/>
    Type IConfigurablePlugin.OptionsType => typeof(TOptions);

    /// <inheritdoc/>
    public IEventHandler Create(PluginContext context)
    {
        ArgumentNullException.ThrowIfNull(context);
        return Create(context, (TOptions)context.Options!);
    }

    /// <summary>Makes the handler of a domain.</summary>
    /// <param name="context">The domain and the log.</param>
    /// <param name="options">The settings, the same object for every domain.</param>
    protected abstract IEventHandler Create(PluginContext context, TOptions options);
}

/// <summary>A plugin that has settings.</summary>
internal interface IConfigurablePlugin
{
    /// <summary>The class of the settings.</summary>
    Type OptionsType { get; }
}
