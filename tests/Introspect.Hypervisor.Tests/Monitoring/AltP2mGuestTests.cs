using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>What a guest does with views itself, and what happens to its vCPU while views come and go.</summary>
public sealed class AltP2mGuestTests
{
    private const int InvalidOpcode = 6, VirtualizationException = 20;
    private const ulong HvmOpNumber = 34;
    private const ulong VeInfo = LabMemory.Data + 0x3000;

    // Where programs have their hypercalls' structures and results; a page each, so that neither crosses one.
    private const ulong Operations = 0x30000, Results = 0x31000, Gfns = 0x32000, Accesses = 0x33000;
    private static readonly Gfn Watched = new(LabMemory.Watched >> 12);
    private static readonly Gfn Data = new(LabMemory.Data >> 12);

    [Fact]
    public void A_guest_in_mixed_mode_makes_a_view_and_switches_to_it()
    {
        var create = new HvmAltP2mOp { Version = 1, Command = AltP2mCommand.CreateP2m, Domain = SpecialDomain.Self };
        create.View.DefaultAccess = (ushort)MemoryAccess.Default;
        var notify = new HvmAltP2mOp { Version = 1, Command = AltP2mCommand.VcpuEnableNotify, Domain = SpecialDomain.Self };
        notify.EnableNotify.Gfn = VeInfo >> 12;
        var change = new HvmAltP2mOp { Version = 1, Command = AltP2mCommand.ChangeGfn, Domain = SpecialDomain.Self };
        change.ChangeGfn.View = 1;
        change.ChangeGfn.OldGfn = Data.Value;
        change.ChangeGfn.NewGfn = Watched.Value;
        using var lab = Caller(
            [State(on: true), create, notify, change],
            code =>
            {
                code.xor(eax, eax);
                code.mov(ecx, 1);
                code.vmfunc();
                code.mov(rbx, (long)LabMemory.Data);
                code.mov(rax, __qword_ptr[rbx]);
            });
        lab.Monitor.Views.Allow(AltP2mUse.Mixed);
        lab.Domain.Memory.WritePhysical(Watched.Address, BitConverter.GetBytes(77L));
        lab.Run();
        Assert.Equal([0, 0, 0, 0], ResultsOf(lab, 4));
        Assert.Equal(1, MemoryMarshal.Read<HvmAltP2mOp>(Bytes(lab, Operations + 128, 80)).View.View);
        Assert.Equal((77UL, 1), (lab.Gpr(0), (int)lab.Vcpu.View));

        // Its own remapping lets violations become #VE.
        Assert.Equal(Errno.None, lab.Inside.AltP2m.GetSuppressVe(1, Data.Value, out var suppressed));
        Assert.False(suppressed);
    }

    // use | results of set_domain_state and of vcpu_enable_notify after the toolstack switched altp2m on
    [Theory]
    [InlineData(AltP2mUse.External, Errno.EPERM, Errno.EPERM)]
    [InlineData(AltP2mUse.Limited, Errno.EPERM, Errno.None)]
    [InlineData(AltP2mUse.Mixed, Errno.None, Errno.None)]
    public void What_a_guest_may_follows_the_mode(AltP2mUse use, Errno state, Errno notified)
    {
        var notify = new HvmAltP2mOp { Version = 1, Command = AltP2mCommand.VcpuEnableNotify, Domain = SpecialDomain.Self };
        notify.EnableNotify.Gfn = VeInfo >> 12;
        using var lab = Caller([State(on: true), notify]);
        lab.Monitor.Views.Allow(use);
        lab.Monitor.Views.SetActive(true);
        lab.Run();
        Assert.Equal([-(long)state, -(long)notified], ResultsOf(lab, 2));
    }

    [Fact]
    public void A_guest_switches_off_the_views_that_it_is_in()
    {
        var create = new HvmAltP2mOp { Version = 1, Command = AltP2mCommand.CreateP2m, Domain = SpecialDomain.Self };
        var change = new HvmAltP2mOp { Version = 1, Command = AltP2mCommand.SwitchP2m, Domain = SpecialDomain.Self };
        change.View.View = 1;
        var destroy = change with { Command = AltP2mCommand.DestroyP2m };
        using var lab = Caller([State(on: true), create, change, destroy, State(on: false), State(on: false)], code =>
        {
            code.mov(rbx, (long)LabMemory.Data);
            code.inc(__qword_ptr[rbx]);
        });
        lab.Monitor.Views.Allow(AltP2mUse.Mixed);
        lab.Run();
        Assert.Equal([0, 0, 0, -(long)Errno.EBUSY, 0, 0], ResultsOf(lab, 6));
        Assert.Equal(1UL, lab.Read(LabMemory.Data));
        Assert.False(lab.Inside.AltP2m.IsActive);
    }

    [Theory]
    [InlineData(1500u, 1500, Errno.None, 1024)]
    [InlineData(0xffff_ffffu, 2048, Errno.EFAULT, 2048)]
    public void A_guests_list_is_done_some_at_a_time_and_only_as_far_as_it_can_be_read(uint count, int there, Errno expected, int progress)
    {
        // Lists at the end of the guest's memory, so that what is behind them cannot be read.
        var lists = LabMemory.Bytes - ((ulong)there * 8);
        var access = new HvmAltP2mOp { Version = 1, Command = AltP2mCommand.SetMemAccessMulti, Domain = SpecialDomain.Self };
        access.SetMemAccessMulti.View = 1;
        access.SetMemAccessMulti.Nr = count;
        access.SetMemAccessMulti.PfnList = lists;
        access.SetMemAccessMulti.AccessList = Accesses;
        using var lab = Caller([access]);
        lab.Monitor.Views.Allow(AltP2mUse.Mixed);
        lab.Monitor.Views.SetActive(true);
        var view = lab.Monitor.Views.Create();
        var gfns = new ulong[there];
        for (var n = 0; n < there; n++)
        {
            gfns[n] = 0x100 + ((ulong)n % 0xC0);
        }

        gfns[^1] = 0x1F0;
        lab.Domain.Memory.WritePhysical(new(lists), MemoryMarshal.AsBytes(gfns.AsSpan()));
        lab.Domain.Memory.WritePhysical(new(Accesses), Enumerable.Repeat((byte)MemoryAccess.Rx, there).ToArray());
        lab.Run();
        Assert.Equal([-(long)expected], ResultsOf(lab, 1));
        Assert.Equal(MemoryAccess.Rx, lab.Monitor.Views.GetAccess(view, new(0x1F0)));

        // The one field that is written is how far the calls before the last one came.
        Assert.Equal((ulong)progress, lab.Read(Operations + 24));
    }

    [Fact]
    public void Vmfunc_needs_a_page_for_ve_first_and_outlives_it()
    {
        using var lab = new EventLab(code =>
        {
            code.xor(eax, eax);
            code.mov(ecx, 1);
            code.vmfunc();
            code.hlt();
        });
        On(lab);
        lab.Run();
        Assert.Equal((1UL, 0), (lab.Taken(InvalidOpcode), (int)lab.Vcpu.View));

        using var after = new EventLab(code =>
        {
            code.xor(eax, eax);
            code.mov(ecx, 1);
            code.vmfunc();
            code.hlt();
        });
        On(after);
        after.Monitor.Views.EnableNotify(new(0), new(VeInfo >> 12));
        after.Monitor.Views.DisableNotify(new(0));
        after.Run();
        Assert.Equal((0UL, 1), (after.Taken(InvalidOpcode), (int)after.Vcpu.View));
    }

    // EAX | ECX
    [Theory]
    [InlineData(1, 1)]
    [InlineData(64, 1)]
    [InlineData(0, 2)]
    [InlineData(0, 512)]
    [InlineData(0, 65537)]
    public void A_vmfunc_that_cannot_be_is_an_exit_and_invalid_opcode(int eaxValue, int ecxValue)
    {
        using var lab = new EventLab(code =>
        {
            code.mov(eax, eaxValue);
            code.mov(ecx, ecxValue);
            code.vmfunc();
            code.hlt();
        });
        On(lab);
        lab.Monitor.Views.EnableNotify(new(0), new(VeInfo >> 12));
        lab.Monitor.Enable(new MonitorEvent.VmExit());
        lab.Run();
        Assert.Equal((1UL, 0), (lab.Taken(InvalidOpcode), (int)lab.Vcpu.View));
        Assert.Contains(lab.Events, e => e.VmExit.ExitReason == 59);
    }

    [Fact]
    public void A_step_over_vmfunc_ends_behind_it()
    {
        using var lab = new EventLab(code =>
        {
            code.cpuid();
            code.xor(eax, eax);
            code.mov(ecx, 1);
            code.vmfunc();
            code.nop();
            code.hlt();
        });
        On(lab);
        lab.Monitor.Views.EnableNotify(new(0), new(VeInfo >> 12));
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        lab.Monitor.Enable(new MonitorEvent.SingleStep());
        var events = lab.Run((int _, in VmEvent request, ref VmEvent response) =>
        {
            if (request.Reason == VmEventReason.Cpuid)
            {
                response.Flags |= VmEventFlags.SetRegisters | VmEventFlags.ToggleSinglestep;
                response.Registers.Rip += request.Cpuid.InsnLength;
            }
        });
        var steps = events.Where(e => e.Reason == VmEventReason.Singlestep).Select(e => (e.Registers.Rip - LabMemory.Code, (int)e.AltP2mIndex)).Take(4);
        Assert.Equal([(4UL, 0), (9UL, 0), (12UL, 1), (13UL, 1)], steps);
    }

    [Fact]
    public void A_view_that_is_not_there_is_counted()
    {
        using var lab = Toucher();
        On(lab);
        lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.R);
        lab.Run((int _, in VmEvent _, ref VmEvent response) =>
        {
            response.Flags |= VmEventFlags.AlternateP2m;
            response.AltP2mIndex = 7;
            lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.Rwx);
        });
        Assert.Equal((1L, 0), (lab.Faults[AnswerFault.UnknownView], (int)lab.Vcpu.View));
    }

    [Fact]
    public void An_emulation_that_waits_is_done_though_its_view_went()
    {
        using var lab = Toucher();
        var view = On(lab);
        lab.Monitor.Views.SetAccess(view, Watched, MemoryAccess.R);
        lab.Monitor.Views.SwitchTo(view);
        var request = lab.RunToEvent();

        // The vCPU cannot run until the pause ends: the response is taken while the views are there, and done without them.
        lab.Domain.Pause();
        var response = EventLab.Echo(in request);
        response.Flags |= VmEventFlags.Emulate;
        lab.Respond(in response);
        Assert.True(SpinWait.SpinUntil(() => lab.Vcpu.VmEventPauseCount == 0, TimeSpan.FromSeconds(30)));
        lab.Monitor.Views.SetActive(false);
        lab.Domain.Unpause();
        lab.WaitForEnd();
        Assert.Equal(1UL, lab.Read(LabMemory.Watched));
        Assert.Null(lab.Vcpu.Failure);
    }

    [Fact]
    public void A_violation_in_the_delivery_of_an_event_is_no_ve()
    {
        using var lab = new EventLab(code =>
        {
            code.ud2();
            code.hlt();
        });
        var view = On(lab);
        var stack = new Gfn((LabMemory.StackTop >> 12) - 1);
        lab.Monitor.Views.SetAccess(view, stack, MemoryAccess.R);
        lab.Monitor.Views.SetSuppressVe(view, stack, stack, false);
        lab.Monitor.Views.EnableNotify(new(0), new(VeInfo >> 12));
        lab.Monitor.Views.SwitchTo(view);
        var events = lab.Run((int _, in VmEvent _, ref VmEvent response) =>
        {
            response.Flags |= VmEventFlags.AlternateP2m;
            response.AltP2mIndex = 0;
        });
        Assert.Equal(VmEventReason.MemAccess, Assert.Single(events).Reason);
        Assert.Equal((0UL, 1UL), (lab.Taken(VirtualizationException), lab.Taken(InvalidOpcode)));
    }

    [Fact]
    public void A_view_whose_pages_were_never_touched_serves_a_guest_from_its_first_instruction()
    {
        using var lab = Toucher();
        var view = On(lab);
        lab.Monitor.Views.SwitchTo(view);
        Assert.Empty(lab.Run());
        Assert.Equal(1UL, lab.Read(LabMemory.Watched));
        Assert.Equal(MemoryAccess.Rwx, lab.Monitor.Views.GetAccess(view, Watched));
    }

    [Fact]
    public void A_page_that_may_not_be_run_in_a_view_is_told_and_stepped_through()
    {
        using var lab = Toucher();
        lab.Monitor.Enable(new MonitorEvent.SingleStep());
        var view = On(lab);
        lab.Monitor.Views.SetAccess(view, new(LabMemory.Code >> 12), MemoryAccess.Rw);
        lab.Monitor.Views.SwitchTo(view);
        var events = lab.Run((int _, in VmEvent _, ref VmEvent response) =>
        {
            response.Flags |= VmEventFlags.AlternateP2m | VmEventFlags.FastSinglestep;
            response.AltP2mIndex = 0;
            response.FastSinglestepView = view.Value;
        });

        // Every instruction of the page, and no step is told.
        Assert.Equal([0UL, 10UL, 13UL], events.Select(e => e.Registers.Rip - LabMemory.Code));
        Assert.All(events, e => Assert.Equal(
            (VmEventReason.MemAccess, MemAccessFlags.Execute, view.Value),
            (e.Reason, e.MemAccess.Flags & (MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute), e.AltP2mIndex)));
        Assert.Equal(1UL, lab.Read(LabMemory.Watched));
    }

    private static EventLab Toucher() => new(code =>
    {
        code.mov(rbx, (long)LabMemory.Watched);
        code.inc(__qword_ptr[rbx]);
        code.hlt();
    });

    private static ViewId On(EventLab lab)
    {
        lab.Monitor.Views.Allow(AltP2mUse.External);
        lab.Monitor.Views.SetActive(true);
        return lab.Monitor.Views.Create();
    }

    private static HvmAltP2mOp State(bool on) =>
        new() { Version = 1, Command = AltP2mCommand.SetDomainState, Domain = SpecialDomain.Self, DomainState = on ? (byte)1 : (byte)0 };

    /// <summary>Makes the operations one after the other, keeps what they give, and does what comes after.</summary>
    private static EventLab Caller(HvmAltP2mOp[] operations, Action<Iced.Intel.Assembler>? afterwards = null)
    {
        var lab = new EventLab(code =>
        {
            for (var n = 0; n < operations.Length; n++)
            {
                code.mov(eax, (int)HvmOpNumber);
                code.mov(edi, (int)HvmOp.AltP2m);
                code.mov(esi, (int)Operations + (n * 128));
                code.vmcall();
                code.mov(rbx, (long)Results + (n * 8));
                code.mov(__qword_ptr[rbx], rax);
            }

            afterwards?.Invoke(code);
            code.hlt();
        });
        for (var n = 0; n < operations.Length; n++)
        {
            lab.Domain.Memory.WritePhysical(new(Operations + ((ulong)n * 128)), MemoryMarshal.AsBytes(operations.AsSpan(n, 1)));
        }

        return lab;
    }

    private static byte[] Bytes(EventLab lab, ulong address, int count)
    {
        var bytes = new byte[count];
        lab.Domain.Memory.ReadPhysical(new(address), bytes);
        return bytes;
    }

    private static long[] ResultsOf(EventLab lab, int count) => MemoryMarshal.Cast<byte, long>(Bytes(lab, Results, count * 8)).ToArray();
}
