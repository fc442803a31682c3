using System.Globalization;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Names;
using Introspect.Rules.Pump;

namespace Introspect.Rules.Capture;

/// <summary>Compares what handlers want with what was watched when a capture was recorded.</summary>
internal static class RecordedCoverage
{
    /// <summary>What a handler wants and cannot find in the capture, in words; empty when it finds all.</summary>
    public static IReadOnlyList<string> Missing(HandlerSubscription wishes, WatchedEvents watched)
    {
        var missing = new List<string>();
        foreach (var wish in wishes.ControlRegisters)
        {
            var mask = watched.Events.OfType<MonitorEvent.ControlRegister>().Where(e => e.Register == wish.Register).Aggregate(0UL, (union, e) => union | e.WatchMask);
            if ((wish.WatchMask & ~mask) is var lacking && lacking != 0)
            {
                var name = wish.Register.ToString().ToUpperInvariant();
                missing.Add(mask == 0 ? $"writes of {name}" : string.Create(CultureInfo.InvariantCulture, $"changes of the bits 0x{lacking:x} of {name}"));
            }
        }

        missing.AddRange(wishes.Msrs.Where(wish => !watched.Events.Contains(new MonitorEvent.Msr(wish.Number)) && !(wish.OnChangeOnly && watched.Events.Contains(new MonitorEvent.Msr(wish.Number, true))))
            .Select(wish => string.Create(CultureInfo.InvariantCulture, $"writes of MSR 0x{wish.Number:x}")));
        missing.AddRange(wishes.Simple.Where(wish => !IsWatched(wish.Reason, watched)).Select(wish => ReasonNames.Of(wish.Reason)));
        missing.AddRange(wishes.Ranges.Where(wish => !IsCovered(wish, watched)).Select(wish => string.Create(CultureInfo.InvariantCulture, $"{wish.Watched.ToString().ToLowerInvariant()} accesses to pages 0x{wish.First:x}+0x{wish.Count:x}")));
        missing.AddRange(wishes.Breakpoints.Where(address => !watched.Breakpoints.Contains(new(address))).Select(address => string.Create(CultureInfo.InvariantCulture, $"the breakpoint at 0x{address:x}")));
        if (watched.AddressSpaces.Count != 0 && !(wishes.AddressSpaces.Count != 0 && wishes.AddressSpaces.TrueForAll(watched.AddressSpaces.Contains)))
        {
            missing.Add("events of other address spaces than " + string.Join(", ", watched.AddressSpaces.Select(root => string.Create(CultureInfo.InvariantCulture, $"0x{root:x}"))));
        }

        return [.. missing.Distinct()];
    }

    private static bool IsWatched(VmEventReason reason, WatchedEvents watched) => reason switch
    {
        VmEventReason.Interrupt => watched.Interrupts,
        VmEventReason.SoftwareBreakpoint => watched.Events.Any(e => e is MonitorEvent.SoftwareBreakpoint),
        VmEventReason.Singlestep => watched.Events.Any(e => e is MonitorEvent.SingleStep),
        VmEventReason.GuestRequest => watched.Events.Any(e => e is MonitorEvent.GuestRequest),
        VmEventReason.DebugException => watched.Events.Any(e => e is MonitorEvent.DebugException),
        VmEventReason.Cpuid => watched.Events.Any(e => e is MonitorEvent.Cpuid),
        VmEventReason.DescriptorAccess => watched.Events.Any(e => e is MonitorEvent.DescriptorAccess),
        VmEventReason.EmulUnimplemented => watched.Events.Any(e => e is MonitorEvent.EmulUnimplemented),
        VmEventReason.VmExit => watched.Events.Any(e => e is MonitorEvent.VmExit),
        VmEventReason.IoInstruction => watched.Events.Any(e => e is MonitorEvent.IoInstruction),
        _ => false,
    };

    // A range may be covered by several, page by page; a million pages are looked at range by range.
    private static bool IsCovered(RangeWish wish, WatchedEvents watched)
    {
        foreach (var right in new[] { MemAccessFlags.Read, MemAccessFlags.Write, MemAccessFlags.Execute }.Where(right => (wish.Watched & right) != 0))
        {
            var (at, end) = ((UInt128)wish.First, (UInt128)wish.First + wish.Count);
            while (at < end)
            {
                var reach = watched.Memory.Where(range => (range.Watched & right) != 0 && range.First.Value <= at && at < (UInt128)range.First.Value + range.Count)
                    .Select(range => (UInt128)range.First.Value + range.Count).DefaultIfEmpty(at).Max();
                if (reach == at)
                {
                    return false;
                }

                at = reach;
            }
        }

        return true;
    }
}
