using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>altp2m on guests that run: events of a view, the responses that change it, VMFUNC and #VE.</summary>
public sealed class AltP2mTests
{
    private const int InvalidOpcode = 6, VirtualizationException = 20;
    private const ulong VeInfo = LabMemory.Data + 0x1000 + 0x2000; // a page after the second top-level table
    private static readonly Gfn Watched = new(LabMemory.Watched >> 12);
    private static readonly Gfn Data = new(LabMemory.Data >> 12);

    [Fact]
    public void A_violation_in_a_view_tells_the_view_and_ends_when_the_response_leaves_it()
    {
        using var lab = Writer();
        var view = lab.Monitor.Views.Create();
        lab.Monitor.Views.SetAccess(view, Watched, MemoryAccess.R);
        lab.Monitor.Views.SwitchTo(view);
        var events = lab.Run((int _, in VmEvent _, ref VmEvent response) =>
        {
            response.Flags |= VmEventFlags.AlternateP2m;
            response.AltP2mIndex = 0;
        });
        var violation = Assert.Single(events);
        Assert.Equal(VmEventReason.MemAccess, violation.Reason);
        Assert.Equal((VmEventFlags.VcpuPaused | VmEventFlags.AlternateP2m, view.Value), (violation.Flags, violation.AltP2mIndex));
        Assert.Equal(LabMemory.Watched >> 12, violation.MemAccess.Gfn);
        Assert.Equal(2UL, lab.Read(LabMemory.Watched));
        Assert.Equal(ViewId.Host, lab.Monitor.Views.GetView(new(0)));
        Assert.Equal(MemoryAccess.Rwx, lab.Monitor.GetMemoryAccess(Watched));
    }

    [Fact]
    public void A_fast_step_does_one_instruction_in_one_view_and_goes_on_in_another_without_an_event()
    {
        using var lab = Writer();
        lab.Monitor.Enable(new MonitorEvent.SingleStep());
        var view = lab.Monitor.Views.Create();
        lab.Monitor.Views.SetAccess(view, Watched, MemoryAccess.R);
        lab.Monitor.Views.SwitchTo(view);
        var events = lab.Run((int _, in VmEvent _, ref VmEvent response) =>
        {
            response.Flags |= VmEventFlags.AlternateP2m | VmEventFlags.FastSinglestep;
            response.AltP2mIndex = 0;
            response.FastSinglestepView = view.Value;
        });
        Assert.Equal([VmEventReason.MemAccess, VmEventReason.MemAccess], events.Select(e => e.Reason));
        Assert.All(events, e => Assert.Equal(view.Value, e.AltP2mIndex));
        Assert.Equal(2UL, lab.Read(LabMemory.Watched));
        Assert.Equal(view, lab.Monitor.Views.GetView(new(0)));
    }

    [Fact]
    public void A_view_that_is_not_there_changes_nothing()
    {
        using var lab = Writer();
        lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.R);
        lab.Run((int _, in VmEvent _, ref VmEvent response) =>
        {
            response.Flags |= VmEventFlags.AlternateP2m | VmEventFlags.FastSinglestep;
            response.AltP2mIndex = 7;
            response.FastSinglestepView = 600;
            lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.Rwx);
        });
        Assert.Single(lab.Events);
        Assert.Equal(ViewId.Host, lab.Monitor.Views.GetView(new(0)));
    }

    [Fact]
    public void A_frame_that_leads_elsewhere_does_so_in_its_view_alone()
    {
        using var lab = new EventLab(code =>
        {
            code.mov(rbx, (long)LabMemory.Data);
            code.mov(rax, __qword_ptr[rbx]);
            code.inc(__qword_ptr[rbx]);
            code.hlt();
        });
        lab.Domain.Memory.WritePhysical(Data.Address, BitConverter.GetBytes(5L));
        lab.Domain.Memory.WritePhysical(Watched.Address, BitConverter.GetBytes(77L));
        var view = On(lab);
        lab.Monitor.Views.Remap(view, Data, Watched);
        lab.Monitor.Views.SwitchTo(view);
        lab.Run();
        Assert.Equal(77UL, lab.Gpr(0));
        Assert.Equal((5UL, 78UL), (lab.Read(LabMemory.Data), lab.Read(LabMemory.Watched)));
    }

    [Fact]
    public void A_restored_frame_leads_to_its_own_page()
    {
        using var lab = new EventLab(code =>
        {
            code.mov(rbx, (long)LabMemory.Data);
            code.mov(rax, __qword_ptr[rbx]);
            code.hlt();
        });
        lab.Domain.Memory.WritePhysical(Data.Address, BitConverter.GetBytes(5L));
        var view = On(lab);
        lab.Monitor.Views.Remap(view, Data, Watched);
        lab.Monitor.Views.Restore(view, Data);
        lab.Monitor.Views.SwitchTo(view);
        lab.Run();
        Assert.Equal(5UL, lab.Gpr(0));
    }

    [Fact]
    public void Rights_that_change_on_the_host_change_where_a_view_has_the_page_already()
    {
        using var lab = Writer();
        var view = lab.Monitor.Views.Create();
        var other = lab.Monitor.Views.Create();
        lab.Monitor.Views.SetAccess(view, Watched, MemoryAccess.Rx);
        lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.R);
        Assert.Equal(MemoryAccess.R, lab.Monitor.Views.GetAccess(view, Watched));
        Assert.Equal(Errno.ESRCH, Assert.Throws<HypervisorException>(() => lab.Monitor.Views.GetAccess(other, Watched)).Error);
    }

    [Fact]
    public void A_page_that_goes_resets_the_view_that_leads_to_it()
    {
        using var lab = Writer();
        var views = lab.Monitor.Views;
        var view = views.Create();
        views.SetAccess(view, Watched, MemoryAccess.R);
        views.Remap(view, Data, new(0x30));
        lab.Inside.Ram.TryDepopulate(lab.Inside.Physmap, 0x31);
        Assert.Equal(MemoryAccess.R, views.GetAccess(view, Watched));
        lab.Inside.Ram.TryDepopulate(lab.Inside.Physmap, 0x30);
        Assert.Equal(Errno.ESRCH, Assert.Throws<HypervisorException>(() => views.GetAccess(view, Watched)).Error);
    }

    [Fact]
    public void An_emulated_instruction_reads_and_writes_past_the_view()
    {
        using var lab = Writer();
        var view = lab.Monitor.Views.Create();
        lab.Monitor.Views.Remap(view, Watched, Data);
        lab.Monitor.Views.SetAccess(view, Watched, MemoryAccess.R);
        lab.Monitor.Views.SwitchTo(view);
        lab.Run((int _, in VmEvent _, ref VmEvent response) => response.Flags |= VmEventFlags.Emulate);
        Assert.Equal((2UL, 0UL), (lab.Read(LabMemory.Watched), lab.Read(LabMemory.Data)));
        Assert.Equal(2, lab.Events.Count);
    }

    [Fact]
    public void The_guest_switches_views_by_vmfunc_without_an_exit()
    {
        using var lab = Switcher();
        lab.Domain.Memory.WritePhysical(Watched.Address, BitConverter.GetBytes(77L));
        var view = On(lab, AltP2mUse.Mixed);
        lab.Monitor.Views.EnableNotify(new(0), new(VeInfo >> 12));
        lab.Monitor.Views.Remap(view, Data, Watched);
        lab.Monitor.Enable(new MonitorEvent.VmExit());
        lab.Run();
        Assert.Equal((77UL, 0UL), (lab.Gpr(0), lab.Taken(InvalidOpcode)));
        Assert.Equal(view, lab.Monitor.Views.GetView(new(0)));
        Assert.DoesNotContain(lab.Events, e => e.VmExit.ExitReason == 59);
    }

    [Fact]
    public void A_view_that_is_not_visible_is_an_exit_and_invalid_opcode_for_vmfunc()
    {
        using var lab = Switcher();
        var view = On(lab, AltP2mUse.Mixed);
        lab.Monitor.Views.EnableNotify(new(0), new(VeInfo >> 12));
        lab.Monitor.Views.SetVisible(view, false);
        lab.Monitor.Enable(new MonitorEvent.VmExit());
        lab.Run();
        Assert.Equal(1UL, lab.Taken(InvalidOpcode));
        Assert.Contains(lab.Events, e => e.VmExit.ExitReason == 59);
        Assert.Equal(Errno.EINVAL, Assert.Throws<HypervisorException>(() => lab.Monitor.Views.SwitchTo(view)).Error);
        Assert.Equal(ViewId.Host, lab.Monitor.Views.GetView(new(0)));
    }

    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void Without_views_there_is_no_vmfunc(CpuVendor vendor)
    {
        using var lab = Switcher(vendor);
        lab.Monitor.Enable(new MonitorEvent.VmExit());
        lab.Run();
        Assert.Equal((1UL, LabMemory.Code), (lab.Taken(InvalidOpcode), lab.TakenAt(InvalidOpcode) & ~0xFFFUL));
        Assert.DoesNotContain(lab.Events, e => e.VmExit.ExitReason == 59);
    }

    [Fact]
    public void A_violation_is_told_to_the_guest_where_it_is_not_suppressed()
    {
        using var lab = Writer();
        var view = lab.Monitor.Views.Create();
        lab.Monitor.Views.SetAccess(view, Watched, MemoryAccess.R);
        lab.Monitor.Views.SetSuppressVe(view, Watched, Watched, false);
        lab.Monitor.Views.EnableNotify(new(0), new(VeInfo >> 12));
        lab.Monitor.Views.SwitchTo(view);
        Assert.Empty(lab.Run());
        Assert.Equal(1UL, lab.Taken(VirtualizationException));
        Assert.Equal(48UL | (0xffffffffUL << 32), lab.Read(VeInfo));
        Assert.Equal(LabMemory.Watched, lab.Read(VeInfo + 16));
        Assert.Equal(LabMemory.Watched, lab.Read(VeInfo + 24));
        Assert.Equal(view.Value, (ushort)lab.Read(VeInfo + 32));

        // Write, of a page that could be read, with a linear address that is the access's own.
        Assert.Equal(0x18aUL, lab.Read(VeInfo + 8));
    }

    [Fact]
    public void A_guest_that_is_not_done_with_the_last_one_leaves_the_violation_to_the_monitor()
    {
        using var lab = Writer();
        lab.Domain.Memory.WritePhysical(new(VeInfo + 4), [1]);
        var view = lab.Monitor.Views.Create();
        lab.Monitor.Views.SetAccess(view, Watched, MemoryAccess.R);
        lab.Monitor.Views.SetSuppressVe(view, Watched, Watched, false);
        lab.Monitor.Views.EnableNotify(new(0), new(VeInfo >> 12));
        lab.Monitor.Views.SwitchTo(view);
        lab.Run((int _, in VmEvent _, ref VmEvent response) =>
        {
            response.Flags |= VmEventFlags.AlternateP2m;
            response.AltP2mIndex = 0;
        });
        Assert.Equal(VmEventReason.MemAccess, Assert.Single(lab.Events).Reason);
        Assert.Equal(0UL, lab.Taken(VirtualizationException));
    }

    [Fact]
    public void A_monitor_that_goes_takes_its_views_along()
    {
        using var lab = Writer();
        var view = lab.Monitor.Views.Create();
        lab.Monitor.Views.SetAccess(view, Watched, MemoryAccess.R);
        lab.Monitor.Views.SwitchTo(view);
        var request = lab.RunToEvent();
        Assert.Equal(VmEventReason.MemAccess, request.Reason);
        lab.Monitor.Dispose();
        lab.WaitForEnd();
        Assert.False(lab.Inside.AltP2m.IsActive);
        Assert.Equal(AltP2m.NoView, lab.Vcpu.View);
        Assert.Same(lab.Inside.Physmap, lab.Vcpu.P2m);
        Assert.Equal(2UL, lab.Read(LabMemory.Watched));
    }

    /// <summary>Writes twice to the watched page.</summary>
    private static EventLab Writer()
    {
        var lab = new EventLab(code =>
        {
            code.mov(rbx, (long)LabMemory.Watched);
            code.inc(__qword_ptr[rbx]);
            code.inc(__qword_ptr[rbx]);
            code.hlt();
        });
        lab.Monitor.Views.Allow(AltP2mUse.External);
        lab.Monitor.Views.SetActive(true);
        return lab;
    }

    /// <summary>Goes to view 1 and reads.</summary>
    private static EventLab Switcher(CpuVendor vendor = CpuVendor.Vmx) => new(
        code =>
        {
            code.xor(eax, eax);
            code.mov(ecx, 1);
            code.vmfunc();
            code.mov(rbx, (long)LabMemory.Data);
            code.mov(rax, __qword_ptr[rbx]);
            code.hlt();
        },
        vendor);

    private static ViewId On(EventLab lab, AltP2mUse use = AltP2mUse.External)
    {
        lab.Monitor.Views.Allow(use);
        lab.Monitor.Views.SetActive(true);
        return lab.Monitor.Views.Create();
    }
}
