using System.ComponentModel.DataAnnotations;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Plugins;

[assembly: HandlerPlugin("my-plugin", typeof(MyPlugin.Plugin), ApiVersion = PluginApi.Version)]

namespace MyPlugin;

/// <summary>What may stand below <c>config</c>; a property <c>DenyLeaf</c> is the key <c>deny_leaf</c>.</summary>
public sealed class Options
{
    /// <summary>An example: <c>most_leaves</c>.</summary>
    [Range(1, 1000)]
    public int MostLeaves { get; init; } = 64;
}

/// <summary>Makes a handler for each domain.</summary>
public sealed class Plugin : HandlerPlugin<Options>
{
    /// <inheritdoc/>
    protected override IEventHandler Create(PluginContext context, Options options) => new Handler(context, options);
}

internal sealed class Handler(PluginContext context, Options options) : IEventHandler
{
    private readonly HashSet<uint> _leaves = [];

    public string Name => context.Name;

    /// <summary>Says which events the handler wants.</summary>
    public void Subscribe(SubscriptionBuilder subscription) => subscription.Cpuid();

    /// <summary>Decides about an event. The guest waits: do not block, and allocate nothing.</summary>
    public Verdict Handle(ref readonly VmEvent request, ref HandlerContext handler)
    {
        if (_leaves.Count < options.MostLeaves && _leaves.Add(request.Cpuid.Leaf))
        {
            context.Log(PluginLogLevel.Information, $"domain {context.Domain.Name} asks for CPUID leaf 0x{request.Cpuid.Leaf:x}");
        }

        return Verdict.Pass;
    }
}
