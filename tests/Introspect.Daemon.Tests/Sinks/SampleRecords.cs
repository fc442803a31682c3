using Introspect.Daemon.Tests.Fakes;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Tests.Sinks;

/// <summary>Records for sinks to write.</summary>
internal static class SampleRecords
{
    public static readonly DateTime Time = new(2026, 1, 2, 3, 4, 5, 678, DateTimeKind.Utc);

    public static readonly DomainInfo Web = new(new(7), "web \"1\"\n", new("00112233-4455-6677-8899-aabbccddeeff"), CpuVendor.Vmx, 1, new(1), 1, DomainState.Running, 0);

    public static EventRecord Allowed(VmEventReason reason, ulong sequence = 1) => new()
    {
        Sequence = sequence,
        Time = Time,
        Domain = Web.Id,
        Event = SampleEvents.Of(reason),
        HandlingTime = TimeSpan.FromMicroseconds(3),
    };

    public static EventRecord Denied(VmEventReason reason, string handler = "protect-cr4", ulong sequence = 2) =>
        Allowed(reason, sequence) with { Verdict = Verdict.Deny, Handler = handler };
}
