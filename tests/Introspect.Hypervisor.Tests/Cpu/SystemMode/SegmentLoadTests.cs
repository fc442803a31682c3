using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using static Introspect.Hypervisor.Tests.Cpu.SystemMode.DescriptorBuilder;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

public sealed unsafe class SegmentLoadTests
{
    private const uint Target = M.Slot;

    /// <summary>Rule, CPL, register, selector, descriptor of the slot, vector, error code (SDM vol. 2, MOV).</summary>
    public static TheoryData<string, int, int, int, ulong, int, uint> Refused => new()
    {
        { "data beyond the table: #GP(sel)", 0, 3, M.BeyondGdt, 0, 13, M.BeyondGdt },
        { "system descriptor in DS: #GP(sel)", 0, 3, M.Slot, SystemSegment(2, 0, 0, 0xFF), 13, Target },
        { "execute-only code in DS: #GP(sel)", 0, 3, M.Slot, Code(0, readable: false), 13, Target },
        { "data with CPL > DPL: #GP(sel)", 3, 3, M.Slot | 3, Data(0), 13, Target },
        { "data with RPL > DPL: #GP(sel)", 0, 0, M.Slot | 3, Data(0), 13, Target },
        { "non-conforming readable code with CPL > DPL: #GP(sel)", 3, 4, M.Slot, Code(0), 13, Target },
        { "data not present: #NP(sel)", 0, 3, M.Slot, Data(0, present: false), 11, Target },
        { "rights come before presence", 3, 3, M.Slot | 3, Data(0, present: false), 13, Target },
        { "null in SS: #GP(0)", 0, 2, 0, 0, 13, 0 },
        { "null with RPL in SS: #GP(0)", 3, 2, 3, 0, 13, 0 },
        { "SS beyond the table: #GP(sel)", 0, 2, M.BeyondGdt, 0, 13, M.BeyondGdt },
        { "SS with RPL unlike CPL: #GP(sel)", 0, 2, M.Slot | 3, Data(0), 13, Target },
        { "SS with DPL unlike CPL: #GP(sel)", 0, 2, M.Slot, Data(3), 13, Target },
        { "SS read-only: #GP(sel)", 0, 2, M.Slot, Data(0, writable: false), 13, Target },
        { "SS code: #GP(sel)", 0, 2, M.Slot, Code(0), 13, Target },
        { "SS not present: #SS(sel)", 0, 2, M.Slot, Data(0, present: false), 12, Target },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public void A_refused_load_faults_and_changes_nothing(string rule, int cpl, int register, int selector, ulong descriptor, int vector, uint code)
    {
        Assert.NotEmpty(rule);
        using var m = M.Protected(cpl);
        m.Install(M.Slot, descriptor);
        m.Faults((byte)vector, code, s => SegmentLoader.Move(s, (SegmentIndex)register, (ushort)selector));
        Assert.Equal(descriptor, m.Read(M.Gdt + M.Slot, 8));
    }

    [Fact]
    public void Mov_to_cs_is_an_invalid_opcode()
    {
        using var m = M.Protected(0);
        m.Faults(6, null, s => SegmentLoader.Move(s, SegmentIndex.Cs, M.Code0));
    }

    [Fact]
    public void A_load_takes_base_limit_and_rights_and_sets_the_accessed_bit()
    {
        using var m = M.Protected(0);
        m.Install(M.Slot, Data(3, address: 0x12345678, limit: 0x12345, pages: true));
        m.Succeeds(s => SegmentLoader.Move(s, SegmentIndex.Fs, M.Slot | 3));
        var fs = *m.State->Seg(SegmentIndex.Fs);
        Assert.Equal((0x12345678UL, 0x12345FFFu, (ushort)(M.Slot | 3)), (fs.Base, fs.Limit, fs.Selector));
        Assert.Equal(0xC0F3u, fs.Attributes);
        Assert.Equal(3, m.TypeOf(M.Slot));
        Assert.Equal(CpuShadow.None, m.State->Shadow);
    }

    [Fact]
    public void Conforming_readable_code_is_readable_from_every_level()
    {
        using var m = M.Protected(3);
        m.Install(M.Slot, Code(0, conforming: true));
        m.Succeeds(s => SegmentLoader.Move(s, SegmentIndex.Ds, M.Slot | 3));
        Assert.Equal(M.Slot | 3, m.State->Seg(SegmentIndex.Ds)->Selector);
    }

    [Fact]
    public void A_selector_with_ti_is_looked_up_in_the_ldt()
    {
        using var m = M.Protected(0);
        m.Install(0x0C, Data(0, address: 0x55000));
        m.Succeeds(s => SegmentLoader.Move(s, SegmentIndex.Es, 0x0C));
        Assert.Equal(0x55000UL, m.State->Seg(SegmentIndex.Es)->Base);
        m.State->Seg(SegmentIndex.Ldtr)->Attributes |= Segment.Unusable;
        m.Faults(13, 0x0C, s => SegmentLoader.Move(s, SegmentIndex.Es, 0x0C));
    }

    [Fact]
    public void Null_makes_a_data_segment_unusable_and_a_later_access_fault()
    {
        using var m = M.Protected(0);
        m.Succeeds(s => SegmentLoader.Move(s, SegmentIndex.Ds, 3));
        Assert.NotEqual(0u, m.State->Seg(SegmentIndex.Ds)->Attributes & Segment.Unusable);
        m.Faults(13, 0, s => Access.Linear(s, SegmentIndex.Ds, 0, 1, write: false, out _));
    }

    [Fact]
    public void A_load_of_ss_holds_back_interrupts_and_traps()
    {
        using var m = M.Protected(0);
        m.Succeeds(s => SegmentLoader.Move(s, SegmentIndex.Ss, M.Data16));
        Assert.Equal(CpuShadow.MovSs, m.State->Shadow);
    }

    [Theory]
    [InlineData(0, 0, true)]
    [InlineData(0, 3, false)]
    [InlineData(3, 3, false)]
    public void Null_in_ss_is_good_in_64_bit_mode_below_level_3_when_rpl_is_cpl(int cpl, int selector, bool good)
    {
        using var m = M.Long(cpl);
        if (good)
        {
            m.Succeeds(s => SegmentLoader.Move(s, SegmentIndex.Ss, (ushort)selector));
            return;
        }

        m.Faults(13, 0, s => SegmentLoader.Move(s, SegmentIndex.Ss, (ushort)selector));
    }

    [Theory]
    [InlineData(CpuVendor.Vmx, 0UL)]
    [InlineData(CpuVendor.Svm, 0x7000UL)]
    public void Null_in_fs_clears_the_base_on_intel_only(CpuVendor vendor, ulong expected)
    {
        using var m = M.Long(0, vendor);
        m.State->Seg(SegmentIndex.Fs)->Base = 0x7000;
        m.Succeeds(s => SegmentLoader.Move(s, SegmentIndex.Fs, 0));
        Assert.Equal(expected, m.State->Seg(SegmentIndex.Fs)->Base);
    }

    [Fact]
    public void Real_mode_takes_the_base_from_the_selector_and_keeps_the_limit()
    {
        using var m = M.Real();
        m.State->Seg(SegmentIndex.Ds)->Limit = 0xFFFFFFFF;
        m.Succeeds(s => SegmentLoader.Move(s, SegmentIndex.Ds, 0x1234));
        var ds = *m.State->Seg(SegmentIndex.Ds);
        Assert.Equal((0x12340UL, 0xFFFFFFFFu, (ushort)0x1234), (ds.Base, ds.Limit, ds.Selector));
    }

    [Fact]
    public void Pop_of_a_segment_reads_16_bits_and_moves_by_the_operand_size()
    {
        using var m = M.Protected(0);
        m.Write(M.OuterStack, 0xFFFF0000 | M.Data3, 4);
        m.Succeeds(s => SegmentLoader.Pop(s, SegmentIndex.Es, 4));
        Assert.Equal(M.OuterStack + 4, m.State->Gpr[4]);
        Assert.Equal(M.Data3, m.State->Seg(SegmentIndex.Es)->Selector);
    }

    [Fact]
    public void Pop_ss_into_a_16_bit_stack_still_moves_the_whole_pointer()
    {
        using var m = M.Protected(0);
        m.State->Gpr[4] = 0x1FFFE; // SP alone would wrap at 64 KiB
        m.Write(0x1FFFE, M.Data16, 2);
        m.Succeeds(s => SegmentLoader.Pop(s, SegmentIndex.Ss, 4));
        Assert.Equal(0x20002UL, m.State->Gpr[4]);
    }

    [Fact]
    public void A_refused_pop_leaves_the_stack_pointer()
    {
        using var m = M.Protected(3);
        m.Write(M.OuterStack, M.Data0, 2);
        m.Faults(13, M.Data0, s => SegmentLoader.Pop(s, SegmentIndex.Ds, 4));
    }

    [Fact]
    public void Lss_writes_its_register_only_after_the_segment_was_good()
    {
        using var m = M.Protected(0);
        m.Write(0x7000, 0x1234, 4);
        m.Write(0x7004, M.Data3, 2);
        m.Faults(13, M.Data3 & 0xFFFC, s => SegmentLoader.LoadFarPointer(s, SegmentIndex.Ss, 4, SegmentIndex.Ds, 0x7000, 4));
        m.Write(0x7004, M.Data16, 2);
        m.Succeeds(s => SegmentLoader.LoadFarPointer(s, SegmentIndex.Ss, 4, SegmentIndex.Ds, 0x7000, 4));
        Assert.Equal(0x1234UL, m.State->Gpr[4]);
        Assert.Equal(CpuShadow.None, m.State->Shadow);
    }
}
