using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Monitoring;

namespace Introspect.Hypervisor.Tests.Monitoring.Lab;

/// <summary>What a sync event's response without any flag brings.</summary>
internal enum BareOutcome
{
    /// <summary>The guest goes on.</summary>
    GoesOn,

    /// <summary>The same event again.</summary>
    Repeats,
}

/// <summary>One row of the table in docs/vm-event.md: how the event is had, what is in it, and what its responses do.</summary>
internal sealed record EventScenario
{
    public required string Name { get; init; }

    public required VmEventReason Reason { get; init; }

    public IReadOnlyList<CpuVendor> Vendors { get; init; } = [CpuVendor.Vmx, CpuVendor.Svm];

    /// <summary>The event of the seam; null where something else brings it.</summary>
    public MonitorEvent? Event { get; init; }

    public MonitoringOptions Options { get; init; } = MonitoringOptions.Default;

    /// <summary>Code that causes it once.</summary>
    public required Action<Assembler, CpuVendor> Trigger { get; init; }

    /// <summary>What is to be set beside <see cref="Event"/>.</summary>
    public Action<EventLab> Prepare { get; init; } = static _ => { };

    /// <summary>What takes the place of disabling <see cref="Event"/>.</summary>
    public Action<EventLab>? Undo { get; init; }

    /// <summary>Answers other events, which lead to this one.</summary>
    public Action<EventLab, VmEvent, Response> Lead { get; init; } = static (_, _, _) => { };

    /// <summary>A response with which the guest goes on to its end; by default RIP is moved behind the code.</summary>
    public Action<EventLab, Response>? Finish { get; init; }

    public required BareOutcome Bare { get; init; }

    /// <summary>Flags that are honoured, beside those that are for every event.</summary>
    public VmEventFlags Honours { get; init; }

    /// <summary>What the operations refuse.</summary>
    public required Action<EventLab> Errors { get; init; }

    /// <summary>What is in the event.</summary>
    public required Action<VmEvent, CpuVendor> Fields { get; init; }

    /// <summary>Sees that what the event was about was done, or not.</summary>
    public Action<EventLab, bool> Effect { get; init; } = static (_, _) => { };
}

/// <summary>A response in the making.</summary>
internal sealed class Response(VmEvent response)
{
    public VmEvent Event = response;

    public void Add(VmEventFlags flags) => Event.Flags |= flags;

    public void GoTo(ulong rip)
    {
        Event.Flags |= VmEventFlags.SetRegisters;
        Event.Registers.Rip = rip;
    }
}
