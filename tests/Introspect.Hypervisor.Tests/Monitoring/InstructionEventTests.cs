using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>Events of single instructions: MSR writes, breakpoints, #DB, CPUID, ports, guest requests.</summary>
public sealed class InstructionEventTests
{
    private const uint Lstar = 0xC0000082, Star = 0xC0000081, TrapFlag = 1 << 8;
    private const byte HardwareException = 3, PrivilegedSoftwareException = 5, SoftwareException = 6;

    [Theory]
    [InlineData(0x1FFFu, Errno.None)]
    [InlineData(0x2000u, Errno.EINVAL)]
    [InlineData(0x40000000u, Errno.None)]
    [InlineData(0x40001FFFu, Errno.None)]
    [InlineData(0x40002000u, Errno.EINVAL)]
    [InlineData(0xBFFFFFFFu, Errno.EINVAL)]
    [InlineData(0xC0000000u, Errno.None)]
    [InlineData(0xC0001FFFu, Errno.None)]
    [InlineData(0xC0002000u, Errno.EINVAL)]
    public void Msrs_are_in_three_ranges(uint msr, Errno expected)
    {
        using var lab = new EventLab(Halt);
        var arguments = new DomctlMonitorOp();
        arguments.MovToMsr.Msr = msr;
        Assert.Equal(Errno.EEXIST, lab.Operate(MonitorOperation.Disable, MonitorEventKind.MovToMsr, arguments));
        Assert.Equal(expected, lab.Operate(MonitorOperation.Enable, MonitorEventKind.MovToMsr, arguments));
        if (expected == Errno.None)
        {
            Assert.Equal(Errno.EEXIST, lab.Operate(MonitorOperation.Enable, MonitorEventKind.MovToMsr, arguments));
            Assert.Equal(Errno.None, lab.Operate(MonitorOperation.Disable, MonitorEventKind.MovToMsr, arguments));
        }
    }

    [Fact]
    public void Before_a_ring_there_is_no_map_of_msrs_and_after_it_none_either()
    {
        using var lab = new EventLab(Halt);
        lab.Monitor.Dispose();
        var arguments = new DomctlMonitorOp();
        arguments.MovToMsr.Msr = Lstar;
        Assert.Equal(Errno.ENXIO, lab.Operate(MonitorOperation.Enable, MonitorEventKind.MovToMsr, arguments));
    }

    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void A_write_of_a_monitored_msr_tells_old_and_new(CpuVendor vendor)
    {
        using var lab = new EventLab(WriteMsrs, vendor);
        lab.Monitor.Enable(new MonitorEvent.Msr(Lstar));
        lab.Run();
        Assert.Equal(
            [(Lstar, 0UL, 0x1_00001000UL), (Lstar, 0x1_00001000UL, 0x1_00001000UL)],
            lab.Events.Select(static e => ((uint)e.MovToMsr.Msr, e.MovToMsr.OldValue, e.MovToMsr.NewValue)));
        Assert.All(lab.Events, static e => Assert.Equal((VmEventReason.MovToMsr, VmEventFlags.VcpuPaused), (e.Reason, e.Flags)));
        Assert.Equal(0x1_00001000UL, lab.Registers.Lstar);
    }

    [Fact]
    public void Onchangeonly_is_each_msrs_own()
    {
        using var lab = new EventLab(WriteMsrs);
        lab.Monitor.Enable(new MonitorEvent.Msr(Lstar, OnChangeOnly: true));
        lab.Monitor.Enable(new MonitorEvent.Msr(Star));
        lab.Run();
        Assert.Equal([Lstar, Star, Star], lab.Events.Select(static e => (uint)e.MovToMsr.Msr));
    }

    [Fact]
    public void An_msr_that_cannot_be_read_gives_no_event()
    {
        using var lab = new EventLab(code =>
        {
            code.mov(ecx, 0x1FF0);
            code.wrmsr();
            code.hlt();
        });
        lab.Monitor.Enable(new MonitorEvent.Msr(0x1FF0));
        Assert.Empty(lab.Run());
        Assert.Equal((1UL, LabMemory.Code + 5), (lab.Taken(13), lab.TakenAt(13)));
    }

    public static TheoryData<byte[], uint, CpuVendor> Breakpoints => new()
    {
        { [0xCC], 1, CpuVendor.Vmx },
        { [0xCC], 1, CpuVendor.Svm },
        { [0xF3, 0xCC], 2, CpuVendor.Vmx },
        { [0x66, 0x2E, 0xCC], 3, CpuVendor.Svm },
        { [0x48, 0xCC], 2, CpuVendor.Vmx },
    };

    [Theory]
    [MemberData(nameof(Breakpoints))]
    public void A_breakpoint_tells_its_length_with_prefixes_and_is_reinjected_by_them(byte[] bytes, uint length, CpuVendor vendor)
    {
        using var lab = new EventLab(
            code =>
            {
                code.nop();
                code.db(bytes);
                code.hlt();
            },
            vendor);
        lab.Monitor.Enable(new MonitorEvent.SoftwareBreakpoint());
        lab.Run((int _, in VmEvent request, ref VmEvent _) =>
        {
            Assert.Equal(LabMemory.Code + 1, request.Registers.Rip);
            Assert.Equal((length, SoftwareException, LabMemory.Code >> 12, 0UL), (request.Debug.InsnLength, request.Debug.Type, request.Debug.Gfn, request.Debug.PendingDbg));
            lab.Domain.InjectTrap(new VcpuId(0), TrapInjection.Breakpoint((byte)request.Debug.InsnLength));
        });
        Assert.Equal(VmEventReason.SoftwareBreakpoint, Assert.Single(lab.Events).Reason);
        Assert.Equal((1UL, LabMemory.Code + 1 + length), (lab.Taken(3), lab.TakenAt(3)));
    }

    [Fact]
    public void Int_3_of_two_bytes_is_an_interrupt_and_no_breakpoint()
    {
        using var lab = new EventLab(code =>
        {
            code.db(0xCD, 3);
            code.hlt();
        });
        lab.Monitor.Enable(new MonitorEvent.SoftwareBreakpoint());
        Assert.Empty(lab.Run());
        Assert.Equal((1UL, LabMemory.Code + 2), (lab.Taken(3), lab.TakenAt(3)));
    }

    [Fact]
    public void Int_1_of_two_bytes_is_no_debug_exception()
    {
        using var lab = new EventLab(code =>
        {
            code.db(0xCD, 1);
            code.hlt();
        });
        lab.Monitor.Enable(new MonitorEvent.DebugException());
        Assert.Empty(lab.Run());
        Assert.Equal((1UL, LabMemory.Code + 2), (lab.Taken(1), lab.TakenAt(1)));
    }

    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void Icebp_is_a_debug_exception_of_its_own_type_and_without_conditions(CpuVendor vendor)
    {
        using var lab = new EventLab(
            code =>
            {
                code.db(0xF1);
                code.hlt();
            },
            vendor);
        lab.Monitor.Enable(new MonitorEvent.DebugException());
        lab.Monitor.Enable(new MonitorEvent.SoftwareBreakpoint());
        lab.Run((int _, in VmEvent request, ref VmEvent _) =>
            lab.Domain.InjectTrap(new VcpuId(0), new TrapInjection(1, request.Debug.Type, (byte)request.Debug.InsnLength, TrapInjection.NoErrorCode, 0)));
        var e = Assert.Single(lab.Events);
        Assert.Equal((VmEventReason.DebugException, PrivilegedSoftwareException, 1u, 0UL), (e.Reason, e.Debug.Type, e.Debug.InsnLength, e.Debug.PendingDbg));
        Assert.Equal((1UL, LabMemory.Code + 1), (lab.Taken(1), lab.TakenAt(1)));
    }

    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void A_step_of_the_trap_flag_tells_its_condition_and_dr6_has_it_already_but_not_in_the_event(CpuVendor vendor)
    {
        using var lab = new EventLab(TrapOnce, vendor);
        lab.Monitor.Enable(new MonitorEvent.DebugException());
        var dr6 = 0UL;
        lab.Run((int _, in VmEvent request, ref VmEvent response) =>
        {
            dr6 = lab.Domain.ReadVcpu(new(0)).Dr6;
            response.Flags |= VmEventFlags.SetRegisters;
            response.Registers.Rflags &= ~(ulong)TrapFlag;
        });
        var e = Assert.Single(lab.Events);
        Assert.Equal((HardwareException, 0u, 0UL), (e.Debug.Type, e.Debug.InsnLength, e.Debug.PendingDbg));
        Assert.Equal((0xFFFF4FF0UL, 0UL), (dr6, e.Registers.Dr6));
        Assert.Equal(VmEventFlags.VcpuPaused, e.Flags);

        // A bare response swallows it.
        Assert.Equal(0UL, lab.Taken(1));
    }

    [Fact]
    public void An_async_debug_exception_is_delivered_as_ever()
    {
        using var lab = new EventLab(TrapOnce);
        lab.Monitor.Enable(new MonitorEvent.DebugException(Sync: false));
        lab.Run();
        Assert.Equal(VmEventFlags.None, Assert.Single(lab.Events).Flags);
        Assert.Equal(1UL, lab.Taken(1));
        Assert.Equal(0x4000UL, lab.Dr6At(1) & 0x4000);
    }

    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void DR7_in_an_event_is_that_of_the_last_time_the_vcpu_was_stopped_from_outside(CpuVendor vendor)
    {
        using var lab = new EventLab(
            code =>
            {
                code.mov(eax, 0x9_0402);
                code.mov(dr7, rax);
                code.cpuid();
                code.cpuid();
                code.hlt();
            },
            vendor);
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        lab.Run((int number, in VmEvent request, ref VmEvent response) =>
        {
            if (number == 0)
            {
                Assert.Equal(0x9_0402UL, lab.Domain.ReadVcpu(new VcpuId(0)).Dr7);
            }

            response.Flags |= VmEventFlags.SetRegisters;
            response.Registers.Rip += request.Cpuid.InsnLength;
        });
        Assert.Equal([0x400UL, 0x9_0402UL], lab.Events.Select(static e => e.Registers.Dr7));
    }

    [Fact]
    public void A_data_breakpoint_is_in_dr6()
    {
        using var lab = new EventLab(code =>
        {
            code.mov(eax, (int)LabMemory.Data);
            code.mov(dr1, rax);
            code.mov(eax, 0x00100408 | 0x400); // G1, write, one byte
            code.mov(dr7, rax);
            code.mov(__byte_ptr[(long)LabMemory.Data], 1);
            code.hlt();
        });
        lab.Monitor.Enable(new MonitorEvent.DebugException());
        var dr6 = 0UL;
        lab.Run((int _, in VmEvent request, ref VmEvent _) =>
        {
            dr6 = lab.Domain.ReadVcpu(new VcpuId(0)).Dr6;
            lab.Domain.InjectTrap(new VcpuId(0), new TrapInjection(1, HardwareException, 0, TrapInjection.NoErrorCode, 0));
        });

        // Not in the event, as on Xen.
        Assert.Equal((0UL, 2UL), (Assert.Single(lab.Events).Debug.PendingDbg, dr6 & 0xF));

        // Reinjected, the guest still finds the condition in DR6.
        Assert.Equal(1UL, lab.Taken(1));
        Assert.Equal(2UL, lab.Dr6At(1) & 0xF);
    }

    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void Cpuid_tells_leaf_and_subleaf_and_has_its_results_in_the_registers(CpuVendor vendor)
    {
        using var lab = new EventLab(
            code =>
            {
                code.mov(eax, 7);
                code.mov(ecx, 1);
                code.db(0x48, 0x0F, 0xA2); // with a prefix
                code.hlt();
            },
            vendor);
        lab.Monitor.Enable(new MonitorEvent.Cpuid());
        lab.Run((int _, in VmEvent request, ref VmEvent response) =>
        {
            response.Flags |= VmEventFlags.SetRegisters;
            response.Registers.Rip += request.Cpuid.InsnLength;
            response.Registers.Rbx = 0x1234;
        });
        var e = Assert.Single(lab.Events);
        Assert.Equal((3u, 7u, 1u), (e.Cpuid.InsnLength, e.Cpuid.Leaf, e.Cpuid.Subleaf));
        Assert.Equal((0UL, LabMemory.Code + 10), (e.Registers.Rcx, e.Registers.Rip));
        Assert.Equal(0x1234UL, lab.Gpr(3));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_guest_request_returns_to_the_guest_and_its_result_can_be_changed_when_sync(bool sync)
    {
        using var lab = new EventLab(GuestRequest);
        lab.Monitor.Enable(new MonitorEvent.GuestRequest(sync));
        lab.Run((int _, in VmEvent request, ref VmEvent response) =>
        {
            response.Flags |= VmEventFlags.SetRegisters;
            response.Registers.Rip += 3;
            response.Registers.Rax = 77;
        });
        Assert.Equal(sync ? VmEventFlags.VcpuPaused : VmEventFlags.None, Assert.Single(lab.Events).Flags);
        Assert.Equal(sync ? 77UL : 0, lab.Gpr(0));
        Assert.Equal(sync ? 0 : 1, lab.Faults[AnswerFault.NotWaiting]);
    }

    [Fact]
    public void A_guest_request_with_an_argument_is_EINVAL()
    {
        using var lab = new EventLab(code =>
        {
            code.mov(esi, 1);
            Request(code);
            code.hlt();
        });
        lab.Monitor.Enable(new MonitorEvent.GuestRequest());
        Assert.Empty(lab.Run());
        Assert.Equal(unchecked((ulong)-22), lab.Gpr(0));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void User_space_may_ask_where_it_is_allowed(bool allowed)
    {
        using var lab = new EventLab(
            code =>
            {
                code.xor(esi, esi);
                Request(code);
                code.ud2(); // ends the guest
            },
            user: true);
        lab.Monitor.Enable(new MonitorEvent.GuestRequest(Sync: true, AllowUserspace: allowed));
        Assert.Equal(allowed ? 1 : 0, lab.Run().Count);
        Assert.Equal(allowed ? 0UL : unchecked((ulong)-1), lab.Gpr(0));
    }

    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void Ports_are_an_option_of_the_core_which_the_capabilities_tell(CpuVendor vendor)
    {
        using (var plain = new EventLab(Halt, vendor))
        {
            Assert.Equal(MonitorCapabilities.None, plain.Monitor.Capabilities & MonitorCapabilities.IoInstruction);
            Assert.Equal(Errno.EOPNOTSUPP, plain.Operate(MonitorOperation.Enable, MonitorEventKind.Io));
        }

        using var lab = new EventLab(Ports, vendor, new MonitoringOptions { IoInstructions = true });
        Assert.NotEqual(MonitorCapabilities.None, lab.Monitor.Capabilities & MonitorCapabilities.IoInstruction);

        // As a tool of Xen 4.18 asks: without arguments, and sync.
        Assert.Equal(Errno.None, lab.Operate(MonitorOperation.Enable, MonitorEventKind.Io));
        Assert.Equal(Errno.EEXIST, lab.Operate(MonitorOperation.Enable, MonitorEventKind.Io));
        lab.Run((int number, in VmEvent request, ref VmEvent response) =>
        {
            if (number == 0)
            {
                return; // bare: the same again
            }

            response.Flags |= VmEventFlags.SetRegisters;
            response.Registers.Rip = PortEnds[number - 1];
        });
        Assert.Equal(
            [(1u, (ushort)0x80, 1, 0), (1u, (ushort)0x80, 1, 0), (4u, (ushort)0x92, 0, 0), (2u, (ushort)0x93, 1, 1)],
            lab.Events.Select(static e => (e.Io.Bytes, e.Io.Port, (int)e.Io.In, (int)e.Io.StringOp)));
        Assert.All(lab.Events, static e => Assert.Equal((VmEventReason.IoInstruction, VmEventFlags.VcpuPaused), (e.Reason, e.Flags)));

        // The accesses were not done.
        Assert.Equal(0x92UL, lab.Gpr(0) & 0xFF);
        Assert.Equal(0UL, lab.Read(LabMemory.Data));
    }

    [Fact]
    public void An_async_port_event_does_not_keep_the_access()
    {
        using var lab = new EventLab(Ports, options: new MonitoringOptions { IoInstructions = true });
        lab.Monitor.Enable(new MonitorEvent.IoInstruction(Sync: false));
        lab.Run();
        Assert.Equal(3, lab.Events.Count);
        Assert.All(lab.Events, static e => Assert.Equal(VmEventFlags.None, e.Flags));
        Assert.Equal(0xFFFFUL, lab.Read(LabMemory.Data));
        lab.Monitor.Disable(new MonitorEvent.IoInstruction());
        Assert.Equal(Errno.EEXIST, Assert.Throws<HypervisorException>(() => lab.Monitor.Disable(new MonitorEvent.IoInstruction())).Error);
    }

    [Fact]
    public void A_port_access_is_stepped_by_the_trap_flag_like_any_instruction()
    {
        using var lab = new EventLab(code =>
        {
            code.pushfq();
            code.or(__dword_ptr[rsp], (int)TrapFlag);
            code.popfq();
            code.@in(al, 0x80);
            code.ud2(); // ends the guest, and is not stepped
        });
        lab.Run();
        Assert.Equal(LabMemory.Code + 1 + 7 + 1 + 2, lab.TakenAt(1));
        Assert.Equal(1UL, lab.Taken(1));
    }

    private static readonly ulong[] PortEnds = [LabMemory.Code + 7, LabMemory.Code + 13, LabMemory.Code + 25];

    private static void Halt(Assembler code) => code.hlt();

    private static void Ports(Assembler code)
    {
        code.mov(eax, 0x92);
        code.@in(al, 0x80); // ends at 7
        code.mov(dx, 0x92);
        code.db(0xEF, 0x90); // out dx, eax; nop: ends at 13
        code.mov(dx, 0x93);
        code.mov(edi, (int)LabMemory.Data);
        code.db(0x66, 0x6D, 0x90); // insw; nop: ends at 25
        code.hlt();
    }

    private static void WriteMsrs(Assembler code)
    {
        code.mov(edx, 1);
        code.mov(eax, 0x1000);
        code.mov(ecx, Lstar);
        code.wrmsr();
        code.wrmsr();
        code.mov(ecx, Star);
        code.wrmsr();
        code.wrmsr();
        code.hlt();
    }

    private static void TrapOnce(Assembler code)
    {
        code.pushfq();
        code.or(__dword_ptr[rsp], (int)TrapFlag);
        code.popfq();
        code.nop();
        code.ud2(); // ends the guest, and is not stepped
    }

    private static void GuestRequest(Assembler code)
    {
        code.xor(esi, esi);
        Request(code);
        code.hlt();
    }

    private static void Request(Assembler code)
    {
        code.mov(eax, (int)HypercallNumber.HvmOp);
        code.mov(edi, (int)HvmOp.GuestRequestVmEvent);
        code.vmcall();
    }
}
