using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.XenLab.Guest;

namespace Introspect.XenLab.Contract;

/// <summary>The monitor and its events.</summary>
internal static partial class SeamChecks
{
    private const uint Lstar = 0xc000_0082;
    private const uint SysenterCs = 0x174;
    private const int DebugVector = 1;
    private const ulong Cr4Tsd = 4;

    private static readonly TraceGuestOptions OneRound = new(Rounds: 1);

    private static void One_monitor_at_a_time(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, Forever);
        guest.Start();
        using (guest.Domain.EnableMonitor())
        {
            Check.Refused(Errno.EBUSY, "a second monitor", () => guest.Domain.EnableMonitor().Dispose());
        }

        guest.Domain.EnableMonitor().Dispose();
        guest.CheckGoesOn("after two monitors");
    }

    private static void Enabling_and_disabling_has_Xens_errors(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, Forever);
        using var monitor = guest.Domain.EnableMonitor();
        Check.Equal(lab.Vendor == CpuVendor.Svm ? (MonitorCapabilities)0x1f7b : (MonitorCapabilities)0x1f7f, monitor.Capabilities, "capabilities");
        MonitorEvent[] events =
        [
            new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0), new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3),
            new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4), new MonitorEvent.ControlRegister(ControlRegisterIndex.Xcr0),
            new MonitorEvent.Msr(Lstar), new MonitorEvent.Msr(SysenterCs), new MonitorEvent.SoftwareBreakpoint(), new MonitorEvent.GuestRequest(),
            new MonitorEvent.DebugException(), new MonitorEvent.Cpuid(), new MonitorEvent.DescriptorAccess(), new MonitorEvent.EmulUnimplemented(),
            new MonitorEvent.InguestPagefault(), new MonitorEvent.VmExit(),
        ];
        foreach (var monitorEvent in events)
        {
            monitor.Enable(monitorEvent);
            Check.Refused(Errno.EEXIST, $"enabling {monitorEvent} twice", () => monitor.Enable(monitorEvent));
            monitor.Disable(monitorEvent);
        }

        Check.Refused(Errno.EINVAL, "a control register that is none", () => monitor.Enable(new MonitorEvent.ControlRegister((ControlRegisterIndex)9)));
        Check.Refused(Errno.EINVAL, "an MSR outside the bitmaps", () => monitor.Enable(new MonitorEvent.Msr(0x2000)));
        if (lab.Vendor == CpuVendor.Svm)
        {
            Check.Refused(Errno.EOPNOTSUPP, "single stepping on SVM", () => monitor.Enable(new MonitorEvent.SingleStep()));
        }
        else
        {
            monitor.Enable(new MonitorEvent.SingleStep());
        }
    }

    private static void Memory_access_is_as_the_vendor_has_it(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, Forever);
        using var monitor = guest.Domain.EnableMonitor();
        var gfn = new GuestPhysical(TraceLayout.Scratch).Gfn;
        if (lab.Vendor == CpuVendor.Svm)
        {
            Check.Refused(Errno.EINVAL, "memory access on SVM", () => monitor.SetMemoryAccess(gfn, 1, MemoryAccess.R));
            return;
        }

        monitor.SetMemoryAccess(gfn, 1, MemoryAccess.Rx);
        Check.Equal(MemoryAccess.Rx, monitor.GetMemoryAccess(gfn), "the page's rights");
    }

    private static void Control_registers_are_told_from_the_first_instruction(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, OneRound);
        using var monitor = guest.Domain.EnableMonitor();
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0));
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3));
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4));
        var events = guest.Watch(monitor);
        const ulong A = TraceLayout.RootA;
        const ulong B = TraceLayout.RootB;
        const ulong Running = 0x8001_0033;
        Check.Sequence(
            [
                "Cr4 0 20", $"Cr3 0 {A:x}", "Cr0 11 80010033",
                "Cr0 80010033 80050033", "Cr0 80050033 80010033", "Cr0 80010033 8001003b", "Cr0 8001003b 80010033", "Cr0 80010033 8001003b", $"Cr0 8001003b {Running:x}",
                $"Cr3 {A:x} {B:x}", $"Cr3 {B:x} {A:x}", $"Cr3 {A:x} {A | 0x18:x}", $"Cr3 {A | 0x18:x} {A:x}",
                "Cr4 20 24", "Cr4 24 20", "Cr4 20 a0", "Cr4 a0 20", "Cr4 20 120", "Cr4 120 20", "Cr4 20 620", "Cr4 620 20",
            ],
            [.. events.Select(static e => $"{e.WriteCtrlreg.Index} {e.WriteCtrlreg.OldValue:x} {e.WriteCtrlreg.NewValue:x}")],
            "write");
    }

    private static void Only_changes_of_watched_bits_are_told(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, OneRound);
        using var monitor = guest.Domain.EnableMonitor();
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4, WatchMask: Cr4Tsd));
        var events = guest.Watch(monitor);
        Check.Sequence([0x24UL, 0x20UL], [.. events.Select(static e => e.WriteCtrlreg.NewValue)], "value of CR4");
    }

    private static void Msr_writes_are_told_with_both_values(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, OneRound);
        using var monitor = guest.Domain.EnableMonitor();
        monitor.Enable(new MonitorEvent.Msr(SysenterCs));
        monitor.Enable(new MonitorEvent.Msr(Lstar, OnChangeOnly: true));
        var events = guest.Watch(monitor);
        Check.Sequence(
            [(SysenterCs, 0UL, 8UL), (SysenterCs, 8UL, 16UL), (SysenterCs, 16UL, 16UL), (Lstar, 0UL, 0x10_1000UL), (Lstar, 0x10_1000UL, 0x10_2000UL), (Lstar, 0x10_2000UL, 0x8000_0000_0000_0000UL)],
            [.. events.Select(static e => (e.MovToMsr.Msr, e.MovToMsr.OldValue, e.MovToMsr.NewValue))],
            "write");
        Check.Equal(4UL, guest.Exceptions(13), "refused writes");
    }

    private static void Cpuid_is_told_and_passed_over(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, OneRound);
        using var monitor = guest.Domain.EnableMonitor();
        monitor.Enable(new MonitorEvent.Cpuid());
        var events = guest.Watch(monitor);
        Check.Sequence(
            [(0u, 0u), (0u, 0u), (1u, 0u), (7u, 0u), (0xdu, 0u), (0xdu, 1u), (0x15u, 0u), (0x4000_0000u, 0u), (0x4000_0001u, 0u), (0x8000_0000u, 0u), (0x8000_0008u, 0u), (0x1234_5678u, 0x9abc_def0u), (1u, 0u)],
            [.. events.Select(static e => (e.Cpuid.Leaf, e.Cpuid.Subleaf))],
            "CPUID");
        Check.True(events.All(static e => e.Cpuid.InsnLength == 2), "each is two bytes long");
    }

    private static void Descriptor_accesses_are_told_and_emulated(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, OneRound);
        using var monitor = guest.Domain.EnableMonitor();
        monitor.Enable(new MonitorEvent.DescriptorAccess());
        var events = guest.Watch(monitor);
        Check.Sequence(
            [
                (DescriptorRegister.Gdtr, true), (DescriptorRegister.Idtr, true), (DescriptorRegister.Tr, true),
                (DescriptorRegister.Gdtr, false), (DescriptorRegister.Idtr, false), (DescriptorRegister.Ldtr, false), (DescriptorRegister.Ldtr, false),
                (DescriptorRegister.Tr, false), (DescriptorRegister.Tr, false),
                (DescriptorRegister.Gdtr, true), (DescriptorRegister.Idtr, true), (DescriptorRegister.Ldtr, true), (DescriptorRegister.Tr, true),
            ],
            [.. events.Select(static e => (e.DescAccess.Descriptor, e.DescAccess.IsWrite != 0))],
            "access");
        Check.Equal(TraceLayout.GdtLimit, (ushort)guest.Read(TraceLayout.Scratch + 0x10), "the limit that SGDT stored");
        Check.Equal(TraceLayout.Gdt, guest.Read(TraceLayout.Scratch + 0x12), "the base that SGDT stored");
        Check.Equal(DomainState.PowerOff, guest.Domain.GetInfo().State, "how the guest ended");
    }

    private static void Debug_exceptions_are_told_and_reinjected(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, OneRound);
        using var monitor = guest.Domain.EnableMonitor();
        monitor.Enable(new MonitorEvent.DebugException());
        var events = guest.Watch(monitor);
        Check.Equal(4, events.Count, "three steps and a watchpoint");
        Check.Equal(4UL, guest.Exceptions(DebugVector), "what of them the guest took");
        Check.Equal(DomainState.PowerOff, guest.Domain.GetInfo().State, "how the guest ended");
    }

    private static void The_next_interrupt_is_told_once(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, OneRound);
        using var monitor = guest.Domain.EnableMonitor();
        monitor.Enable(new MonitorEvent.DebugException());
        var armed = false;
        var events = guest.Watch(monitor, intervene: (in VmEvent request, ref VmEvent response) =>
        {
            // The exception that is given back is what comes next.
            if (request.Reason == VmEventReason.DebugException && !armed)
            {
                armed = true;
                response.Flags |= VmEventFlags.GetNextInterrupt;
            }
        });
        Check.Sequence(
            [VmEventReason.DebugException, VmEventReason.Interrupt, VmEventReason.DebugException, VmEventReason.DebugException, VmEventReason.DebugException],
            [.. events.Select(static e => e.Reason)],
            "event");
        Check.Equal((DebugVector, 3), ((int)events[1].Interrupt.Vector, (int)events[1].Interrupt.Type), "its vector and type");
        Check.Equal(4UL, guest.Exceptions(DebugVector), "debug exceptions that the guest took");
    }

    private static void Guest_requests_are_told(IContractLab lab)
    {
        foreach (var sync in new[] { true, false })
        {
            using var guest = new GuestUnderTest(lab, OneRound);
            using var monitor = guest.Domain.EnableMonitor();
            monitor.Enable(new MonitorEvent.GuestRequest(sync));
            var events = guest.Watch(monitor);
            Check.Equal(2, events.Count, "requests");
            Check.True(events.All(e => e.Flags.HasFlag(VmEventFlags.VcpuPaused) == sync), $"a vCPU waits: {sync}");
        }
    }

    private static void A_denied_write_does_not_happen(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, OneRound);
        using var monitor = guest.Domain.EnableMonitor();
        monitor.ControlRegisters();
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr4));
        var events = guest.Watch(monitor, intervene: static (in VmEvent request, ref VmEvent response) =>
        {
            if ((request.WriteCtrlreg.NewValue & Cr4Tsd) != 0)
            {
                response.Flags |= VmEventFlags.Deny;
            }
        });

        // TSD was never set, and so its clearing is no change.
        Check.Sequence(
            [0x20UL, 0x24UL, 0xa0UL, 0x20UL, 0x120UL, 0x20UL, 0x620UL, 0x20UL],
            [.. events.Select(static e => e.WriteCtrlreg.NewValue)],
            "value of CR4");
    }

    private static void A_response_changes_registers(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, OneRound);
        using var monitor = guest.Domain.EnableMonitor();
        monitor.Enable(new MonitorEvent.Cpuid());
        const ulong Magic = 0x1234_5678_9abc_def0;
        var entered = false;
        var events = guest.Watch(monitor, 3, (in VmEvent request, ref VmEvent response) =>
        {
            // The second is the first in long mode; nothing in the guest uses RBP.
            if (entered)
            {
                response.Registers.Rbp = Magic;
            }

            entered = true;
        });
        Check.Equal(Magic, events[2].Registers.Rbp, "RBP at the next event");
    }

    private static void Async_events_are_all_told_in_order(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, new(Rounds: 20));
        using var monitor = guest.Domain.EnableMonitor();
        monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3, Sync: false));
        var events = guest.Watch(monitor);
        const int ARound = 4;
        Check.Equal(1 + (20 * ARound), events.Count, "writes of CR3");
        for (var i = 1; i < events.Count; i++)
        {
            Check.Equal(events[i - 1].WriteCtrlreg.NewValue, events[i].WriteCtrlreg.OldValue, $"old value of write {i + 1}");
        }
    }

    private static void A_monitor_that_ends_leaves_a_guest_that_goes_on(IContractLab lab)
    {
        using var guest = new GuestUnderTest(lab, Forever);
        guest.Start();
        for (var n = 0; n < 3; n++)
        {
            using (var monitor = guest.Domain.EnableMonitor())
            {
                monitor.Enable(new MonitorEvent.Cpuid());
                monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr3, Sync: false));
                Check.Eventually(() => monitor.UnconsumedRequests > 0, "an event comes");
                Check.True(monitor.TryTake(out _), "it is taken, and never answered by us");
            }

            guest.CheckGoesOn($"after monitor {n + 1}");
        }
    }
}
