using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;

using Introspect.Rules.Pump;

namespace Introspect.Daemon.Output;

/// <summary>From a pump's record to what the formatters tell.</summary>
internal static class RecordContext
{
    /// <summary>The context of a record.</summary>
    public static EventContext Of(in EventRecord record, DomainInfo domain) => new(
        (long)record.Sequence,
        new DateTimeOffset(DateTime.SpecifyKind(record.Time, DateTimeKind.Utc)),
        record.Elapsed,
        record.Domain,
        domain.Name,
        domain.Vendor,
        record.Verdict.IsPass ? EventContext.Allow : record.Verdict.ToString(),
        record.Handler,
        record.HandlingTime)
    {
        DomainUuid = domain.Uuid,
    };

    /// <summary>True when somebody changed what the guest does: the trace's own stepping is no intervention.</summary>
    public static bool IsIntervention(in EventContext context) =>
        context.Verdict != EventContext.Allow && context.Rule != TraceHandler.HandlerName;
}
