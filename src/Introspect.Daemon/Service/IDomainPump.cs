using System.Threading.Channels;
using Introspect.Hypervisor;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Service;

/// <summary>A pump that runs on a domain.</summary>
internal interface IDomainPump : IAsyncDisposable
{
    /// <summary>Its counters.</summary>
    PumpStatistics Statistics { get; }

    /// <summary>What it handled; completes after the pump ended.</summary>
    ChannelReader<EventRecord> Records { get; }

    /// <summary>Ends with the pump; faulted when it could not go on.</summary>
    Task Completion { get; }

    /// <summary>Stops the pump: drained, disabled, no vCPU left paused.</summary>
    Task StopAsync();
}

/// <summary>Starts a pump on a domain.</summary>
internal delegate IDomainPump PumpStarter(IDomain domain, IReadOnlyList<HandlerRegistration> handlers, PumpOptions options, IPumpDiagnostics diagnostics);
