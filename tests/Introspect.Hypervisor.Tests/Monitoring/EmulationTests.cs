using System.Runtime.InteropServices;
using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Monitoring;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>Responses that have an instruction emulated, with its own data or others.</summary>
public sealed class EmulationTests
{
    private static readonly Gfn Watched = new GuestPhysical(LabMemory.Watched).Gfn;

    [Fact]
    public void Emulate_does_the_instruction_and_leaves_the_rights()
    {
        using var lab = Restricted(code => code.add(__qword_ptr[(long)LabMemory.Watched], 5));
        lab.Run(With(VmEventFlags.Emulate));
        Assert.Single(lab.Events);
        Assert.Equal(5UL, lab.Read(LabMemory.Watched));
        Assert.Equal(MemoryAccess.N, lab.Monitor.GetMemoryAccess(Watched));
        Assert.Equal(0, lab.Faults.Total);
    }

    [Fact]
    public void Emulate_nowrite_drops_stores_and_keeps_registers()
    {
        using var lab = Restricted(code => code.xadd(__qword_ptr[(long)LabMemory.Watched], rbx));
        lab.Domain.Memory.WritePhysical(new GuestPhysical(LabMemory.Watched), [9]);
        lab.Run(With(VmEventFlags.Emulate | VmEventFlags.EmulateNoWrite));
        Assert.Equal(9UL, lab.Read(LabMemory.Watched));
        Assert.Equal(9UL, lab.Gpr(3));
    }

    [Fact]
    public void Emulate_nowrite_without_emulate_means_nothing()
    {
        using var lab = Restricted(code => code.mov(__qword_ptr[(long)LabMemory.Watched], 5));
        lab.Run((int number, in VmEvent _, ref VmEvent response) =>
        {
            response.Flags |= VmEventFlags.EmulateNoWrite;
            if (number == 1)
            {
                lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.Rwx);
            }
        });
        Assert.Equal(2, lab.Events.Count);
        Assert.Equal(5UL, lab.Read(LabMemory.Watched));
        Assert.Equal(2, lab.Faults[AnswerFault.MeaninglessFlags]);
    }

    [Fact]
    public void An_access_that_is_allowed_by_now_is_tried_again_and_not_emulated()
    {
        using var lab = Restricted(code => code.mov(__qword_ptr[(long)LabMemory.Watched], 5));
        lab.Run((int _, in VmEvent _, ref VmEvent response) =>
        {
            response.Flags |= VmEventFlags.Emulate | VmEventFlags.EmulateNoWrite;
            lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.Rwx);
        });
        Assert.Equal(5UL, lab.Read(LabMemory.Watched));
    }

    [Fact]
    public void Read_data_takes_the_place_of_what_is_read_and_what_is_missing_is_zero()
    {
        using var lab = Restricted(code => code.mov(rbx, __qword_ptr[(long)LabMemory.Watched]));
        lab.Run((int _, in VmEvent _, ref VmEvent response) =>
            SetData(ref response, VmEventFlags.Emulate | VmEventFlags.SetEmulReadData, [0x11, 0x22, 0x33]));
        Assert.Equal(0x332211UL, lab.Gpr(3));
    }

    [Fact]
    public void Read_data_come_before_dropped_writes()
    {
        using var lab = Restricted(code => code.add(__qword_ptr[(long)LabMemory.Watched], 1));
        lab.Run((int _, in VmEvent _, ref VmEvent response) =>
            SetData(ref response, VmEventFlags.Emulate | VmEventFlags.SetEmulReadData | VmEventFlags.EmulateNoWrite, [0x41]));
        Assert.Equal(0x42UL, lab.Read(LabMemory.Watched));
        Assert.Equal(1, lab.Faults[AnswerFault.MeaninglessFlags]);
    }

    [Fact]
    public void Each_element_of_a_repeated_move_takes_its_own_data()
    {
        using var lab = Restricted(code =>
        {
            code.mov(esi, (int)LabMemory.Watched);
            code.mov(edi, (int)LabMemory.Data);
            code.mov(ecx, 4);
            code.rep.movsw();
        });
        lab.Run((int _, in VmEvent _, ref VmEvent response) =>
            SetData(ref response, VmEventFlags.Emulate | VmEventFlags.SetEmulReadData, [1, 2, 3, 4, 5, 6, 7, 8]));
        Assert.Single(lab.Events);
        Assert.Equal(0x0807060504030201UL, lab.Read(LabMemory.Data));
    }

    [Theory]
    [InlineData(false, 1)]
    [InlineData(true, 5)]
    public void Emulate_each_rep_makes_every_iteration_an_emulation(bool each, int events)
    {
        using var lab = Restricted(Store5);
        lab.Monitor.EmulateEachRep(each);
        lab.Run(With(VmEventFlags.Emulate));
        Assert.Equal(events, lab.Events.Count);
        Assert.Equal(Enumerable.Range(0, events).Select(static n => LabMemory.Watched + (ulong)n), lab.Events.Select(static e => e.MemAccess.Gla));
        Assert.Equal(0xFFFFFFFFFFUL, lab.Read(LabMemory.Watched));
    }

    [Fact]
    public void A_repeated_store_is_emulated_to_the_end_of_its_page_and_no_further()
    {
        using var lab = Restricted(code =>
        {
            code.mov(edi, (int)(LabMemory.Watched + 4096 - 8));
            code.mov(ecx, 16);
            code.mov(al, 0xFF);
            code.rep.stosb();
        });
        var next = new Gfn(Watched.Value + 1);
        lab.Monitor.SetMemoryAccess(next, 1, MemoryAccess.R);
        lab.Run(With(VmEventFlags.Emulate));
        Assert.Equal([Watched.Value, next.Value], lab.Events.Select(static e => e.MemAccess.Gfn));
        Assert.Equal(8UL, lab.Events[1].Registers.Rcx);
    }

    [Fact]
    public void Emulate_each_rep_needs_a_ring()
    {
        using var lab = Restricted(Store5);
        Assert.Equal(Errno.None, lab.Operate(MonitorOperation.EmulateEachRep, (MonitorEventKind)1));
        Assert.True(lab.Inside.Monitor.EmulateEachRep);
        lab.Monitor.Dispose();
        Assert.False(lab.Inside.Monitor.EmulateEachRep);
        Assert.Equal(Errno.EINVAL, lab.Operate(MonitorOperation.EmulateEachRep, (MonitorEventKind)1));
    }

    [Theory]
    [InlineData(CpuVendor.Vmx)]
    [InlineData(CpuVendor.Svm)]
    public void Instruction_bytes_are_run_in_place_of_a_breakpoint(CpuVendor vendor)
    {
        using var lab = new EventLab(
            code =>
            {
                code.int3(); // hides the first byte of: mov ebx, 0x1234
                code.db(0x34, 0x12, 0, 0);
                code.hlt();
            },
            vendor);
        lab.Monitor.Enable(new MonitorEvent.SoftwareBreakpoint());
        lab.Run(static (int _, in VmEvent _, ref VmEvent response) => SetInstruction(ref response, [0xBB, 0x34, 0x12, 0, 0]));
        Assert.Single(lab.Events);
        Assert.Equal(0x1234UL, lab.Gpr(3));
        Assert.Equal(0UL, lab.Taken(3));
        Assert.Equal(0, lab.Faults.Total);
    }

    [Fact]
    public void A_fault_of_an_emulated_instruction_is_the_guests()
    {
        using var lab = new EventLab(code =>
        {
            code.int3();
            code.hlt();
        });
        lab.Monitor.Enable(new MonitorEvent.SoftwareBreakpoint());

        // An int3 that is emulated raises #BP in the guest, and is not told again.
        lab.Run(static (int _, in VmEvent _, ref VmEvent response) => SetInstruction(ref response, [0xCC]));
        Assert.Single(lab.Events);
        Assert.Equal((1UL, LabMemory.Code + 1), (lab.Taken(3), lab.TakenAt(3)));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void An_instruction_that_nothing_here_does_is_told_or_an_invalid_opcode(bool told)
    {
        // vmread rbx, rax: it exists, and has no implementation.
        using var lab = new EventLab(code =>
        {
            code.int3();
            code.nop();
            code.hlt();
        });
        lab.Monitor.Enable(new MonitorEvent.SoftwareBreakpoint());
        if (told)
        {
            lab.Monitor.Enable(new MonitorEvent.EmulUnimplemented());
        }

        lab.Run((int number, in VmEvent request, ref VmEvent response) =>
        {
            if (request.Reason == VmEventReason.EmulUnimplemented)
            {
                response.Flags |= VmEventFlags.SetRegisters;
                response.Registers.Rip += 2;
            }
            else
            {
                SetInstruction(ref response, [0x0F, 0x78, 0xC3]);
            }
        });
        if (told)
        {
            Assert.Equal((VmEventReason.EmulUnimplemented, VmEventFlags.VcpuPaused, LabMemory.Code), (lab.Events[1].Reason, lab.Events[1].Flags, lab.Events[1].Registers.Rip));
        }

        Assert.Equal(told ? 2 : 1, lab.Events.Count);
        Assert.Equal(told ? 0UL : 1, lab.Taken(6));
    }

    [Theory]
    [InlineData(new byte[] { 0x0F, 0x0B })]
    [InlineData(new byte[] { 0x0F, 0xFF, 0xC0 })]
    [InlineData(new byte[] { 0xF0, 0x90 })]
    public void An_instruction_that_does_not_exist_is_an_invalid_opcode_in_any_case(byte[] bytes)
    {
        using var lab = new EventLab(code =>
        {
            code.int3();
            code.hlt();
        });
        lab.Monitor.Enable(new MonitorEvent.SoftwareBreakpoint());
        lab.Monitor.Enable(new MonitorEvent.EmulUnimplemented());
        lab.Run((int _, in VmEvent _, ref VmEvent response) => SetInstruction(ref response, bytes));
        Assert.Single(lab.Events);
        Assert.Equal(1UL, lab.Taken(6));
    }

    [Fact]
    public void An_emulated_register_write_is_told_and_can_be_denied()
    {
        using var lab = new EventLab(code =>
        {
            code.mov(rax, cr0);
            code.xor(rax, 0x10000);
            code.int3(); // hides mov cr0, rax
            code.db(0x22, 0xC0);
            code.hlt();
        });
        lab.Monitor.ControlRegisters();
        lab.Monitor.Enable(new MonitorEvent.SoftwareBreakpoint());
        lab.Monitor.Enable(new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0));
        lab.Run(static (int _, in VmEvent request, ref VmEvent response) =>
        {
            if (request.Reason == VmEventReason.WriteCtrlreg)
            {
                response.Flags |= VmEventFlags.Deny;
            }
            else
            {
                SetInstruction(ref response, [0x0F, 0x22, 0xC0]);
            }
        });
        Assert.Equal([VmEventReason.SoftwareBreakpoint, VmEventReason.WriteCtrlreg], lab.Events.Select(static e => e.Reason));
        Assert.Equal(0x80050033UL, lab.Registers.Cr0);
        Assert.Equal(0, lab.Faults.Total);
    }

    [Fact]
    public void A_step_that_is_asked_for_with_an_emulation_is_of_the_next_instruction()
    {
        using var lab = Restricted(code =>
        {
            code.mov(__qword_ptr[(long)LabMemory.Watched], 5);
            code.nop();
            code.nop();
        });
        lab.Monitor.Enable(new MonitorEvent.SingleStep());
        lab.Run((int _, in VmEvent request, ref VmEvent response) =>
        {
            response.Flags |= VmEventFlags.ToggleSinglestep;
            if (request.Reason == VmEventReason.MemAccess)
            {
                response.Flags |= VmEventFlags.Emulate;
            }
        });
        Assert.Equal(2, lab.Events.Count);
        Assert.Equal(lab.Events[0].Registers.Rip + 12 + 1, lab.Events[1].Registers.Rip);
    }

    private static EventLab Restricted(Action<Assembler> program)
    {
        var lab = new EventLab(code =>
        {
            program(code);
            code.hlt();
        });
        lab.Monitor.SetMemoryAccess(Watched, 1, MemoryAccess.N);
        return lab;
    }

    private static void Store5(Assembler code)
    {
        code.mov(edi, (int)LabMemory.Watched);
        code.mov(ecx, 5);
        code.mov(al, 0xFF);
        code.rep.stosb();
    }

    private static Answer With(VmEventFlags flags) => (int _, in VmEvent _, ref VmEvent response) => response.Flags |= flags;

    private static void SetData(ref VmEvent response, VmEventFlags flags, ReadOnlySpan<byte> data)
    {
        response.Flags |= flags;
        response.EmulReadSize = (uint)data.Length;
        data.CopyTo(MemoryMarshal.AsBytes(new Span<VmEvent>(ref response))[60..]);
    }

    private static void SetInstruction(ref VmEvent response, ReadOnlySpan<byte> bytes)
    {
        response.Flags |= VmEventFlags.Emulate | VmEventFlags.SetEmulInsnData;
        var place = MemoryMarshal.AsBytes(new Span<VmEvent>(ref response)).Slice(56, VmEvent.MaxEmulInsnBytes);
        place.Fill(0x90);
        bytes.CopyTo(place);
    }
}
