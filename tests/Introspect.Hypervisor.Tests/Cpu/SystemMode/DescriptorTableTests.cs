using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using static Introspect.Hypervisor.Tests.Cpu.SystemMode.DescriptorBuilder;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>LGDT and its kin, LLDT, LTR, VERR, VERW, LAR, LSL, ARPL (SDM vol. 2).</summary>
public sealed unsafe class DescriptorTableTests
{
    private const ulong Umip = 1 << 11;

    /// <summary>Rule, for LTR (else LLDT), selector, slot, vector, error code.</summary>
    public static TheoryData<string, bool, int, ulong, byte, uint> Refused => new()
    {
        { "LTR null: #GP(0)", true, 0, 0, 13, 0 },
        { "LTR in the LDT: #GP(sel)", true, 0x0C, 0, 13, 0x0C },
        { "LTR beyond the GDT: #GP(sel)", true, M.BeyondGdt, 0, 13, M.BeyondGdt },
        { "LTR of a busy TSS: #GP(sel)", true, M.TssSelector, 0, 13, M.TssSelector },
        { "LTR of data: #GP(sel)", true, M.Data0, 0, 13, M.Data0 },
        { "LTR not present: #NP(sel)", true, M.Slot, SystemSegment(9, 0, 0, 0x67, present: false), 11, M.Slot },
        { "LLDT in the LDT: #GP(sel)", false, 0x0C, 0, 13, 0x0C },
        { "LLDT beyond the GDT: #GP(sel)", false, M.BeyondGdt, 0, 13, M.BeyondGdt },
        { "LLDT of a TSS: #GP(sel)", false, M.TssSelector, 0, 13, M.TssSelector },
        { "LLDT not present: #NP(sel)", false, M.Slot, SystemSegment(2, 0, 0, 0x67, present: false), 11, M.Slot },
    };

    [Theory]
    [MemberData(nameof(Refused))]
    public void A_bad_system_segment_is_refused(string rule, bool task, int selector, ulong slot, byte vector, uint code)
    {
        Assert.NotEmpty(rule);
        foreach (var longMode in (bool[])[false, true])
        {
            using var m = longMode ? M.Long(0) : M.Protected(0);
            m.Install(M.Slot, slot, wide: true);
            m.Faults(vector, code, s => task ? SystemRegisters.LoadTask(s, (ushort)selector) : SystemRegisters.LoadLdt(s, (ushort)selector));
        }
    }

    [Fact]
    public void Ltr_marks_the_tss_busy()
    {
        using var m = M.Protected(0);
        m.Succeeds(s => SystemRegisters.LoadTask(s, M.NewTss16Selector));
        Assert.Equal((3, 0x83u), (m.TypeOf(M.NewTss16Selector), m.State->Seg(SegmentIndex.Tr)->Attributes));
        m.Succeeds(s => SystemRegisters.LoadTask(s, M.NewTssSelector));
        Assert.Equal((11, M.NewTss, 0x67u), (m.TypeOf(M.NewTssSelector), (uint)m.State->Seg(SegmentIndex.Tr)->Base, m.State->Seg(SegmentIndex.Tr)->Limit));
    }

    [Fact]
    public void In_long_mode_system_descriptors_have_16_bytes()
    {
        using var m = M.Long(0);
        m.Install(M.Slot, SystemSegment(9, 0, 0x1234_5000, 0x67), 0xFFFF_8000, wide: true);
        m.Succeeds(s => SystemRegisters.LoadTask(s, M.Slot));
        Assert.Equal(0xFFFF_8000_1234_5000UL, m.State->Seg(SegmentIndex.Tr)->Base);
        m.Install(M.Slot2, SystemSegment(2, 0, 0x1234_5000, 0x67), 0x8000, wide: true);
        m.Faults(13, M.Slot2, s => SystemRegisters.LoadLdt(s, M.Slot2)); // not canonical
        m.Install(M.Slot2, SystemSegment(2, 0, 0x1234_5000, 0x67), 0x1F00_0000_0000, wide: true);
        m.Faults(13, M.Slot2, s => SystemRegisters.LoadLdt(s, M.Slot2)); // type bits
        m.Install(M.Slot3, SystemSegment(1, 0, 0, 0x67), wide: true);
        m.Faults(13, M.Slot3, s => SystemRegisters.LoadTask(s, M.Slot3)); // 16-bit TSS
    }

    [Fact]
    public void A_null_ldt_has_no_descriptors()
    {
        using var m = M.Protected(0);
        m.Succeeds(s => SystemRegisters.LoadLdt(s, 0));
        m.Faults(13, 0x0C, s => SegmentLoader.Load(s, SegmentIndex.Ds, 0x0C));
    }

    [Fact]
    public void They_are_for_level_0_and_protected_mode()
    {
        using var user = M.Protected(3);
        user.Faults(13, 0, s => SystemRegisters.LoadLdt(s, 0));
        user.Faults(13, 0, s => SystemRegisters.LoadTask(s, M.NewTssSelector));
        user.Faults(13, 0, s => SystemRegisters.LoadTable(s, TableRegister.Gdtr, SegmentIndex.Ds, 0x7000, 4));
        using var real = M.Real();
        real.Faults(6, null, s => SystemRegisters.LoadLdt(s, 0));
        real.Faults(6, null, s => SystemRegisters.LoadTask(s, M.NewTssSelector));
        real.Faults(6, null, s => SystemRegisters.StoreSelector(s, SegmentIndex.Tr, out _));
        real.Faults(6, null, s => DescriptorQueries.Verr(s, 8));
        real.Faults(6, null, s => DescriptorQueries.Arpl(s, 0, 3, out _));
    }

    [Theory]
    [InlineData(2, 0x345678UL)]
    [InlineData(4, 0x12345678UL)]
    public void Lgdt_takes_24_or_32_bits_of_base(int size, ulong expected)
    {
        using var m = M.Protected(0);
        m.Write(0x7000, 0x9999_1234_5678_ABCD, 8);
        m.Succeeds(s => SystemRegisters.LoadTable(s, TableRegister.Gdtr, SegmentIndex.Ds, 0x7000, size));
        Assert.Equal((expected, 0xABCDu), (m.State->GdtrBase, m.State->GdtrLimit));
    }

    [Fact]
    public void In_64_bit_mode_the_base_has_64_bits_and_is_canonical()
    {
        using var m = M.Long(0);
        m.Write(0x7000, 0xFFF, 2);
        m.Write(0x7002, 0xFFFF_8000_0000_1000, 8);
        m.Succeeds(s => SystemRegisters.LoadTable(s, TableRegister.Idtr, SegmentIndex.Ds, 0x7000, 2));
        Assert.Equal((0xFFFF_8000_0000_1000UL, 0xFFFu), (m.State->IdtrBase, m.State->IdtrLimit));
        m.Succeeds(s => SystemRegisters.StoreTable(s, TableRegister.Idtr, SegmentIndex.Ds, 0x7100));
        Assert.Equal((0xFFFUL, 0xFFFF_8000_0000_1000UL), (m.Read(0x7100, 2), m.Read(0x7102, 8)));
        m.Write(0x7002, 0x8000_0000_0000, 8);
        m.Faults(13, 0, s => SystemRegisters.LoadTable(s, TableRegister.Idtr, SegmentIndex.Ds, 0x7000, 8));
    }

    [Fact]
    public void Umip_hides_the_tables_from_programs()
    {
        using var m = M.Protected(3);
        m.Succeeds(s => SystemRegisters.StoreTable(s, TableRegister.Gdtr, SegmentIndex.Ds, 0x7000));
        Assert.Equal(0x1000_00FFUL, m.Read(0x7000, 6));
        m.State->Cr4 = Umip;
        m.Faults(13, 0, s => SystemRegisters.StoreTable(s, TableRegister.Gdtr, SegmentIndex.Ds, 0x7000));
        m.Faults(13, 0, s => SystemRegisters.StoreSelector(s, SegmentIndex.Ldtr, out _));
        m.Faults(13, 0, s => SystemRegisters.StoreMachineStatus(s, out _));
        using var kernel = M.Protected(0);
        kernel.State->Cr4 = Umip;
        ushort selector = 0;
        kernel.Succeeds(s => SystemRegisters.StoreSelector(s, SegmentIndex.Tr, out selector));
        Assert.Equal(M.TssSelector, selector);
    }

    /// <summary>Rule, CPL, selector, slot, readable, writable.</summary>
    public static TheoryData<string, int, int, ulong, bool, bool> Verified => new()
    {
        { "null", 0, 0, 0, false, false },
        { "beyond the table", 0, M.BeyondGdt, 0, false, false },
        { "system", 0, M.TssSelector, 0, false, false },
        { "writable data", 0, M.Data0, 0, true, true },
        { "read-only data", 0, M.Slot, Data(0, writable: false), true, false },
        { "readable code", 0, M.Code0, 0, true, false },
        { "execute-only code", 0, M.Slot, Code(0, readable: false), false, false },
        { "CPL > DPL", 3, M.Data0, 0, false, false },
        { "RPL > DPL", 0, M.Data0 | 3, 0, false, false },
        { "conforming code from outside", 3, M.Conforming | 3, 0, true, false },
        { "absence does not matter", 0, M.Slot, Data(0, present: false), true, true },
    };

    [Theory]
    [MemberData(nameof(Verified))]
    public void Verr_and_verw_answer_in_zf(string rule, int cpl, int selector, ulong slot, bool readable, bool writable)
    {
        Assert.NotEmpty(rule);
        using var m = M.Protected(cpl);
        m.Install(M.Slot, slot);
        m.Succeeds(s => DescriptorQueries.Verr(s, (ushort)selector));
        Assert.Equal(readable, Flags.Zf(m.State));
        m.Succeeds(s => DescriptorQueries.Verw(s, (ushort)selector));
        Assert.Equal(writable, Flags.Zf(m.State));
    }

    /// <summary>Type of a system descriptor, LAR and LSL in legacy mode, in long mode (tables 3-52 and 3-65).</summary>
    [Theory]
    [InlineData(0, false, false, false, false)]
    [InlineData(1, true, true, false, false)]
    [InlineData(2, true, true, true, true)]
    [InlineData(3, true, true, false, false)]
    [InlineData(4, true, false, false, false)]
    [InlineData(5, true, false, false, false)]
    [InlineData(6, false, false, false, false)]
    [InlineData(7, false, false, false, false)]
    [InlineData(8, false, false, false, false)]
    [InlineData(9, true, true, true, true)]
    [InlineData(10, false, false, false, false)]
    [InlineData(11, true, true, true, true)]
    [InlineData(12, true, false, true, false)]
    [InlineData(13, false, false, false, false)]
    [InlineData(14, false, false, false, false)]
    [InlineData(15, false, false, false, false)]
    public void Lar_and_lsl_know_these_types(int type, bool lar, bool lsl, bool larLong, bool lslLong)
    {
        foreach (var longMode in (bool[])[false, true])
        {
            using var m = longMode ? M.Long(0) : M.Protected(0);
            m.Install(M.Slot, SystemSegment(type, 0, 0, 0xFF), wide: true);
            m.Succeeds(s => DescriptorQueries.Lar(s, M.Slot, 3, 4));
            Assert.Equal(longMode ? larLong : lar, Flags.Zf(m.State));
            m.Succeeds(s => DescriptorQueries.Lsl(s, M.Slot, 3, 4));
            Assert.Equal(longMode ? lslLong : lsl, Flags.Zf(m.State));
        }
    }

    [Fact]
    public void Lar_gives_the_rights_and_lsl_the_limit_in_bytes()
    {
        using var m = M.Protected(0);
        m.Install(M.Slot, Data(0, limit: 0x12345));
        m.State->Gpr[3] = 0xFFFF_FFFF_FFFF_FFFF;
        m.Succeeds(s => DescriptorQueries.Lar(s, M.Slot, 3, 4));
        Assert.Equal(0xC1_9200UL, m.State->Gpr[3]);
        m.Succeeds(s => DescriptorQueries.Lsl(s, M.Slot, 3, 4));
        Assert.Equal(0x1234_5FFFUL, m.State->Gpr[3]);
        m.Succeeds(s => DescriptorQueries.Lar(s, M.Slot, 3, 2));
        Assert.Equal(0x1234_9200UL, m.State->Gpr[3]);
        m.Succeeds(s => DescriptorQueries.Lar(s, 0, 3, 4));
        Assert.Equal(0x1234_9200UL, m.State->Gpr[3]);
        Assert.False(Flags.Zf(m.State));
    }

    [Theory]
    [InlineData(0x08, 0x3B, 0x0B, true)]
    [InlineData(0x0B, 0x38, 0x0B, false)]
    [InlineData(0x0A, 0x3A, 0x0A, false)]
    public void Arpl_raises_the_rpl(int destination, int source, int expected, bool zf)
    {
        using var m = M.Protected(3);
        ushort result = 0;
        m.Succeeds(s => DescriptorQueries.Arpl(s, (ushort)destination, (ushort)source, out result));
        Assert.Equal((expected, zf), (result, Flags.Zf(m.State)));
    }
}
