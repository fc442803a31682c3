using Introspect.Hypervisor;

namespace Introspect.Rules.Plugins;

/// <summary>How much a line of a plugin matters.</summary>
public enum PluginLogLevel
{
    /// <summary>For who looks for a mistake.</summary>
    Debug,

    /// <summary>Good to know.</summary>
    Information,

    /// <summary>Something to look at.</summary>
    Warning,

    /// <summary>Something is broken.</summary>
    Error,
}

/// <summary>What a plugin has when it makes the handler of a domain.</summary>
public sealed class PluginContext
{
    private readonly Action<PluginLogLevel, string> _log;

    /// <summary>Makes a context; of use outside of the monitor to test a plugin.</summary>
    /// <param name="name">Name of the plugin's entry.</param>
    /// <param name="domain">The domain.</param>
    /// <param name="options">For a <see cref="HandlerPlugin{TOptions}"/>, its settings.</param>
    /// <param name="log">Where its lines go; null: nowhere.</param>
    public PluginContext(string name, DomainInfo domain, object? options = null, Action<PluginLogLevel, string>? log = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(name);
        ArgumentNullException.ThrowIfNull(domain);
        (Name, Domain, Options) = (name, domain, options);
        _log = log ?? (static (_, _) => { });
    }

    /// <summary>The name by which the operator knows the plugin; a handler's own <c>Name</c> should be it.</summary>
    public string Name { get; }

    /// <summary>The domain that the handler is for, as it was when the handler was made.</summary>
    public DomainInfo Domain { get; }

    internal object? Options { get; }

    /// <summary>Writes a line to the monitor's log. Any thread. Costs time: not for each event.</summary>
    public void Log(PluginLogLevel level, string message)
    {
        ArgumentNullException.ThrowIfNull(message);
        _log(level, message);
    }
}
