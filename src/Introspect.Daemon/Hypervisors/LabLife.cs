using Introspect.Hypervisor;

namespace Introspect.Daemon.Hypervisors;

/// <summary>When an <c>introspect lab serve</c> ends by itself.</summary>
/// <param name="HardwareDomain">The domain whose shutdown ends the machine once it is created; null: none.</param>
/// <param name="UntilEmpty">It ends when no domain and no client is left.</param>
internal readonly record struct LabLife(DomainId? HardwareDomain = null, bool UntilEmpty = false);
