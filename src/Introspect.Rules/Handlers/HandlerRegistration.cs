namespace Introspect.Rules.Handlers;

/// <summary>What stands in for a handler that failed or is disabled.</summary>
public enum FailPolicy : byte
{
    /// <summary>Its events go on as if it had passed.</summary>
    Open = 0,

    /// <summary>Its events are denied, where they can be.</summary>
    Closed = 1,
}

/// <summary>A handler in its place in a pump.</summary>
/// <param name="Handler">The handler.</param>
/// <param name="Order">Lower is asked earlier; equal ones by name.</param>
/// <param name="FailPolicy">What stands in for it when it fails.</param>
/// <param name="Budget">Time an event may take, or null for <see cref="Pump.PumpOptions.HandlerBudget"/>.</param>
public sealed record HandlerRegistration(IEventHandler Handler, int Order = 0, FailPolicy FailPolicy = FailPolicy.Open, TimeSpan? Budget = null);
