using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Pump;

/// <summary>What a pump tells about itself. Called on the pump thread, or on the thread that starts or stops it.</summary>
public interface IPumpDiagnostics
{
    /// <summary>Something happened that an operator may want in a log. Must not throw; what it throws is ignored.</summary>
    void Report(PumpDiagnostic diagnostic);
}

/// <summary>What kind of thing a pump tells.</summary>
public enum PumpDiagnosticKind
{
    /// <summary>Events are enabled and the pump runs.</summary>
    Started,

    /// <summary>The pump has ended; nothing of it is left on the domain.</summary>
    Stopped,

    /// <summary>Subscriptions were merged in a way that a handler's author may not expect.</summary>
    SubscriptionMerged,

    /// <summary>An optional event was left out because the hypervisor cannot send it.</summary>
    EventUnsupported,

    /// <summary>A handler threw.</summary>
    HandlerFailed,

    /// <summary>A handler took longer than its budget.</summary>
    HandlerOverran,

    /// <summary>A handler failed repeatedly and is disabled for a while.</summary>
    HandlerDisabled,

    /// <summary>A disabled handler is on trial, or works again.</summary>
    HandlerEnabled,

    /// <summary>A part of a verdict had no meaning for its event and was left out.</summary>
    VerdictIgnored,

    /// <summary>The hypervisor refused something while an event was answered or the pump was stopping.</summary>
    OperationFailed,

    /// <summary>The domain is gone.</summary>
    DomainGone,

    /// <summary>The pump could not go on.</summary>
    PumpFailed,
}

/// <summary>One thing that a pump tells. Repeated ones of a kind and handler are told the 1st, 2nd, 4th, 8th… time.</summary>
/// <param name="Kind">What kind of thing.</param>
/// <param name="Message">One line for people.</param>
/// <param name="Handler">The handler it is about.</param>
/// <param name="Reason">The event it is about.</param>
/// <param name="Exception">The cause.</param>
/// <param name="Count">How many times this happened up to now.</param>
public sealed record PumpDiagnostic(
    PumpDiagnosticKind Kind,
    string Message,
    string? Handler = null,
    VmEventReason? Reason = null,
    Exception? Exception = null,
    long Count = 1);
