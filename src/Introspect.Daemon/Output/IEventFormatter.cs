using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Output;

/// <summary>Events as bytes, one line each: the shapes of JSON that a sink can write.</summary>
internal interface IEventFormatter : IDisposable
{
    /// <summary>Formats an event, with its line end. The result is valid until the next call.</summary>
    ReadOnlySpan<byte> Event(in VmEvent e, in EventContext context);

    /// <summary>Formats an alert, with its line end. The result is valid until the next call.</summary>
    ReadOnlySpan<byte> Alert(AlertRecord alert, DomainInfo domain);
}

/// <summary>A shape of JSON.</summary>
internal enum JsonShape
{
    /// <summary>The program's own, docs/events-json.md.</summary>
    Introspect,

    /// <summary>Elastic Common Schema.</summary>
    Ecs,

    /// <summary>Open Cybersecurity Schema Framework.</summary>
    Ocsf,
}
