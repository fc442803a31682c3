using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Handlers;

/// <summary>
/// Decides about events of one domain. A handler is called on the domain's pump thread only, one event at a time,
/// while the vCPU of a sync event stands still: it should neither block nor allocate.
/// </summary>
/// <remarks>
/// Handlers are asked in the order of <see cref="HandlerRegistration.Order"/>, then of name. The first verdict that
/// is not a pass wins. Handlers after it are not called, except those that asked by
/// <see cref="SubscriptionBuilder.ObserveDecided"/> to see the event all the same; their verdicts have no effect.
/// A handler sees only events that its own subscription describes, also where another handler's made the
/// hypervisor send more.
/// </remarks>
public interface IEventHandler
{
    /// <summary>Name in logs, metrics and records: lower case, unique in a pump.</summary>
    string Name { get; }

    /// <summary>Says which events the handler wants. Called once for each domain, before anything is enabled.</summary>
    void Subscribe(SubscriptionBuilder subscription);

    /// <summary>Decides about an event.</summary>
    /// <param name="request">The event, already copied from the shared ring.</param>
    /// <param name="context">The domain, the time, and what of the vCPU the verdict may change.</param>
    Verdict Handle(ref readonly VmEvent request, ref HandlerContext context);
}
