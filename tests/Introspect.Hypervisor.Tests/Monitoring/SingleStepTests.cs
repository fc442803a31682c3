using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>SINGLESTEP: what the monitor trap flag steps over, and where.</summary>
public sealed class SingleStepTests
{
    private const uint TrapFlag = 1 << 8;

    [Fact]
    public void Each_instruction_is_one_step_and_the_event_is_at_the_next()
    {
        var steps = Step(code =>
        {
            code.nop();
            code.mov(eax, 1);
            code.add(eax, 2);
        });
        Assert.Equal([1UL, 6, 11], steps.Take(3).Select(static e => e.Registers.Rip - Begin));
        Assert.All(steps, static e => Assert.Equal((e.Registers.Rip >> 12, VmEventFlags.VcpuPaused), (e.SinglestepGfn, e.Flags)));
    }

    [Fact]
    public void Rep_is_one_event_an_iteration()
    {
        var steps = Step(code =>
        {
            code.mov(ecx, 3);
            code.mov(edi, (int)LabMemory.Data);
            code.rep.stosb();
            code.nop();
        });

        // After two moves: three iterations, of which the last leaves the instruction.
        Assert.Equal([2UL, 1, 0], steps.Skip(2).Take(3).Select(static e => e.Registers.Rcx));
        Assert.Equal([10UL, 10, 12], steps.Skip(2).Take(3).Select(static e => e.Registers.Rip - Begin));
    }

    [Fact]
    public void A_fault_is_one_step_that_ends_at_the_handlers_first_instruction()
    {
        var steps = Step(code =>
        {
            code.nop();
            code.ud2();
        });
        Assert.Equal(HandlerOf(6), steps[1].Registers.Rip);
    }

    [Theory]
    [InlineData(3, false)]
    [InlineData(3, true)]
    [InlineData(0x40, false)]
    public void A_software_interrupt_is_one_too(int vector, bool oneByte)
    {
        var steps = Step(code =>
        {
            if (oneByte)
            {
                code.int3();
            }
            else
            {
                code.db(0xCD, (byte)vector);
            }

            code.nop();
        });
        Assert.Equal(HandlerOf(vector), steps[0].Registers.Rip);
    }

    [Fact]
    public void An_injected_event_is_delivered_before_the_step_ends()
    {
        using var lab = new EventLab(Trigger(code => code.nop()));
        lab.Monitor.Enable(new MonitorEvent.SingleStep());
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        var injected = false;
        lab.Run((int _, in VmEvent request, ref VmEvent response) =>
        {
            Toggle(in request, ref response);
            if (request.Reason == VmEventReason.Cpuid && !injected)
            {
                injected = true;
                lab.Domain.InjectTrap(new VcpuId(0), new TrapInjection(0x40, 0, 0, TrapInjection.NoErrorCode, 0));
            }
        });
        Assert.Equal(HandlerOf(0x40), lab.Events[1].Registers.Rip);
        Assert.Equal(Begin, lab.TakenAt(0x40));
    }

    [Fact]
    public void A_load_of_ss_is_stepped_and_its_shadow_goes_on_to_the_next()
    {
        using var lab = new EventLab(Trigger(code =>
        {
            code.mov(eax, LabMemory.KernelData);
            code.mov(ss, eax);
            code.nop();
        }));
        var shadows = new List<CpuShadow>();
        lab.Monitor.Enable(new MonitorEvent.SingleStep());
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        lab.Run((int _, in VmEvent request, ref VmEvent response) =>
        {
            Toggle(in request, ref response);
            lab.Vcpu.WaitUntilStopped();
            shadows.Add(lab.Registers.Shadow);
        });
        Assert.Equal([CpuShadow.None, CpuShadow.None, CpuShadow.MovSs, CpuShadow.None], shadows.Take(4));
        Assert.Equal([5UL, 7, 8], lab.Events.Skip(1).Take(3).Select(static e => e.Registers.Rip - Begin));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_monitor_trap_comes_before_the_trap_flags_exception(bool debugMonitored)
    {
        using var lab = new EventLab(Trigger(code =>
        {
            code.nop();
            code.ud2(); // ends the guest, and is not stepped
        }));
        lab.Monitor.Enable(new MonitorEvent.SingleStep());
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        if (debugMonitored)
        {
            lab.Monitor.Enable(new MonitorEvent.DebugException());
        }

        var dr6 = 0UL;
        lab.Run((int number, in VmEvent request, ref VmEvent response) =>
        {
            Toggle(in request, ref response);
            if (request.Reason == VmEventReason.Cpuid && number == 0)
            {
                response.Registers.Rflags |= TrapFlag;
            }

            if (number == 4)
            {
                response.Flags |= VmEventFlags.ToggleSinglestep; // that was enough
            }

            if (request.Reason == VmEventReason.DebugException)
            {
                // Swallowed, and the stepping with it.
                dr6 = lab.Domain.ReadVcpu(new(0)).Dr6;
                response.Flags |= VmEventFlags.SetRegisters;
                response.Registers.Rflags &= ~(ulong)TrapFlag;
            }
        });
        Assert.Equal((VmEventReason.Singlestep, Begin + 1), (lab.Events[1].Reason, lab.Events[1].Registers.Rip));
        if (debugMonitored)
        {
            // The trap was due; it comes as an event at the same place, before another instruction.
            Assert.Equal((VmEventReason.DebugException, Begin + 1), (lab.Events[2].Reason, lab.Events[2].Registers.Rip));
            Assert.Equal(0x4000UL, dr6 & 0x4000);
            Assert.Equal(0UL, lab.Taken(1));
        }
        else
        {
            // It is delivered, which is a step of its own.
            Assert.Equal((VmEventReason.Singlestep, HandlerOf(1)), (lab.Events[2].Reason, lab.Events[2].Registers.Rip));
            Assert.Equal(Begin + 1, lab.TakenAt(1));
        }
    }

    [Fact]
    public void An_instruction_that_leaves_the_guest_is_no_step_of_its_own()
    {
        // The handler moves RIP on; the trap comes after the next instruction, as on Xen.
        var steps = Step(code =>
        {
            code.nop();
            code.xor(ecx, ecx);
            code.rdmsr();
            code.nop();
            code.nop();
        });
        Assert.Equal([1UL, 3], steps.Take(2).Select(static e => e.Registers.Rip - Begin));
        Assert.True(steps[2].Registers.Rip - Begin is 6);
    }

    [Fact]
    public void Hlt_ends_in_a_wait_and_the_step_comes_after_what_wakes_the_vcpu()
    {
        using var lab = new EventLab(Trigger(code =>
        {
            code.sti();
            code.hlt();
            code.nop();
            code.cli();
        }));
        lab.Monitor.Enable(new MonitorEvent.SingleStep());
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        lab.Run((int number, in VmEvent request, ref VmEvent response) =>
        {
            Toggle(in request, ref response);
            if (number == 1)
            {
                Assert.Equal(Begin + 1, request.Registers.Rip); // behind STI, before HLT
                ThreadPool.QueueUserWorkItem(_ =>
                {
                    SpinWait.SpinUntil(() => (lab.Vcpu.Flags & Core.Domains.VcpuPauseFlags.Blocked) != 0, TimeSpan.FromSeconds(30));
                    lab.Domain.InjectTrap(new VcpuId(0), new TrapInjection(0x40, 0, 0, TrapInjection.NoErrorCode, 0));
                });
            }
        });
        Assert.Equal(HandlerOf(0x40), lab.Events[2].Registers.Rip);
        Assert.Equal(Begin + 2, lab.TakenAt(0x40));
    }

    [Fact]
    public void Stepping_ends_with_the_same_flag_and_without_a_listener_it_is_silent()
    {
        using var lab = new EventLab(Trigger(code =>
        {
            for (var n = 0; n < 20; n++)
            {
                code.nop();
            }
        }));
        lab.Monitor.Enable(new MonitorEvent.SingleStep());
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        lab.Run((int number, in VmEvent request, ref VmEvent response) =>
        {
            Toggle(in request, ref response);
            if (number == 3)
            {
                response.Flags |= VmEventFlags.ToggleSinglestep;
            }
        });
        Assert.Equal(3, lab.Events.Count(static e => e.Reason == VmEventReason.Singlestep));
    }

    [Fact]
    public void A_second_toggle_before_the_first_step_undoes_the_first()
    {
        using var lab = new EventLab(code =>
        {
            code.xor(eax, eax);
            code.cpuid();
            code.cpuid();
            code.hlt();
        });
        lab.Monitor.Enable(new MonitorEvent.SingleStep());
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        lab.Run(OnCpuid);
        Assert.All(lab.Events, static e => Assert.Equal(VmEventReason.Cpuid, e.Reason));
    }

    [Fact]
    public void The_processors_of_amd_have_no_monitor_trap_and_the_flag_is_ignored_and_counted()
    {
        using var lab = new EventLab(Trigger(code => code.nop()), CpuVendor.Svm);
        Assert.Equal(Errno.EOPNOTSUPP, Assert.Throws<HypervisorException>(() => lab.Monitor.Enable(new MonitorEvent.SingleStep())).Error);
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        lab.Run(OnCpuid);
        Assert.Single(lab.Events);
        Assert.Equal(1, lab.Faults[AnswerFault.MeaninglessFlags]);
    }

    private const ulong Begin = LabMemory.Code + 4;

    private static void OnCpuid(int number, in VmEvent request, ref VmEvent response) => Toggle(in request, ref response);

    /// <summary>CPUID begins the stepping.</summary>
    private static void Toggle(in VmEvent request, ref VmEvent response)
    {
        if (request.Reason == VmEventReason.Cpuid)
        {
            response.Flags |= VmEventFlags.ToggleSinglestep | VmEventFlags.SetRegisters;
            response.Registers.Rip += request.Cpuid.InsnLength;
        }
    }

    private static Action<Assembler> Trigger(Action<Assembler> stepped) => code =>
    {
        code.xor(eax, eax);
        code.cpuid();
        stepped(code);
        code.hlt();
    };

    private static List<VmEvent> Step(Action<Assembler> stepped)
    {
        using var lab = new EventLab(Trigger(stepped));
        lab.Monitor.Enable(new MonitorEvent.SingleStep());
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        lab.Run(OnCpuid);
        Assert.All(lab.Events.Skip(1), static e => Assert.Equal(VmEventReason.Singlestep, e.Reason));
        return lab.Events[1..];
    }

    private static ulong HandlerOf(int vector) => LabMemory.HandlerOf(vector);
}
