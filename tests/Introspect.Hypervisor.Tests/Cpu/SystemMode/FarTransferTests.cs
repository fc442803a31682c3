using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using static Introspect.Hypervisor.Tests.Cpu.SystemMode.DescriptorBuilder;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>JMP far and CALL far (SDM vol. 2, JMP and CALL; vol. 3, 5.8).</summary>
public sealed unsafe class FarTransferTests
{
    private const int CallGate = 12;
    private const int CallGate16 = 4;
    private const int Length = 7;

    /// <summary>Rule, CPL, selector, slot, offset, vector, error code: the same for JMP and CALL.</summary>
    public static TheoryData<string, int, int, ulong, uint, byte, uint> Refused => new()
    {
        { "null: #GP(0)", 0, 3, 0, 0, 13, 0 },
        { "beyond the table: #GP(sel)", 0, M.BeyondGdt, 0, 0, 13, M.BeyondGdt },
        { "data: #GP(sel)", 0, M.Data0, 0, 0, 13, M.Data0 },
        { "LDT descriptor: #GP(sel)", 0, M.LdtSelector, 0, 0, 13, M.LdtSelector },
        { "interrupt gate: #GP(sel)", 0, M.Slot, Gate(14, 0, M.Code0, 0), 0, 13, M.Slot },
        { "conforming with DPL > CPL: #GP(sel)", 0, M.Slot, Code(3, conforming: true), 0, 13, M.Slot },
        { "non-conforming with DPL < CPL: #GP(sel)", 3, M.Slot | 3, Code(0), 0, 13, M.Slot },
        { "non-conforming with DPL > CPL: #GP(sel)", 0, M.Slot, Code(3), 0, 13, M.Slot },
        { "non-conforming with RPL > CPL: #GP(sel)", 0, M.Slot | 3, Code(0), 0, 13, M.Slot },
        { "rights come before presence", 3, M.Slot | 3, Code(0, present: false), 0, 13, M.Slot },
        { "not present: #NP(sel)", 0, M.Slot, Code(0, present: false), 0, 11, M.Slot },
        { "offset beyond the limit: #GP(0)", 0, M.Slot, Code(0, limit: 0xFFF, pages: false), 0x1000, 13, 0 },
        { "call gate with DPL < CPL: #GP(gate)", 3, M.Slot | 3, Gate(CallGate, 0, M.Code0, 0), 0, 13, M.Slot },
        { "call gate with DPL < RPL: #GP(gate)", 0, M.Slot | 3, Gate(CallGate, 0, M.Code0, 0), 0, 13, M.Slot },
        { "call gate not present: #NP(gate)", 0, M.Slot, Gate(CallGate, 0, M.Code0, 0, present: false), 0, 11, M.Slot },
        { "call gate with a null selector: #GP(0)", 0, M.Slot, Gate(CallGate, 0, 3, 0), 0, 13, 0 },
        { "call gate beyond the GDT: #GP(code)", 0, M.Slot, Gate(CallGate, 0, M.BeyondGdt, 0), 0, 13, M.BeyondGdt },
        { "call gate to data: #GP(code)", 0, M.Slot, Gate(CallGate, 0, M.Data0, 0), 0, 13, M.Data0 },
        { "call gate to an outer level: #GP(code)", 0, M.Slot, Gate(CallGate, 0, M.Code3, 0), 0, 13, M.Code3 & 0xFFFC },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public void A_refused_transfer_faults_and_changes_nothing(string rule, int cpl, int selector, ulong slot, uint offset, byte vector, uint code)
    {
        Assert.NotEmpty(rule);
        using var m = M.Protected(cpl);
        m.Install(M.Slot, slot);
        m.Faults(vector, code, s => FarTransfers.Jump(s, (ushort)selector, offset, 4, Length));
        m.Faults(vector, code, s => FarTransfers.Call(s, (ushort)selector, offset, 4, Length));
    }

    [Fact]
    public void A_jump_keeps_the_level_in_cs_and_marks_the_descriptor()
    {
        using var m = M.Protected(3);
        m.Succeeds(s => FarTransfers.Jump(s, M.Conforming, 0xFFFF1234, 2, Length));
        Assert.Equal((0x1234UL, M.Conforming | 3, 3), (m.State->Rip, m.State->Seg(SegmentIndex.Cs)->Selector, m.State->Cpl));
        Assert.Equal(0xF, m.TypeOf(M.Conforming));
    }

    [Fact]
    public void A_jump_to_16_bit_code_changes_the_decode_mode()
    {
        using var m = M.Protected(0);
        m.Succeeds(s => FarTransfers.Jump(s, M.Code16, 0x1234, 4, Length));
        Assert.Equal(CpuMode.Code16, m.State->Mode & CpuMode.SizeMask);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public void A_call_pushes_cs_and_ip_in_the_operand_size(int size)
    {
        using var m = M.Protected(0);
        m.Succeeds(s => FarTransfers.Call(s, M.Code0, 0x1234, size, Length));
        Assert.Equal(M.OuterStack - (ulong)(2 * size), m.State->Gpr[4]);
        Assert.Equal((M.Rip + Length) & (size == 2 ? 0xFFFFUL : 0xFFFFFFFF), m.Read(m.State->Gpr[4], size));
        Assert.Equal(M.Code0, m.Read(m.State->Gpr[4] + (uint)size, size));
    }

    [Fact]
    public void A_call_without_room_is_ss_0_before_the_limit_of_the_target()
    {
        using var m = M.Protected(0);
        m.Install(M.Slot, Code(0, limit: 0xFFF, pages: false));
        m.State->Seg(SegmentIndex.Ss)->Limit = M.OuterStack - 5;
        m.State->Gpr[4] = M.OuterStack + 4;
        m.Faults(12, 0, s => FarTransfers.Call(s, M.Slot, 0x1000, 4, Length));
    }

    [Fact]
    public void A_jump_through_a_call_gate_takes_its_entry_point()
    {
        using var m = M.Protected(3);
        m.Install(M.Slot, Gate(CallGate, 3, M.Conforming, 0x12345678));
        m.Succeeds(s => FarTransfers.Jump(s, M.Slot | 3, 0x999, 4, Length));
        Assert.Equal((0x12345678UL, 3), (m.State->Rip, m.State->Cpl));
        m.Install(M.Slot2, Gate(CallGate, 3, M.Code0, 0x12345678));
        m.Faults(13, M.Code0, s => FarTransfers.Jump(s, M.Slot2 | 3, 0x999, 4, Length));
    }

    [Fact]
    public void A_call_to_an_inner_level_copies_parameters_and_switches_stacks()
    {
        using var m = M.Protected(3);
        m.Install(M.Slot, Gate(CallGate, 3, M.Code0, 0x12345678, parameters: 3));
        for (var n = 0u; n < 3; n++)
        {
            m.Write(M.OuterStack + (n * 4), 0x111 * (n + 1), 4);
        }

        m.Succeeds(s => FarTransfers.Call(s, M.Slot | 3, 0x999, 4, Length));
        Assert.Equal((0x12345678UL, 0, M.InnerStack - 28UL), (m.State->Rip, m.State->Cpl, m.State->Gpr[4]));
        ulong[] frame = [M.Rip + Length, M.Code3, 0x111, 0x222, 0x333, M.OuterStack, M.Data3];
        Assert.Equal(frame, Enumerable.Range(0, 7).Select(n => m.Read(m.State->Gpr[4] + (uint)(n * 4), 4)));

        // RETF 12 takes the parameters off both stacks.
        m.Succeeds(s => FarReturns.Return(s, 4, 12));
        Assert.Equal((M.Rip + Length, 3, M.OuterStack + 12UL), (m.State->Rip, m.State->Cpl, m.State->Gpr[4]));
        Assert.Equal((M.Code3, M.Data3), (m.State->Seg(SegmentIndex.Cs)->Selector, m.State->Seg(SegmentIndex.Ss)->Selector));
    }

    [Fact]
    public void A_16_bit_gate_pushes_and_copies_16_bits()
    {
        using var m = M.Protected(3);
        m.Install(M.Slot, Gate(CallGate16, 3, M.Code0, 0x12345678, parameters: 2));
        m.Write(M.OuterStack, 0xCAFE_BEEF, 4);
        m.Succeeds(s => FarTransfers.Call(s, M.Slot | 3, 0, 4, Length));
        Assert.Equal(0x5678UL, m.State->Rip);
        ulong[] frame = [(M.Rip + Length) & 0xFFFF, M.Code3, 0xBEEF, 0xCAFE, M.OuterStack, M.Data3];
        Assert.Equal(frame, Enumerable.Range(0, 6).Select(n => m.Read(m.State->Gpr[4] + (uint)(n * 2), 2)));
    }

    /// <summary>Rule, SS of the TSS, slot, vector, error code: a call to an inner level (no EXT).</summary>
    public static TheoryData<string, int, ulong, byte, uint> BadStacks => new()
    {
        { "null: #TS(0)", 0, 0, 10, 0 },
        { "beyond the table: #TS(ss)", M.BeyondGdt, 0, 10, M.BeyondGdt },
        { "RPL unlike the new level: #TS(ss)", M.Slot2 | 3, Data(0), 10, M.Slot2 },
        { "DPL unlike the new level: #TS(ss)", M.Slot2, Data(3), 10, M.Slot2 },
        { "read-only: #TS(ss)", M.Slot2, Data(0, writable: false), 10, M.Slot2 },
        { "not present: #SS(ss)", M.Slot2, Data(0, present: false), 12, M.Slot2 },
        { "no room: #SS(ss)", M.Slot2, Data(0, limit: 0x1000, pages: false), 12, M.Slot2 },
    };

    [Theory]
    [MemberData(nameof(BadStacks))]
    public void A_bad_inner_stack_refuses_the_call(string rule, int ss, ulong slot, byte vector, uint code)
    {
        Assert.NotEmpty(rule);
        using var m = M.Protected(3);
        m.Install(M.Slot, Gate(CallGate, 3, M.Code0, 0x100));
        m.Install(M.Slot2, slot);
        m.Write(M.Tss + 8, (uint)ss, 2);
        m.Faults(vector, code, s => FarTransfers.Call(s, M.Slot | 3, 0, 4, Length));
    }

    [Fact]
    public void A_tss_without_the_inner_stack_is_ts_of_the_tss()
    {
        using var m = M.Protected(3);
        m.Install(M.Slot, Gate(CallGate, 3, M.Code0, 0x100));
        m.State->Seg(SegmentIndex.Tr)->Limit = 8;
        m.Faults(10, M.TssSelector, s => FarTransfers.Call(s, M.Slot | 3, 0, 4, Length));
    }

    [Fact]
    public void Long_mode_gates_have_16_bytes_and_push_8_each()
    {
        using var m = M.Long(3);
        m.Install(M.Slot, Gate(CallGate, 3, M.Code64, 0x1000), 0xFFFF8000, wide: true);
        m.Succeeds(s => FarTransfers.Call(s, M.Slot | 3, 0, 4, Length));
        Assert.Equal((0xFFFF8000_00001000UL, 0, (ushort)0), (m.State->Rip, m.State->Cpl, m.State->Seg(SegmentIndex.Ss)->Selector));
        ulong[] frame = [M.Rip + Length, M.Code64User, M.OuterStack, M.Data3];
        Assert.Equal(frame, Enumerable.Range(0, 4).Select(n => m.Read(m.State->Gpr[4] + (uint)(n * 8), 8)));
        Assert.Equal(M.InnerStack - 32, m.State->Gpr[4]);
        m.Succeeds(s => FarReturns.Return(s, 8, 0));
        Assert.Equal((M.Rip + Length, 3, M.OuterStack), (m.State->Rip, m.State->Cpl, m.State->Gpr[4]));
    }

    /// <summary>Rule, selector, low and high half of the slot, offset, vector, error code.</summary>
    public static TheoryData<string, int, ulong, ulong, ulong, byte, uint> RefusedLong => new()
    {
        { "TSS: #GP(sel)", M.TssSelector, 0, 0, 0, 13, M.TssSelector },
        { "task gate: #GP(sel)", M.Slot, Gate(5, 0, M.TssSelector, 0), 0, 0, 13, M.Slot },
        { "16-bit call gate: #GP(sel)", M.Slot, Gate(CallGate16, 0, M.Code64, 0), 0, 0, 13, M.Slot },
        { "type bits in the upper half: #GP(gate)", M.Slot, Gate(CallGate, 0, M.Code64, 0), 0x1F00_0000_0000, 0, 13, M.Slot },
        { "gate cut by the table's limit: #GP(gate)", 0xF8, Gate(CallGate, 0, M.Code64, 0), 0, 0, 13, 0xF8 },
        { "gate to 32-bit code: #GP(code)", M.Slot, Gate(CallGate, 0, M.Code0, 0), 0, 0, 13, M.Code0 },
        { "gate to a non-canonical address: #GP(0)", M.Slot, Gate(CallGate, 0, M.Code64, 0), 0x8000, 0, 13, 0 },
        { "L and D: #GP(sel)", M.Slot, Code(0, bits: 64) | (1UL << 54), 0, 0, 13, M.Slot },
        { "64-bit code at a non-canonical address: #GP(0)", M.Code64, 0, 0, 0x8000_0000_0000, 13, 0 },
    };

    [Theory]
    [MemberData(nameof(RefusedLong))]
    public void Long_mode_refuses_more(string rule, int selector, ulong low, ulong high, ulong offset, byte vector, uint code)
    {
        Assert.NotEmpty(rule);
        using var m = M.Long(0);
        if (low != 0)
        {
            m.Install((ushort)selector, low, high, wide: selector != 0xF8);
        }

        m.Faults(vector, code, s => FarTransfers.Jump(s, (ushort)selector, offset, 8, Length));
        m.Faults(vector, code, s => FarTransfers.Call(s, (ushort)selector, offset, 8, Length));
    }

    [Fact]
    public void From_64_bit_mode_into_compatibility_mode_and_back()
    {
        using var m = M.Long(0);
        m.Succeeds(s => FarTransfers.Jump(s, M.Code0, 0x1_0000_1234, 8, Length));
        Assert.Equal((0x1234UL, CpuMode.Code32), (m.State->Rip, m.State->Mode & CpuMode.SizeMask));
        m.Succeeds(s => FarTransfers.Jump(s, M.Code64, 0x4321, 4, Length));
        Assert.Equal((0x4321UL, CpuMode.Code64), (m.State->Rip, m.State->Mode & CpuMode.SizeMask));
    }

    [Fact]
    public void A_nested_page_fault_leaves_the_call_to_be_repeated()
    {
        using var m = M.Protected(0);
        m.Protect(M.OuterStack - 1, MemoryAccess.R);
        var before = m.Visible();
        Assert.False(FarTransfers.Call(m.State, M.Code0, 0x100, 4, Length));
        Assert.Equal((StopReason.Exit, before), (m.State->Stop, m.Visible()));
    }
}
