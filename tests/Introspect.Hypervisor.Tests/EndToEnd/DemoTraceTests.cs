using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Hypervisor.Tests.EndToEnd;

/// <summary>The demo guest's events, one by one, against what it is written to do.</summary>
public sealed class DemoTraceTests
{
    private const ulong SameValueCr3Write = 0x23;

    private static readonly VmEventReason[] Reasons =
    [
        VmEventReason.WriteCtrlreg, VmEventReason.MovToMsr, VmEventReason.Cpuid, VmEventReason.SoftwareBreakpoint,
        VmEventReason.GuestRequest, VmEventReason.DescriptorAccess, VmEventReason.MemAccess,
    ];

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Every_event_of_the_demo_arrives_in_order_with_its_values(bool overSocket)
    {
        var demo = DemoGuest.Build(new DemoGuestOptions { Rounds = 2 });
        using var guest = new LabGuest(demo.Image, overSocket: overSocket);
        var recorder = new DemoMonitor(guest.Domain, demo);

        var events = recorder.Run(guest);

        var expected = demo.ExpectedEvents().Where(act => Reasons.Contains(act.Reason)).ToList();
        var seen = events.Where(e => e.Reason != VmEventReason.Singlestep).ToList();
        for (var n = 0; n < Math.Min(expected.Count, seen.Count); n++)
        {
            AssertIs(expected[n], seen[n], n);
        }

        Assert.Equal(expected.Count, seen.Count);
        Assert.Equal("introspect demo guest: done", guest.Console().TrimEnd().Split('\n')[^1]);
    }

    [Fact]
    public void Single_steps_go_through_the_marked_sequence_one_instruction_at_a_time()
    {
        var demo = DemoGuest.Build(new DemoGuestOptions { Rounds = 1 });
        using var guest = new LabGuest(demo.Image);

        var events = new DemoMonitor(guest.Domain, demo).Run(guest);

        var steps = events.Where(e => e.Reason == VmEventReason.Singlestep && !DemoMonitor.IsRearm(e)).Select(e => e.Registers.Rip);
        Assert.Equal(demo.StepAddresses.Skip(1), steps.TakeWhile(rip => demo.StepAddresses.Contains(rip)));
    }

    [Fact]
    public void Vmexits_come_before_the_events_that_they_cause()
    {
        var demo = DemoGuest.Build(new DemoGuestOptions { Rounds = 1 });
        using var guest = new LabGuest(demo.Image);

        var events = new DemoMonitor(guest.Domain, demo, vmexits: true).Run(guest);

        for (var n = 1; n < events.Count; n++)
        {
            if (events[n].Reason is VmEventReason.Cpuid or VmEventReason.WriteCtrlreg or VmEventReason.MovToMsr or VmEventReason.MemAccess)
            {
                Assert.Equal(VmEventReason.VmExit, events[n - 1].Reason);
                Assert.Equal(events[n].Registers.Rip, events[n - 1].Registers.Rip);
            }
        }

        // Every act that is intercepted gives exactly the exit that it should, in order.
        // The guest writes CR3 once a round with the value that it has: an exit, and nothing that a monitor is told.
        var exits = events.Where(e => e.Reason == VmEventReason.VmExit && !DemoMonitor.IsMonitorsOwn(e)).ToList();
        var expected = demo.ExpectedEvents().Select(act => act.VmxExitReason).ToList();
        var sameValue = exits.FindIndex(e => e.Registers.Rip == demo.Symbols["work"] + SameValueCr3Write);
        Assert.Equal((VmxExitReasons.ControlRegister, 3UL), ((uint)exits[sameValue].VmExit.ExitReason, exits[sameValue].VmExit.Qualification & 0xF));
        exits.RemoveAt(sameValue);
        Assert.Equal(expected, exits.Select(e => (uint)e.VmExit.ExitReason));
    }

    [Fact]
    public void A_denied_write_is_not_done_and_the_guest_sees_it()
    {
        var demo = DemoGuest.Build(new DemoGuestOptions { Rounds = 1 });
        using var guest = new LabGuest(demo.Image);

        new DemoMonitor(guest.Domain, demo) { DenyCr4Clears = true }.Run(guest);

        Assert.Contains("SMEP still set", guest.Console(), StringComparison.Ordinal);
        Assert.Contains("SMAP still set", guest.Console(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void The_demo_runs_to_its_end_without_a_monitor(CpuVendor vendor)
    {
        var demo = DemoGuest.Build(new DemoGuestOptions { Rounds = 3 });
        using var guest = new LabGuest(demo.Image, vendor);
        guest.Start();

        Assert.True(guest.WaitForEnd());
        Assert.Equal(DomainState.PowerOff, guest.Domain.GetInfo().State);
        Assert.Equal(demo.ExpectedConsole(), guest.Console());
    }

    private static void AssertIs(DemoAct act, in VmEvent seen, int n)
    {
        var where = $"event {n}, expected {act}";
        Assert.True(act.Reason == seen.Reason, $"{where}, but it is {seen.Reason} at 0x{seen.Registers.Rip:x}");
        Assert.True(act.Rip == seen.Registers.Rip, $"{where}, but RIP is 0x{seen.Registers.Rip:x}");
        switch (act.Reason)
        {
            case VmEventReason.WriteCtrlreg:
                Assert.Equal((act.ControlRegister, act.Old, act.New), (seen.WriteCtrlreg.Index, seen.WriteCtrlreg.OldValue, seen.WriteCtrlreg.NewValue));
                break;
            case VmEventReason.MovToMsr:
                Assert.Equal((act.Msr, act.Old, act.New), ((uint)seen.MovToMsr.Msr, seen.MovToMsr.OldValue, seen.MovToMsr.NewValue));
                break;
            case VmEventReason.Cpuid:
                Assert.Equal((act.Leaf, act.Subleaf, act.InsnLength), (seen.Cpuid.Leaf, seen.Cpuid.Subleaf, seen.Cpuid.InsnLength));
                break;
            case VmEventReason.SoftwareBreakpoint:
                Assert.Equal((act.Gfn.Value, act.InsnLength, (byte)6), (seen.Debug.Gfn, seen.Debug.InsnLength, seen.Debug.Type));
                break;
            case VmEventReason.DescriptorAccess:
                Assert.Equal((act.Descriptor, (byte)1), (seen.DescAccess.Descriptor, seen.DescAccess.IsWrite));
                break;
            case VmEventReason.MemAccess:
                Assert.Equal((act.Gfn.Value, act.Gla, act.Gla & 0xFFF), (seen.MemAccess.Gfn, seen.MemAccess.Gla, seen.MemAccess.Offset));
                Assert.Equal(act.Access, seen.MemAccess.Flags);
                break;
            default:
                break;
        }
    }
}
