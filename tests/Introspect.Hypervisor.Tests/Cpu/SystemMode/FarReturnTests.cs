using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using static Introspect.Hypervisor.Tests.Cpu.SystemMode.DescriptorBuilder;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>RETF and IRET (SDM vol. 2, RET and IRET): the two share their rules for CS and SS.</summary>
public sealed unsafe class FarReturnTests
{
    /// <summary>Rule, CPL, CS, slot, EIP, vector, error code.</summary>
    public static TheoryData<string, int, int, ulong, uint, byte, uint> BadCode => new()
    {
        { "null: #GP(0)", 0, 0, 0, 0, 13, 0 },
        { "beyond the table: #GP(cs)", 0, M.BeyondGdt, 0, 0, 13, M.BeyondGdt },
        { "data: #GP(cs)", 0, M.Data0, 0, 0, 13, M.Data0 },
        { "system: #GP(cs)", 0, M.TssSelector, 0, 0, 13, M.TssSelector },
        { "to an inner level: #GP(cs)", 3, M.Code0, 0, 0, 13, M.Code0 },
        { "non-conforming with DPL unlike RPL: #GP(cs)", 0, M.Code0 | 3, 0, 0, 13, M.Code0 },
        { "non-conforming with DPL > RPL: #GP(cs)", 0, M.Slot, Code(1), 0, 13, M.Slot },
        { "conforming with DPL > RPL: #GP(cs)", 0, M.Slot, Code(3, conforming: true), 0, 13, M.Slot },
        { "not present: #NP(cs)", 0, M.Slot, Code(0, present: false), 0, 11, M.Slot },
        { "EIP beyond the limit: #GP(0)", 0, M.Slot, Code(0, limit: 0xFFF, pages: false), 0x1000, 13, 0 },
    };

    [Theory]
    [MemberData(nameof(BadCode))]
    public void A_bad_code_segment_refuses_the_return(string rule, int cpl, int cs, ulong slot, uint eip, byte vector, uint code)
    {
        Assert.NotEmpty(rule);
        using var m = M.Protected(cpl);
        m.Install(M.Slot, slot);
        Push(m, 4, eip, (uint)cs, RFlags.Fixed1);
        m.Faults(vector, code, s => FarReturns.Return(s, 4, 0));
        m.Faults(vector, code, s => InterruptReturn.Return(s, 4, 1));
    }

    /// <summary>Rule, SS, slot, vector, error code: a return to level 3.</summary>
    public static TheoryData<string, int, ulong, byte, uint> BadStacks => new()
    {
        { "null: #GP(0)", 3, 0, 13, 0 },
        { "beyond the table: #GP(ss)", M.BeyondGdt | 3, 0, 13, M.BeyondGdt },
        { "RPL unlike the new level: #GP(ss)", M.Data3 & 0xFFFC, 0, 13, M.Data3 & 0xFFFC },
        { "DPL unlike the new level: #GP(ss)", M.Data0 | 3, 0, 13, M.Data0 },
        { "read-only: #GP(ss)", M.Slot | 3, Data(3, writable: false), 13, M.Slot },
        { "code: #GP(ss)", M.Code3, 0, 13, M.Code3 & 0xFFFC },
        { "not present: #SS(ss)", M.Slot | 3, Data(3, present: false), 12, M.Slot },
    };

    [Theory]
    [MemberData(nameof(BadStacks))]
    public void A_bad_outer_stack_refuses_the_return(string rule, int ss, ulong slot, byte vector, uint code)
    {
        Assert.NotEmpty(rule);
        using var m = M.Protected(0);
        m.Install(M.Slot, slot);
        Push(m, 4, 0x100, M.Code3, 0x8000, (uint)ss);
        m.Faults(vector, code, s => FarReturns.Return(s, 4, 0));
        Push(m, 4, 0x100, M.Code3, RFlags.Fixed1, 0x8000, (uint)ss);
        m.Faults(vector, code, s => InterruptReturn.Return(s, 4, 1));

        // 64-bit mode has the same rules, with SS popped always.
        using var l = M.Long(0);
        l.Install(M.Slot, slot);
        Push(l, 8, 0x100, M.Code64User, RFlags.Fixed1, 0x8000, (uint)ss);
        l.Faults(vector, code, s => InterruptReturn.Return(s, 8, 2));
    }

    [Fact]
    public void A_stack_that_ends_too_early_is_ss_0()
    {
        using var m = M.Protected(0);
        Push(m, 4, 0x100, M.Code3, 0x8000, M.Data3);
        m.State->Seg(SegmentIndex.Ss)->Limit = M.OuterStack + 12;
        m.Faults(12, 0, s => FarReturns.Return(s, 4, 0));
        m.State->Seg(SegmentIndex.Ss)->Limit = M.OuterStack + 10;
        m.Faults(12, 0, s => InterruptReturn.Return(s, 4, 1));
    }

    [Fact]
    public void A_return_to_an_outer_level_takes_inner_data_segments_away()
    {
        using var m = M.Protected(0);
        var s = m.State;
        *s->Seg(SegmentIndex.Es) = *s->Seg(SegmentIndex.Ss);
        SegmentLoader.Load(s, SegmentIndex.Ds, M.Data3);
        SegmentLoader.Load(s, SegmentIndex.Fs, 2);
        SegmentLoader.Load(s, SegmentIndex.Gs, M.Conforming);
        Push(m, 4, 0x100, M.Code3, 0x8000, M.Data3);
        m.Succeeds(c => FarReturns.Return(c, 4, 0));
        Assert.Equal((3, 0x100UL, 0x8000UL), (s->Cpl, s->Rip, s->Gpr[4]));
        Assert.Equal(
            (0, M.Data3, 0, M.Conforming),
            (s->Seg(SegmentIndex.Es)->Selector, s->Seg(SegmentIndex.Ds)->Selector, s->Seg(SegmentIndex.Fs)->Selector, s->Seg(SegmentIndex.Gs)->Selector));
        Assert.NotEqual(0u, s->Seg(SegmentIndex.Es)->Attributes & Segment.Unusable);
    }

    [Theory]
    [InlineData(CpuVendor.Vmx, 0u, 0u, 0u)]
    [InlineData(CpuVendor.Svm, 0x1000u, 0xffff_ffffu, 0xc13u)]
    public void What_is_taken_away_is_kept_as_not_present_by_AMD_only(CpuVendor vendor, uint address, uint limit, uint rights)
    {
        using var m = M.Protected(0, vendor);
        var ds = m.State->Seg(SegmentIndex.Ds);
        *ds = new Segment { Selector = M.Data0, Base = 0x1000, Limit = 0xffff_ffff, Attributes = 0xc093 };
        Push(m, 4, 0x100, M.Code3, 0x8000, M.Data3);
        m.Succeeds(c => FarReturns.Return(c, 4, 0));
        Assert.Equal((0, address, limit, rights), (ds->Selector, (uint)ds->Base, ds->Limit, CpuRecords.PackRights(ds->Attributes)));
    }

    [Fact]
    public void A_base_set_by_its_msr_survives_a_return_with_a_null_selector()
    {
        using var m = M.Long(0);
        SegmentLoader.Load(m.State, SegmentIndex.Gs, 0);
        m.State->Seg(SegmentIndex.Gs)->Base = 0x7FFF_0000_0000;
        Push(m, 8, 0x100, M.Code64User, RFlags.Fixed1, 0x8000, M.Data3);
        m.Succeeds(s => InterruptReturn.Return(s, 8, 2));
        Assert.Equal(0x7FFF_0000_0000UL, m.State->Seg(SegmentIndex.Gs)->Base);
    }

    /// <summary>CPL, IOPL, operand size, what an image of all ones makes of flags that were clear.</summary>
    [Theory]
    [InlineData(0, 0, 4, RFlags.All & ~RFlags.Vm & ~RFlags.Fixed1)]
    [InlineData(0, 0, 2, 0x7FD5u)]
    [InlineData(3, 3, 4, (0x7FD5u | RFlags.Rf | RFlags.Ac | RFlags.Id) & ~RFlags.Iopl)]
    [InlineData(3, 0, 4, (0x7FD5u | RFlags.Rf | RFlags.Ac | RFlags.Id) & ~RFlags.Iopl & ~RFlags.If)]
    [InlineData(3, 0, 2, 0x7FD5u & ~RFlags.Iopl & ~RFlags.If)]
    public void Iret_changes_the_flags_that_the_level_may_change(int cpl, int iopl, int size, uint changed)
    {
        using var m = M.Protected(cpl);
        m.State->FlagsOther |= (uint)iopl << RFlags.IoplShift;
        // VM in the image is ignored above level 0; at level 0 it would be a return to virtual-8086 mode.
        Push(m, size, 0x100, cpl == 0 ? M.Code0 : M.Code3, cpl == 0 ? ~RFlags.Vm : ~0u);
        m.Succeeds(s => InterruptReturn.Return(s, size, 1));
        Assert.Equal(changed | RFlags.Fixed1 | ((uint)iopl << RFlags.IoplShift), Flags.Read(m.State));
    }

    [Fact]
    public void Iret_opens_nmis_again()
    {
        using var m = M.Protected(0);
        m.State->Shadow = CpuShadow.Nmi;
        Push(m, 4, 0x100, M.Code0, RFlags.Fixed1);
        m.Succeeds(s => InterruptReturn.Return(s, 4, 1));
        Assert.Equal(CpuShadow.None, m.State->Shadow);
    }

    [Fact]
    public void Iretq_pops_ss_rsp_at_the_same_level_too_and_may_pop_a_null_ss()
    {
        using var m = M.Long(0);
        Push(m, 8, 0x100, M.Code64, RFlags.Fixed1, 0x8008, 0);
        m.Succeeds(s => InterruptReturn.Return(s, 8, 2));
        Assert.Equal((0x100UL, 0x8008UL, (ushort)0), (m.State->Rip, m.State->Gpr[4], m.State->Seg(SegmentIndex.Ss)->Selector));
    }

    [Fact]
    public void Iretq_to_a_non_canonical_address_is_gp_0_at_the_inner_level()
    {
        using var m = M.Long(0);
        Push(m, 8, 0x8000_0000_0000, M.Code64User, RFlags.Fixed1, 0x8000, M.Data3);
        m.Faults(13, 0, s => InterruptReturn.Return(s, 8, 2));
    }

    [Fact]
    public void Iretq_to_compatibility_code_needs_a_real_stack_segment()
    {
        using var m = M.Long(0);
        Push(m, 8, 0x100, M.Code0, RFlags.Fixed1, 0x8000, 0);
        m.Faults(13, 0, s => InterruptReturn.Return(s, 8, 2));
        Push(m, 8, 0x1_0000_0100, M.Code3, RFlags.Fixed1, 0x8000, M.Data3);
        m.Succeeds(s => InterruptReturn.Return(s, 8, 2));
        Assert.Equal((0x100UL, CpuMode.Code32), (m.State->Rip, m.State->Mode & CpuMode.SizeMask));
    }

    [Fact]
    public void A_16_bit_outer_stack_takes_16_bits_of_esp()
    {
        using var m = M.Protected(0);
        m.Install(M.Slot, Data(3, big: false, limit: 0xFFFF, pages: false));
        Push(m, 4, 0x100, M.Code3, 0, 0, 0x12348000, M.Slot | 3);
        m.Succeeds(s => FarReturns.Return(s, 4, 8));
        Assert.Equal(0x8008UL, m.State->Gpr[4]);
    }

    [Fact]
    public void A_return_to_virtual_8086_mode_checks_its_16_bit_ip()
    {
        using var m = M.Protected(0);
        Push(m, 4, 0x10000, 0x1000, RFlags.Vm | RFlags.Fixed1, 0x100, 0, 0, 0, 0, 0);
        m.Faults(13, 0, s => InterruptReturn.Return(s, 4, 1));
    }

    [Fact]
    public void A_refused_iret_opens_nmis_all_the_same_and_keeps_the_stack_pointer()
    {
        using var m = M.Protected(0);
        m.State->Shadow = CpuShadow.Nmi;
        Push(m, 4, 0x100, 0, RFlags.Fixed1);
        m.Faults(13, 0, s => InterruptReturn.Return(s, 4, 1));
        Assert.Equal(CpuShadow.None, m.State->Shadow);
        Assert.Equal((ulong)M.OuterStack, m.State->Gpr[4]);
    }

    private static void Push(SystemMachine m, int size, params ulong[] words)
    {
        for (var n = 0; n < words.Length; n++)
        {
            m.Write(M.OuterStack + (uint)(n * size), words[n], size);
        }
    }
}
