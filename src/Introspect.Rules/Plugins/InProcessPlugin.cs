using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;

namespace Introspect.Rules.Plugins;

/// <summary>A plugin in this process, in a load context of its own that goes when nothing of it is in use any more.</summary>
internal sealed class InProcessPlugin : PluginInstance
{
    private readonly Lock _gate = new();
    private readonly PluginLog _log;
    private LoadedPlugin? _loaded;

    public InProcessPlugin(PluginEntry entry, Action<PluginLogLevel, string> log)
        : base(entry)
    {
        _log = new(log);
        try
        {
            _loaded = LoadedPlugin.Load(entry.Folder.AssemblyPath, entry.Name, entry.Config, isCollectible: true, _log.Say);
        }
        catch
        {
            _log.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override PluginCounts Counts => new(Entry.Name, Volatile.Read(ref _loaded) is not null, 0, 0, 0);

    /// <inheritdoc/>
    public override PluginHandler CreateHandler(DomainInfo domain)
    {
        lock (_gate)
        {
            ObjectDisposedException.ThrowIf(_loaded is null, this);
            return new Handler(Entry.Name, _loaded.Create(domain));
        }
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        lock (_gate)
        {
            _loaded?.Dispose();
            Volatile.Write(ref _loaded, null);
        }

        _log.Dispose();
    }

    // Goes by the name that the operator knows, and lets go of the plugin's code.
    private sealed class Handler(string name, IEventHandler inner) : PluginHandler(name)
    {
        private IEventHandler? _inner = inner;

        public override void Subscribe(SubscriptionBuilder subscription) => Inner().Subscribe(subscription);

        public override Verdict Handle(ref readonly VmEvent request, ref HandlerContext context) => Inner().Handle(in request, ref context);

        public override void Dispose()
        {
            var inner = Interlocked.Exchange(ref _inner, null);
            (inner as IDisposable)?.Dispose();
        }

        private IEventHandler Inner() => Volatile.Read(ref _inner) ?? throw new ObjectDisposedException(Name);
    }
}
