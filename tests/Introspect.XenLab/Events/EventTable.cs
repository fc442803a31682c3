using System.Globalization;
using System.Text;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.XenLab.Contract;
using Introspect.XenLab.Guest;

namespace Introspect.XenLab.Events;

/// <summary>
/// What a hypervisor sends, as a table for people: each event is switched on for a guest of its own, and what comes of
/// one round of the guest is counted. docs/xen.md has it, and the lab holds the two against each other.
/// </summary>
internal static class EventTable
{
    private const string Begin = "<!-- events: written by tests/xen-lab, which compares -->";
    private const string End = "<!-- end of events -->";

    private static readonly TraceGuestOptions OneRound = new(Rounds: 1);

    // The MSRs that the guest writes, EFER aside, which it writes once.
    private static readonly uint[] Msrs =
        [0x174, 0x175, 0x176, 0x277, 0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0xc000_0100, 0xc000_0101, 0xc000_0102];

    private static readonly Row[] Rows =
    [
        Row.Of("writes of CR0", VmEventReason.WriteCtrlreg, new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0)),
        Row.Of("writes of CR3", VmEventReason.WriteCtrlreg, new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3)),
        Row.Of("writes of CR3, async", VmEventReason.WriteCtrlreg, new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3, Sync: false)),
        Row.Of("writes of CR4", VmEventReason.WriteCtrlreg, new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4)),
        Row.Of("writes of XCR0", VmEventReason.WriteCtrlreg, new MonitorEvent.ControlRegister(ControlRegisterIndex.Xcr0)),
        Row.Of("writes of MSRs (`SYSENTER_*`, `PAT`, `STAR`, `LSTAR`, `CSTAR`, `SFMASK`, `FS_BASE`, `GS_BASE`, `KERNEL_GS_BASE`)", VmEventReason.MovToMsr, [.. Msrs.Select(static msr => new MonitorEvent.Msr(msr))]),
        Row.Of("writes of MSR `EFER`", VmEventReason.MovToMsr, new MonitorEvent.Msr(0xc000_0080)),
        Row.Of("CPUID", VmEventReason.Cpuid, new MonitorEvent.Cpuid()),
        Row.Of("accesses to GDTR, IDTR, LDTR, TR", VmEventReason.DescriptorAccess, new MonitorEvent.DescriptorAccess()),
        Row.Of("debug exceptions", VmEventReason.DebugException, new MonitorEvent.DebugException()),
        Row.Of("debug exceptions, async", VmEventReason.DebugException, new MonitorEvent.DebugException(Sync: false)),
        Row.Of("breakpoints (int3)", VmEventReason.SoftwareBreakpoint, new MonitorEvent.SoftwareBreakpoint()),
        Row.Of("guest requests", VmEventReason.GuestRequest, new MonitorEvent.GuestRequest()),
        Row.Of("guest requests, async", VmEventReason.GuestRequest, new MonitorEvent.GuestRequest(Sync: false)),
        Row.Of("next interrupt, armed by answers to debug exceptions", VmEventReason.Interrupt, new MonitorEvent.DebugException()) with { Armed = true },
        Row.Of("single steps", VmEventReason.Singlestep, new MonitorEvent.SingleStep()),
        Row.Of("instructions that Xen cannot emulate", VmEventReason.EmulUnimplemented, new MonitorEvent.EmulUnimplemented(), new MonitorEvent.DescriptorAccess()),
        Row.Of("no events of page-table walks", VmEventReason.MemAccess, new MonitorEvent.InguestPagefault()),
        Row.Of("vmexits", VmEventReason.VmExit, new MonitorEvent.VmExit()),
        Row.Of("port input and output", VmEventReason.IoInstruction, new MonitorEvent.IoInstruction()),
        new("accesses to memory", VmEventReason.MemAccess, static (_, monitor) => monitor.SetMemoryAccess(new GuestPhysical(TraceLayout.Scratch).Gfn, 1, MemoryAccess.Rx)),
        new("altp2m views", VmEventReason.MemAccess, static (_, monitor) => monitor.Views.SetActive(true)),
        new("forks", VmEventReason.Unknown, static (guest, _) => guest.Domain.Fork(new()).Dispose()),
    ];

    /// <summary>The rows' names.</summary>
    public static IEnumerable<string> Titles => Rows.Select(static row => row.Title);

    /// <summary>Tries every event.</summary>
    public static string Write(IContractLab lab)
    {
        var table = new StringBuilder("| what | switching it on | events of one round of the trace guest |\n| --- | --- | --- |\n");
        foreach (var row in Rows)
        {
            string enabling, events;
            try
            {
                (enabling, events) = Try(lab, row);
            }
            catch (ContractException e)
            {
                throw new ContractException($"{row.Title}: {e.Message}");
            }

            table.Append(CultureInfo.InvariantCulture, $"| {row.Title} | {enabling} | {events} |\n");
        }

        return table.ToString();
    }

    /// <summary>The table in a document; empty where it has none.</summary>
    public static string FindIn(string document)
    {
        var begin = document.IndexOf(Begin, StringComparison.Ordinal);
        var end = document.IndexOf(End, StringComparison.Ordinal);
        return begin < 0 || end < begin ? "" : document[(begin + Begin.Length)..end].Trim() + "\n";
    }

    private static (string Enabling, string Events) Try(IContractLab lab, Row row)
    {
        using var guest = new GuestUnderTest(lab, OneRound, "events");
        using var monitor = guest.Domain.EnableMonitor();
        try
        {
            row.Enable(guest, monitor);
        }
        catch (HypervisorException refused)
        {
            return (refused.Error.ToString(), "–");
        }

        var events = guest.Watch(monitor, intervene: (in VmEvent request, ref VmEvent response) =>
            response.Flags |= row.Armed && request.Reason != VmEventReason.Interrupt ? VmEventFlags.GetNextInterrupt : VmEventFlags.None);
        var count = events.Count(e => e.Reason == row.Reason);
        return ("done", count == 0 ? "none" : count.ToString(CultureInfo.InvariantCulture));
    }

    private sealed record Row(string Title, VmEventReason Reason, Action<GuestUnderTest, IMonitor> Enable)
    {
        /// <summary>Every answer asks for the next interrupt, those to interrupts aside: Xen would tell of the same again.</summary>
        public bool Armed { get; init; }

        public static Row Of(string title, VmEventReason reason, params MonitorEvent[] events) =>
            new(title, reason, (_, monitor) => Array.ForEach(events, monitor.Enable));
    }
}
