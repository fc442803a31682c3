using Introspect.Hypervisor;
using Introspect.Rules.Handlers;
using Introspect.Rules.Plugins;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Plugins;

/// <summary>The plugins' handlers of one domain. By the domain's own queue.</summary>
internal sealed class DomainPlugins(PluginSet? plugins)
{
    // After the built-in handlers that decide, before those that only look on.
    private const int Order = 50;

    private List<Made> _inUse = [];

    private sealed record Made(PluginSpec Spec, PluginInstance Plugin, PluginHandler Handler, HandlerRegistration Registration);

    /// <summary>Makes what is missing of the handlers that plugins have for a domain. Nothing changes yet.</summary>
    /// <exception cref="PumpStartException">A plugin makes no handler.</exception>
    public Prepared Prepare(IReadOnlyList<PluginSpec> specs, DomainInfo domain)
    {
        var made = new List<Made>();
        var prepared = new Prepared(this, made);
        foreach (var spec in specs.Where(spec => spec.Matches(domain)))
        {
            try
            {
                var plugin = plugins?.Find(spec.Entry) ?? throw new PluginException($"plugin {spec.Entry.Name} does not run");
                made.Add(_inUse.Find(one => one.Plugin == plugin && one.Spec.IsSame(spec)) ?? Make(spec, plugin, domain));
            }
            catch (Exception e) when (e is PluginException or ObjectDisposedException)
            {
                prepared.Abandon();
                throw new PumpStartException(PrintableText.Line(e.Message), e);
            }
        }

        return prepared;
    }

    /// <summary>The domain is watched no more.</summary>
    public void Release() => Prepare([], new(new(0), "", Guid.Empty, CpuVendor.Vmx, 0, new(0), 0, DomainState.Dying, 0)).Use();

    private static Made Make(PluginSpec spec, PluginInstance plugin, DomainInfo domain)
    {
        var handler = plugin.CreateHandler(domain);
        return new(spec, plugin, handler, new(handler, Order, spec.Fail, spec.Budget));
    }

    /// <summary>Handlers that may come into use: either <see cref="Use"/> or <see cref="Abandon"/> ends it.</summary>
    internal sealed class Prepared
    {
        private readonly DomainPlugins _owner;
        private readonly List<Made> _made;
        private bool _isOver;

        internal Prepared(DomainPlugins owner, object made) => (_owner, _made) = (owner, (List<Made>)made);

        /// <summary>The handlers, as a pump takes them.</summary>
        public IEnumerable<HandlerRegistration> Handlers => _made.Select(made => made.Registration);

        /// <summary>The pump uses them: those that it used before and uses no more are disposed.</summary>
        public void Use()
        {
            if (!_isOver)
            {
                _isOver = true;
                var before = _owner._inUse;
                _owner._inUse = _made;
                Dispose(before.Except(_made));
            }
        }

        /// <summary>The pump does not use them.</summary>
        public void Abandon()
        {
            if (!_isOver)
            {
                _isOver = true;
                Dispose(_made.Except(_owner._inUse));
            }
        }

        private static void Dispose(IEnumerable<Made> handlers)
        {
            foreach (var handler in handlers.ToList())
            {
                try
                {
                    handler.Handler.Dispose();
                }
#pragma warning disable CA1031 // It is the plugin's own code, and out of use.
                catch (Exception)
#pragma warning restore CA1031
                {
                    // Nothing is left to be done about it.
                }
            }
        }
    }
}
