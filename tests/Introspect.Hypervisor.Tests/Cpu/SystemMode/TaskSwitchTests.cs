using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using static Introspect.Hypervisor.Tests.Cpu.SystemMode.DescriptorBuilder;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>Task switches (SDM vol. 3, 8.3 and table 8-1).</summary>
public sealed unsafe class TaskSwitchTests
{
    public const uint NewEip = 0x30000;
    public const uint NewEsp = 0xD000;
    private const int TssAvailable = 9;
    private const int TssBusy = 11;

    private const uint Link = 0;
    private const uint Eip = 32;
    private const uint Eflags = 36;
    private const uint Eax = 40;
    private const uint Esp = 56;
    private const uint Es = 72;
    private const uint Cs = 76;
    private const uint Ss = 80;
    private const uint Ds = 84;
    private const uint Fs = 88;
    private const uint Gs = 92;
    private const uint LdtField = 96;
    private const uint TrapField = 100;

    /// <summary>A 32-bit task at level 0 with flat segments.</summary>
    internal static void BuildTask(SystemMachine m, uint tss)
    {
        m.Write(tss + Eip, NewEip, 4);
        m.Write(tss + Eflags, RFlags.Cf | RFlags.Fixed1, 4);
        for (var n = 0u; n < 8; n++)
        {
            m.Write(tss + Eax + (n * 4), 0xA0000000 + n, 4);
        }

        m.Write(tss + Esp, NewEsp, 4);
        foreach (var field in (uint[])[Es, Ss, Ds, Fs, Gs])
        {
            m.Write(tss + field, M.Data0, 2);
        }

        m.Write(tss + Cs, M.Code0, 2);
        m.Write(tss + LdtField, 0, 2);
    }

    [Fact]
    public void A_jump_saves_the_old_task_and_loads_the_new_one()
    {
        using var m = M.Protected(0);
        BuildTask(m, M.NewTss);
        m.State->Gpr[0] = 0x11;
        m.State->Dr7 = 0x7FF;
        m.Succeeds(s => FarTransfers.Jump(s, M.NewTssSelector, 0x999, 4, 7));
        var s = m.State;
        Assert.Equal((NewEip, NewEsp), (s->Rip, s->Gpr[4]));
        Assert.Equal((0xA0000000UL, 0xA0000007UL), (s->Gpr[0], s->Gpr[7]));
        Assert.Equal(RFlags.Cf | RFlags.Fixed1, Flags.Read(s));
        Assert.Equal(M.NewTssSelector, s->Seg(SegmentIndex.Tr)->Selector);
        Assert.Equal(0x8Bu, s->Seg(SegmentIndex.Tr)->Attributes & 0xFF);
        Assert.NotEqual(0UL, s->Cr0 & CpuModes.Cr0Ts);
        Assert.Equal(0x7FFUL & ~0x155UL, s->Dr7);

        Assert.Equal(M.Rip + 7, m.Read(M.Tss + Eip, 4));
        Assert.Equal(0x11UL, m.Read(M.Tss + Eax, 4));
        Assert.Equal(M.OuterStack, m.Read(M.Tss + Esp, 4));
        Assert.Equal(M.Code0, m.Read(M.Tss + Cs, 2));
        Assert.Equal((TssAvailable, TssBusy), (m.TypeOf(M.TssSelector), m.TypeOf(M.NewTssSelector)));
        Assert.Equal(0UL, m.Read(M.NewTss + Link, 2));
    }

    [Fact]
    public void A_call_nests_and_iret_comes_back()
    {
        using var m = M.Protected(0);
        BuildTask(m, M.NewTss);
        m.State->Gpr[3] = 0x33;
        m.Succeeds(s => FarTransfers.Call(s, M.NewTssSelector, 0, 4, 7));
        Assert.Equal(M.TssSelector, m.Read(M.NewTss + Link, 2));
        Assert.NotEqual(0u, m.State->FlagsOther & RFlags.Nt);
        Assert.Equal((TssBusy, TssBusy), (m.TypeOf(M.TssSelector), m.TypeOf(M.NewTssSelector)));

        m.Succeeds(s => InterruptReturn.Return(s, 4, 1));
        Assert.Equal(M.Rip + 7, m.State->Rip);
        Assert.Equal(0x33UL, m.State->Gpr[3]);
        Assert.Equal((TssBusy, TssAvailable), (m.TypeOf(M.TssSelector), m.TypeOf(M.NewTssSelector)));
        Assert.Equal(NewEip + 1, m.Read(M.NewTss + Eip, 4));
        Assert.Equal(0UL, m.Read(M.NewTss + Eflags, 4) & RFlags.Nt);
        Assert.Equal(M.TssSelector, m.State->Seg(SegmentIndex.Tr)->Selector);
    }

    [Fact]
    public void A_16_bit_task_has_16_bit_registers_and_no_fs_or_gs()
    {
        using var m = M.Protected(0);
        const uint T = M.NewTss16;
        m.Write(T + 14, 0x1234, 2);
        m.Write(T + 16, RFlags.Zf | RFlags.Fixed1, 2);
        m.Write(T + 18, 0xBEEF, 2);
        m.Write(T + 26, 0x8000, 2);
        m.Write(T + 34, M.Data16, 2);
        m.Write(T + 36, M.Code16, 2);
        m.Write(T + 38, M.Data16, 2);
        m.Write(T + 40, M.Data16, 2);
        m.Succeeds(s => FarTransfers.Jump(s, M.NewTss16Selector, 0, 4, 7));
        Assert.Equal(0x1234UL, m.State->Rip);
        Assert.Equal(0xFFFFBEEFUL, m.State->Gpr[0]);
        Assert.Equal(0xFFFF8000UL, m.State->Gpr[4]);
        Assert.Equal((0, 0), (m.State->Seg(SegmentIndex.Fs)->Selector, m.State->Seg(SegmentIndex.Gs)->Selector));
        Assert.Equal(3, m.TypeOf(M.NewTss16Selector));
        Assert.Equal(CpuMode.Code16, m.State->Mode & CpuMode.SizeMask);
    }

    [Fact]
    public void An_exception_through_a_task_gate_pushes_its_error_code_on_the_new_stack()
    {
        using var m = M.Protected(0);
        BuildTask(m, M.NewTss);
        m.InstallGate(13, Gate(5, 0, M.NewTssSelector, 0));
        m.Raise(13, errorCode: 0x1234);
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(0x1234UL, m.Read(NewEsp - 4, 4));
        Assert.Equal(NewEsp - 4, m.State->Gpr[4]);
        Assert.NotEqual(0UL, m.Read(M.Tss + Eflags, 4) & RFlags.Rf);
    }

    [Fact]
    public void The_t_bit_traps_before_the_first_instruction_of_the_new_task()
    {
        using var m = M.Protected(0);
        BuildTask(m, M.NewTss);
        m.Write(M.NewTss + TrapField, 1, 2);
        Assert.True(FarTransfers.Jump(m.State, M.NewTssSelector, 0, 4, 7));
        Assert.Equal((true, (byte)1, 0x8000UL), (m.State->Pending.Valid, m.State->Pending.Vector, m.State->Pending.Payload));
        m.InstallGate(1, Gate(15, 0, M.Code0, 0x111));
        Assert.Equal(DeliveryResult.Delivered, EventDelivery.Deliver(m.State));
        Assert.Equal(NewEip, m.Read(m.State->Gpr[4], 4));
        Assert.Equal(0x8000UL, m.State->Dr6 & 0x8000);
    }

    [Fact]
    public void A_task_may_start_in_virtual_8086_mode()
    {
        using var m = M.Protected(0);
        BuildTask(m, M.NewTss);
        m.Write(M.NewTss + Eflags, RFlags.Vm | RFlags.Fixed1, 4);
        m.Write(M.NewTss + Eip, 0x50, 4);
        m.Write(M.NewTss + Cs, 0x1234, 2);
        m.Write(M.NewTss + Ds, 0xFFFF, 2);
        m.Succeeds(s => FarTransfers.Jump(s, M.NewTssSelector, 0, 4, 7));
        Assert.Equal((3, 0x12340UL, 0xFFFF0UL), (m.State->Cpl, m.State->Seg(SegmentIndex.Cs)->Base, m.State->Seg(SegmentIndex.Ds)->Base));
        Assert.True(CpuModes.IsRealOrVm86(m.State));
    }

    /// <summary>Rule, level, selector of the jump, vector, error code: what is found before the commit point.</summary>
    [Theory]
    [InlineData("TSS with DPL < CPL: #GP(tss)", 3, M.NewTssSelector, 13, M.NewTssSelector)]
    [InlineData("TSS with DPL < RPL: #GP(tss)", 0, M.NewTssSelector | 3, 13, M.NewTssSelector)]
    [InlineData("busy TSS: #GP(tss)", 0, M.TssSelector, 13, M.TssSelector)]
    [InlineData("TSS not present: #NP(tss)", 0, M.Slot, 11, M.Slot)]
    [InlineData("TSS too small: #TS(tss)", 0, M.Slot2, 10, M.Slot2)]
    [InlineData("16-bit TSS too small: #TS(tss)", 0, M.Slot3, 10, M.Slot3)]
    [InlineData("TSS in the LDT: #GP(tss)", 0, 0x0C, 13, 0x0C)]
    [InlineData("task gate with DPL < CPL: #GP(gate)", 3, 0xB0, 13, 0xB0)]
    [InlineData("task gate not present: #NP(gate)", 0, 0xB8, 11, 0xB8)]
    [InlineData("task gate to the LDT: #GP(tss)", 0, 0xC0, 13, 0x0C)]
    [InlineData("task gate beyond the GDT: #GP(tss)", 0, 0xC8, 13, M.BeyondGdt)]
    [InlineData("task gate to a busy TSS: #GP(tss)", 0, 0xD0, 13, M.TssSelector)]
    [InlineData("task gate to an absent TSS: #NP(tss)", 0, 0xD8, 11, M.Slot)]
    public void A_bad_tss_leaves_the_old_task(string rule, int cpl, int selector, byte vector, uint code)
    {
        Assert.NotEmpty(rule);
        using var m = M.Protected(cpl);
        m.Install(M.Slot, SystemSegment(9, 0, M.NewTss, 0x67, present: false));
        m.Install(M.Slot2, SystemSegment(9, 0, M.NewTss, 0x66));
        m.Install(M.Slot3, SystemSegment(1, 0, M.NewTss, 0x2A));
        m.Install(0x0C, SystemSegment(9, 0, M.NewTss, 0x67));
        m.Install(0xB0, Gate(5, 0, M.NewTssSelector, 0));
        m.Install(0xB8, Gate(5, 0, M.NewTssSelector, 0, present: false));
        m.Install(0xC0, Gate(5, 0, 0x0C, 0));
        m.Install(0xC8, Gate(5, 0, M.BeyondGdt, 0));
        m.Install(0xD0, Gate(5, 0, M.TssSelector, 0));
        m.Install(0xD8, Gate(5, 0, M.Slot, 0));
        m.Faults(vector, code, s => FarTransfers.Jump(s, (ushort)selector, 0, 4, 7));
        Assert.Equal(TssBusy, m.TypeOf(M.TssSelector));
    }

    /// <summary>Rule, link field, vector, error code: IRET with NT set.</summary>
    [Theory]
    [InlineData("null link: #TS(0)", 0, 10, 0)]
    [InlineData("link into the LDT: #TS(tss)", 0x0C, 10, 0x0C)]
    [InlineData("link beyond the GDT: #TS(tss)", M.BeyondGdt, 10, M.BeyondGdt)]
    [InlineData("link to a TSS that is not busy: #TS(tss)", M.NewTssSelector, 10, M.NewTssSelector)]
    [InlineData("link to data: #TS(tss)", M.Data0, 10, M.Data0)]
    [InlineData("link to an absent TSS: #NP(tss)", M.Slot, 11, M.Slot)]
    public void A_bad_link_leaves_the_nested_task(string rule, int link, byte vector, uint code)
    {
        Assert.NotEmpty(rule);
        using var m = M.Protected(0);
        m.Install(M.Slot, SystemSegment(11, 0, M.NewTss, 0x67, present: false));
        m.State->FlagsOther |= RFlags.Nt;
        m.Write(M.Tss + Link, (uint)link, 2);
        m.Faults(vector, code, s => InterruptReturn.Return(s, 4, 1));
    }

    [Fact]
    public void In_long_mode_iret_with_nt_is_gp()
    {
        using var m = M.Long(0);
        m.State->FlagsOther |= RFlags.Nt;
        m.Faults(13, 0, s => InterruptReturn.Return(s, 8, 2));
    }

    /// <summary>Rule, field of the new TSS, value, descriptor of the slot, vector, error code (table 8-1).</summary>
    public static TheoryData<string, uint, int, ulong, byte, uint> BadFields => new()
    {
        { "LDT in the LDT: #TS(ldt)", LdtField, 0x0C, 0, 10, 0x0C },
        { "LDT beyond the GDT: #TS(ldt)", LdtField, M.BeyondGdt, 0, 10, M.BeyondGdt },
        { "LDT of another type: #TS(ldt)", LdtField, M.Data0, 0, 10, M.Data0 },
        { "LDT not present: #TS(ldt)", LdtField, M.Slot, SystemSegment(2, 0, 0, 0xFF, present: false), 10, M.Slot },
        { "CS null: #TS(0)", Cs, 0, 0, 10, 0 },
        { "CS beyond the GDT: #TS(cs)", Cs, M.BeyondGdt, 0, 10, M.BeyondGdt },
        { "CS is data: #TS(cs)", Cs, M.Data0, 0, 10, M.Data0 },
        { "CS with DPL unlike RPL: #TS(cs)", Cs, M.Slot | 1, Code(0), 10, M.Slot },
        { "conforming CS with DPL > RPL: #TS(cs)", Cs, M.Slot, Code(1, conforming: true), 10, M.Slot },
        { "CS not present: #NP(cs)", Cs, M.Slot, Code(0, present: false), 11, M.Slot },
        { "SS null: #TS(0)", Ss, 0, 0, 10, 0 },
        { "SS beyond the GDT: #TS(ss)", Ss, M.BeyondGdt, 0, 10, M.BeyondGdt },
        { "SS read-only: #TS(ss)", Ss, M.Slot, Data(0, writable: false), 10, M.Slot },
        { "SS with DPL unlike CPL: #TS(ss)", Ss, M.Slot, Data(3), 10, M.Slot },
        { "SS with RPL unlike CPL: #TS(ss)", Ss, M.Slot | 3, Data(0), 10, M.Slot },
        { "SS not present: #SS(ss)", Ss, M.Slot, Data(0, present: false), 12, M.Slot },
        { "DS beyond the GDT: #TS(ds)", Ds, M.BeyondGdt, 0, 10, M.BeyondGdt },
        { "DS execute-only: #TS(ds)", Ds, M.Slot, Code(0, readable: false), 10, M.Slot },
        { "ES with DPL < RPL: #TS(es)", Es, M.Slot | 3, Data(0), 10, M.Slot },
        { "FS not present: #NP(fs)", Fs, M.Slot, Data(0, present: false), 11, M.Slot },
        { "GS is a system segment: #TS(gs)", Gs, M.TssSelector, 0, 10, M.TssSelector },
        { "EIP beyond the limit: #GP(0)", Cs, M.Slot, Code(0, limit: 0xFFF, pages: false), 13, 0 },
    };

    [Theory]
    [MemberData(nameof(BadFields))]
    public void A_bad_field_faults_in_the_new_task(string rule, uint field, int value, ulong slot, byte vector, uint code)
    {
        Assert.NotEmpty(rule);
        using var m = M.Protected(0);
        BuildTask(m, M.NewTss);
        m.Install(M.Slot, slot);
        m.Write(M.NewTss + field, (uint)value, 2);
        Assert.True(FarTransfers.Jump(m.State, M.NewTssSelector, 0, 4, 7));
        Assert.Equal(StopReason.None, m.State->Stop);
        Assert.Equal((true, vector, code), (m.State->Pending.Valid, m.State->Pending.Vector, m.State->Pending.ErrorCode));
        Assert.Equal(M.NewTssSelector, m.State->Seg(SegmentIndex.Tr)->Selector);
        Assert.Equal(NewEip, m.State->Rip);
        Assert.Equal(TssAvailable, m.TypeOf(M.TssSelector));
    }

    [Theory]
    [InlineData(M.Tss)]
    [InlineData(M.NewTss)]
    [InlineData(0x7000u)]
    public void A_nested_page_fault_undoes_the_switch_and_it_can_be_repeated(uint refused)
    {
        using var m = M.Protected(0);
        BuildTask(m, M.NewTss);
        m.Install(M.Slot, SystemSegment(2, 0, 0x7000, 0xFF));
        m.Write(M.NewTss + LdtField, M.Slot, 2);
        m.Write(M.NewTss + Ds, 0x0C, 2);
        m.Write(0x7008, Data(0), 8);
        m.Protect(refused, refused == M.Tss ? MemoryAccess.R : MemoryAccess.N);
        var before = m.Visible();
        Assert.False(FarTransfers.Call(m.State, M.NewTssSelector, 0, 4, 7));
        Assert.Equal((StopReason.Exit, ExitKind.NestedPageFault), (m.State->Stop, m.State->Exit.Kind));
        Assert.Equal(before, m.Visible());
        Assert.Equal((TssBusy, TssAvailable), (m.TypeOf(M.TssSelector), m.TypeOf(M.NewTssSelector)));

        m.Protect(refused, MemoryAccess.Rwx);
        m.State->Stop = StopReason.None;
        m.Succeeds(s => FarTransfers.Call(s, M.NewTssSelector, 0, 4, 7));
        Assert.Equal(M.OuterStack, m.Read(M.Tss + Esp, 4));
        Assert.Equal(0x0C, m.State->Seg(SegmentIndex.Ds)->Selector);
    }
}
