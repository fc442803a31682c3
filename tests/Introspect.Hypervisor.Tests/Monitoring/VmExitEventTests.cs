using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>VMEXIT: every exit in the vendor's numbers, before it is handled or in place of it.</summary>
public sealed class VmExitEventTests
{
    private static readonly Answer Bare = static (int _, in VmEvent _, ref VmEvent _) => { };

    [Fact]
    public void An_async_event_comes_for_each_exit_with_intels_numbers()
    {
        using var lab = new EventLab(Exits);
        lab.Monitor.Enable(new MonitorEvent.VmExit());
        var events = lab.Run();
        Assert.All(events, static e => Assert.Equal((VmEventReason.VmExit, VmEventFlags.None), (e.Reason, e.Flags)));

        // cpuid; mov cr0, rsi; in al, dx; wrmsr; rdmsr; invd; vmcall; hlt
        Assert.Equal(
            [(10UL, 0UL), (28, 0x600), (30, 0x00800008), (32, 0), (31, 0), (13, 0), (18, 0), (12, 0)],
            events.Select(static e => (e.VmExitVmx.Reason, e.VmExitVmx.Qualification)));
        Assert.All(events, static e => Assert.Equal((e.VmExit.ExitReason, e.VmExit.Qualification), (e.VmExitVmx.Reason, e.VmExitVmx.Qualification)));
        Assert.All(events, static e => Assert.Equal(0UL, e.VmExitSvm.ExitInfo2));
    }

    [Fact]
    public void An_svm_domain_sends_them_with_amds_numbers()
    {
        using var lab = new EventLab(ExitsOfSvm, CpuVendor.Svm);
        lab.Monitor.Enable(new MonitorEvent.VmExit());
        var events = lab.Run();
        var afterIn = events[2].Registers.Rip + 1;

        Assert.Equal(
            [
                (0x72UL, 0UL, 0UL), (0x10, (1UL << 63) | 6, 0), (0x7b, 0x00800211, afterIn), (0x7c, 1, 0), (0x7c, 0, 0), (0x76, 0, 0),
                (0x81, 0, 0), (0x78, 0, 0),
            ],
            events.Select(static e => (e.VmExitSvm.ExitCode, e.VmExitSvm.ExitInfo1, e.VmExitSvm.ExitInfo2)));
    }

    [Theory]
    [InlineData(CpuVendor.Vmx, 10)]
    [InlineData(CpuVendor.Svm, 0x72)]
    public void An_async_event_precedes_the_handler_and_the_specific_event(CpuVendor vendor, ulong cpuid)
    {
        using var lab = new EventLab(Cpuid, vendor);
        lab.Monitor.Enable(new MonitorEvent.VmExit());
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        var events = lab.Run(MoveOn);
        Assert.Equal([VmEventReason.VmExit, VmEventReason.Cpuid, VmEventReason.VmExit], events.Select(static e => e.Reason));
        Assert.Equal(cpuid, events[0].VmExit.ExitReason);

        // Leaf 0 is still in the register at the first, and the result is at the second.
        Assert.Equal(0UL, events[0].Registers.Rax);
        Assert.NotEqual(0UL, events[1].Registers.Rax);
        Assert.Equal(events[0].Registers.Rip, events[1].Registers.Rip);
    }

    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void A_sync_event_is_the_last_thing_that_happens(CpuVendor vendor)
    {
        using var lab = new EventLab(Cpuid, vendor);
        lab.Monitor.Enable(new MonitorEvent.VmExit(Sync: true));
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        var events = lab.Run((int number, in VmEvent request, ref VmEvent response) =>
        {
            // Nothing was done: a bare response brings the same exit, and no event of its own.
            if (number == 2)
            {
                lab.Monitor.Disable(new MonitorEvent.VmExit());
                lab.Monitor.Disable(new MonitorEvent.Cpuid());
            }
        });
        Assert.Equal(3, events.Count);
        Assert.All(events, e => Assert.Equal((VmEventReason.VmExit, VmEventFlags.VcpuPaused, 0UL), (e.Reason, e.Flags, e.Registers.Rax)));
        Assert.Single(events.Select(static e => (e.Registers.Rip, e.VmExit.ExitReason)).Distinct());
    }

    [Fact]
    public void A_sync_event_of_a_register_write_leaves_the_register()
    {
        using var lab = new EventLab(code =>
        {
            code.mov(rsi, cr0);
            code.xor(rsi, 0x10000);
            code.mov(cr0, rsi);
            code.hlt();
        });
        lab.Monitor.Enable(new MonitorEvent.VmExit(Sync: true));
        lab.Run((int number, in VmEvent request, ref VmEvent response) =>
        {
            if (request.VmExit.ExitReason == 28)
            {
                response.Flags |= VmEventFlags.SetRegisters;
                response.Registers.Rip += 3;
            }
            else
            {
                lab.Monitor.Disable(new MonitorEvent.VmExit());
            }
        });
        Assert.Equal(0x80050033UL, lab.Registers.Cr0);
    }

    [Fact]
    public void What_only_the_host_causes_is_no_exit()
    {
        using var lab = new EventLab(Spin);
        lab.Monitor.Enable(new MonitorEvent.VmExit(Sync: true));
        lab.Start();

        // A kick is a host's interrupt: handled before anybody could be asked.
        for (var i = 0; i < 10; i++)
        {
            lab.Inside.Pause();
            lab.Inside.Unpause();
        }

        lab.Domain.Memory.WritePhysical(new GuestPhysical(LabMemory.Data), [1]);
        var last = lab.RunToEvent();
        Assert.Equal(12UL, last.VmExit.ExitReason);
        lab.Monitor.Disable(new MonitorEvent.VmExit());
        lab.Respond(EventLab.Echo(in last));
        lab.Run();
    }

    [Fact]
    public void A_state_that_is_there_already_is_EEXIST_and_another_kind_needs_a_disable_first()
    {
        using var lab = new EventLab(Cpuid);
        var sync = new DomctlMonitorOp { VmExitSync = 1 };
        Assert.Equal(Errno.EEXIST, lab.Operate(MonitorOperation.Disable, MonitorEventKind.VmExit));
        Assert.Equal(Errno.None, lab.Operate(MonitorOperation.Enable, MonitorEventKind.VmExit));
        Assert.Equal(Errno.EEXIST, lab.Operate(MonitorOperation.Enable, MonitorEventKind.VmExit, sync));
        Assert.False(lab.Inside.Monitor.VmExitSync);
        Assert.Equal(Errno.None, lab.Operate(MonitorOperation.Disable, MonitorEventKind.VmExit));
        Assert.Equal(Errno.None, lab.Operate(MonitorOperation.Enable, MonitorEventKind.VmExit, sync));
        Assert.True(lab.Inside.Monitor.VmExitSync);
        Assert.Equal(Errno.None, lab.Operate(MonitorOperation.Disable, MonitorEventKind.VmExit));
    }

    [Fact]
    public void Requests_of_the_old_kind_are_delivered_can_be_answered_and_are_counted_as_stale()
    {
        using var lab = new EventLab(Exits);
        lab.Monitor.Enable(new MonitorEvent.VmExit());
        lab.Start();
        lab.WaitForEnd(); // 8 exits fill the ring

        lab.Monitor.Disable(new MonitorEvent.VmExit());
        lab.Monitor.Enable(new MonitorEvent.VmExit(Sync: true));
        var delivered = 0;
        while (lab.Monitor.TryTake(out var request))
        {
            Assert.Equal(VmEventReason.VmExit, request.Reason);
            delivered++;
            lab.Respond(EventLab.Echo(in request));
        }

        Assert.Equal(8, delivered);
        Assert.Equal(8, lab.Faults[AnswerFault.Stale]);
        Assert.Equal(8, lab.Faults.Total);
        Assert.Equal(8, lab.Inside.MonitorRing!.Available);
    }

    [Fact]
    public void A_sync_request_of_before_a_change_lets_its_vcpu_go_on()
    {
        using var lab = new EventLab(Cpuid);
        lab.Monitor.Enable(new MonitorEvent.VmExit(Sync: true));
        var request = lab.RunToEvent();
        lab.Monitor.Disable(new MonitorEvent.VmExit());
        lab.Monitor.Enable(new MonitorEvent.VmExit(Sync: false));
        lab.Respond(EventLab.Echo(in request));
        lab.Run(Bare);
        Assert.Equal(1, lab.Faults[AnswerFault.Stale]);
        Assert.All(lab.Events.Skip(1), static e => Assert.Equal(VmEventFlags.None, e.Flags));
    }

    [Fact]
    public void Strictness_refuses_a_change_while_requests_are_unanswered_with_EBUSY()
    {
        using var lab = new EventLab(Cpuid);
        lab.Monitor.Enable(new MonitorEvent.VmExit(Sync: true, Strict: true));
        lab.Start();
        Assert.True(SpinWait.SpinUntil(() => lab.Monitor.UnconsumedRequests > 0, TimeSpan.FromSeconds(30)));

        // In the ring, and then in the monitor's hands.
        var refused = Assert.Throws<HypervisorException>(() => lab.Monitor.Disable(new MonitorEvent.VmExit(Strict: true)));
        Assert.Equal(Errno.EBUSY, refused.Error);
        Assert.Contains("1 vmexit events", refused.Message, StringComparison.Ordinal);
        var request = lab.RunToEvent();
        Assert.Equal(Errno.EBUSY, Assert.Throws<HypervisorException>(() => lab.Monitor.Disable(new MonitorEvent.VmExit(Strict: true))).Error);
        Assert.True(lab.Inside.Monitor.VmExit);
        Assert.Equal(0, lab.Inside.ControllerPauseCount);

        lab.Inside.Pause();
        lab.Respond(EventLab.Echo(in request));
        lab.Monitor.Disable(new MonitorEvent.VmExit(Strict: true));
        lab.Inside.Unpause();
        lab.Run(Bare);
        Assert.Equal(0, lab.Faults.Total);
    }

    [Fact]
    public void The_view_in_the_event_is_the_current_one()
    {
        using var lab = new EventLab(code =>
        {
            code.cpuid();
            code.cpuid();
            code.hlt();
        });
        lab.Monitor.Views.Allow(AltP2mUse.External);
        lab.Monitor.Views.SetActive(true);
        var view = lab.Monitor.Views.Create();
        lab.Monitor.Enable(new MonitorEvent.VmExit());
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        lab.Run((int number, in VmEvent request, ref VmEvent response) =>
        {
            MoveOn(number, in request, ref response);
            if (request.Reason == VmEventReason.Cpuid)
            {
                response.Flags |= VmEventFlags.AlternateP2m;
                response.AltP2mIndex = view.Value;
            }
        });
        Assert.All(lab.Events, static e => Assert.Equal(VmEventFlags.AlternateP2m, e.Flags & VmEventFlags.AlternateP2m));

        // Views are filled as they are met, which are exits, too.
        var cpuids = lab.Events.Where(static e => e.Reason == VmEventReason.Cpuid || e.VmExit.ExitReason == 10);
        Assert.Equal([0, 0, view.Value, view.Value], cpuids.Select(static e => e.AltP2mIndex));
        Assert.Equal(view.Value, lab.Events[^1].AltP2mIndex);
        Assert.Equal(0, lab.Faults.Total);
    }

    [Fact]
    public void An_emulated_instruction_is_no_exit()
    {
        // The store to the watched page is one; its emulation, with all that it does, is none.
        using var lab = new EventLab(code =>
        {
            code.mov(rbx, (long)LabMemory.Watched);
            code.mov(__qword_ptr[rbx], 7);
            code.hlt();
        });
        lab.Monitor.SetMemoryAccess(new GuestPhysical(LabMemory.Watched).Gfn, 1, MemoryAccess.R);
        lab.Monitor.Enable(new MonitorEvent.VmExit());
        lab.Run((int _, in VmEvent request, ref VmEvent response) =>
        {
            if (request.Reason == VmEventReason.MemAccess)
            {
                response.Flags |= VmEventFlags.Emulate;
            }
        });
        Assert.Equal([48UL, 0, 12], lab.Events.Select(static e => e.Reason == VmEventReason.VmExit ? e.VmExit.ExitReason : 0));
        Assert.Equal(7UL, lab.Read(LabMemory.Watched));
    }

    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void The_other_vendors_hypercall_is_no_exit_but_an_invalid_opcode(CpuVendor vendor)
    {
        using var lab = new EventLab(
            code =>
            {
                if (vendor == CpuVendor.Vmx)
                {
                    code.vmmcall();
                }
                else
                {
                    code.vmcall();
                }

                code.hlt();
            },
            vendor);
        lab.Monitor.Enable(new MonitorEvent.VmExit());
        Assert.Equal(vendor == CpuVendor.Vmx ? 12UL : 0x78, Assert.Single(lab.Run()).VmExit.ExitReason); // the handler's HLT
        Assert.Equal(1UL, lab.Taken(6));
    }

    private static void MoveOn(int number, in VmEvent request, ref VmEvent response)
    {
        if (request.Reason == VmEventReason.Cpuid)
        {
            response.Flags |= VmEventFlags.SetRegisters;
            response.Registers.Rip += request.Cpuid.InsnLength;
        }
    }

    private static void Cpuid(Assembler code)
    {
        code.xor(eax, eax);
        code.cpuid();
        code.hlt();
    }

    private static void Spin(Assembler code)
    {
        var loop = code.CreateLabel();
        code.Label(ref loop);
        code.cmp(__qword_ptr[(long)LabMemory.Data], 0);
        code.je(loop);
        code.hlt();
    }

    private static void Exits(Assembler code) => Exits(code, code.vmcall);

    private static void ExitsOfSvm(Assembler code) => Exits(code, code.vmmcall);

    private static void Exits(Assembler code, Action hypercall)
    {
        code.xor(eax, eax);
        code.cpuid();
        code.mov(rsi, cr0);
        code.xor(rsi, 0x10000);
        code.mov(cr0, rsi);
        code.mov(edx, 0x80);
        code.@in(al, dx);
        code.mov(ecx, 0xC0000082);
        code.xor(eax, eax);
        code.xor(edx, edx);
        code.wrmsr();
        code.rdmsr();
        code.invd();

        // A hypercall that does not exist.
        code.mov(eax, 60);
        hypercall();
        code.hlt();
    }
}
