using System.Text.Json.Serialization;
using Introspect.Hypervisor;

namespace Introspect.Rules.Plugins.Isolation;

/// <summary>What a control message is.</summary>
internal enum ControlKind
{
    None,

    /// <summary>Monitor: load the plugin and make its settings.</summary>
    Load,

    /// <summary>Monitor: make the handler of a domain, which is reached by the call box that comes with it.</summary>
    Create,

    /// <summary>Monitor: the handler is out of use.</summary>
    Close,

    /// <summary>Monitor: let go of everything and end.</summary>
    Stop,

    /// <summary>Plugin host: it is done.</summary>
    Done,

    /// <summary>Plugin host: it failed.</summary>
    Failed,

    /// <summary>Plugin host: a line for the log.</summary>
    Log,
}

/// <summary>A message between the monitor and a plugin's process, beside the events.</summary>
internal sealed class ControlMessage
{
    public ControlKind Kind { get; init; }

    /// <summary>Which call; its reply repeats it.</summary>
    public long Call { get; init; }

    /// <summary>Which handler.</summary>
    public int Handler { get; init; }

    /// <summary>Name of the plugin.</summary>
    public string? Name { get; init; }

    public string? AssemblyPath { get; init; }

    public IReadOnlyDictionary<string, string?>? Config { get; init; }

    public DomainWire? Domain { get; init; }

    public SubscriptionWire? Subscription { get; init; }

    /// <summary>What failed, or the line for the log.</summary>
    public string? Text { get; init; }

    public PluginLogLevel Level { get; init; }

    public IReadOnlyList<OptionMistake>? Mistakes { get; init; }
}

/// <summary>What is known of a domain.</summary>
internal sealed record DomainWire(
    ushort Id, string Name, Guid Uuid, CpuVendor Vendor, int VcpuCount, ulong MaxGfn, ulong MemoryBytes, DomainState State, int PauseCount, ushort? Parent)
{
    public static DomainWire Of(DomainInfo info) => new(
        info.Id.Value, info.Name, info.Uuid, info.Vendor, info.VcpuCount, info.MaxGfn.Value, info.MemoryBytes, info.State, info.PauseCount, info.Parent?.Value);

    public DomainInfo ToInfo() => new(new(Id), Name, Uuid, Vendor, VcpuCount, new(MaxGfn), MemoryBytes, State, PauseCount)
    {
        Parent = Parent is { } parent ? new DomainId(parent) : null,
    };
}

/// <summary>How control messages are written.</summary>
[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault)]
[JsonSerializable(typeof(ControlMessage))]
[JsonSerializable(typeof(DomainWire))]
internal sealed partial class ControlJson : JsonSerializerContext;
