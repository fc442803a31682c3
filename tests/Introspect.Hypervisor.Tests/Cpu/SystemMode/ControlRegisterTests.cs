using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>Writes to CR0, CR3, CR4, CR8, EFER, XCR0 (SDM vol. 3, 2.5, 4.1; vol. 2, MOV CRn, WRMSR, XSETBV).</summary>
public sealed unsafe class ControlRegisterTests
{
    private const ulong Pe = 1;
    private const ulong Ts = 8;
    private const ulong Et = 16;
    private const ulong Wp = 1 << 16;
    private const ulong Nw = 1UL << 29;
    private const ulong Cd = 1UL << 30;
    private const ulong Pg = 1UL << 31;
    private const ulong Pae = 1 << 5;
    private const ulong Pge = 1 << 7;
    private const ulong Umip = 1 << 11;
    private const ulong La57 = 1 << 12;
    private const ulong Pcide = 1 << 17;
    private const ulong Smep = 1 << 20;
    private const ulong Cet = 1 << 23;
    private const ulong Lme = 1 << 8;
    private const ulong Lma = 1 << 10;
    private const ulong Nxe = 1 << 11;
    private const uint Pdpt = 0x30000;
    private const int Stale = (int)(ControlEffects.FlushAll | ControlEffects.ModeChanged);

    private static ControlLimits Limits => new(Pae | Pge | Umip | La57 | Pcide | Smep | Cet, 1 | Lme | Lma | Nxe, 0xE7 | (3 << 3));

    [Theory]
    [InlineData("bits of the upper half", 1UL << 32 | Pe)]
    [InlineData("PG without PE", Pg)]
    [InlineData("NW without CD", Pe | Nw)]
    public void Invalid_cr0_is_gp_0(string rule, ulong value)
    {
        Assert.NotEmpty(rule);
        using var m = M.Protected(0);
        m.Faults(13, 0, s => ControlRegisters.WriteCr0(s, value, out _));
    }

    [Fact]
    public void Cr0_keeps_et_and_drops_bits_that_are_not_there()
    {
        using var m = M.Protected(0);
        Assert.True(ControlRegisters.WriteCr0(m.State, Pe | Ts | 0x1FFC_0000 & ~0x40000u | Cd | Nw, out var effects));
        Assert.Equal(Pe | Ts | Et | Cd | Nw, m.State->Cr0);
        Assert.Equal(ControlEffects.None, effects);
    }

    [Fact]
    public void Paging_and_write_protection_flush_everything()
    {
        using var m = M.Protected(0);
        Assert.True(ControlRegisters.WriteCr0(m.State, Pe | Wp, out var effects));
        Assert.Equal(ControlEffects.FlushAll, effects);
        Assert.True(ControlRegisters.WriteCr0(m.State, Pe | Wp | Pg, out effects));
        Assert.Equal(ControlEffects.FlushAll | ControlEffects.ModeChanged, effects);
        Assert.Equal(0UL, m.State->Efer & Lma);
    }

    [Fact]
    public void Clearing_pe_goes_to_real_mode()
    {
        using var m = M.Protected(0);
        Assert.True(ControlRegisters.WriteCr0(m.State, 0, out _));
        Assert.True(CpuModes.IsRealOrVm86(m.State));
    }

    [Fact]
    public void Paging_with_lme_activates_long_mode_and_without_leaves_it()
    {
        using var m = M.Protected(0);
        var s = m.State;
        s->Cr4 = Pae;
        s->Efer = Lme;
        Assert.True(ControlRegisters.WriteCr0(s, Pe | Pg, out var effects));
        Assert.Equal(Lme | Lma, s->Efer);
        Assert.Equal(ControlEffects.FlushAll | ControlEffects.ModeChanged, effects);
        Assert.Equal(CpuMode.Code32, s->Mode & CpuMode.SizeMask);
        Assert.True(ControlRegisters.WriteCr0(s, Pe, out _));
        Assert.Equal(Lme, s->Efer);
    }

    [Theory]
    [InlineData("without PAE")]
    [InlineData("from a code segment with L")]
    [InlineData("with a 16-bit TSS")]
    public void Long_mode_cannot_be_entered(string rule)
    {
        using var m = M.Protected(0);
        var s = m.State;
        s->Cr4 = rule == "without PAE" ? 0 : Pae;
        s->Efer = Lme;
        if (rule.Contains("code segment", StringComparison.Ordinal))
        {
            s->Seg(SegmentIndex.Cs)->Attributes |= Segment.LongMode;
        }

        if (rule.Contains("16-bit", StringComparison.Ordinal))
        {
            s->Seg(SegmentIndex.Tr)->Attributes = 0x83;
        }

        m.Faults(13, 0, c => ControlRegisters.WriteCr0(c, Pe | Pg, out _));
    }

    [Fact]
    public void Paging_cannot_be_left_from_64_bit_code_or_with_pcids()
    {
        using var m = M.Long(0);
        m.Faults(13, 0, s => ControlRegisters.WriteCr0(s, Pe, out _));
        using var compatibility = M.Long(0, compatibility: true);
        compatibility.State->Cr4 |= Pcide;
        compatibility.Faults(13, 0, s => ControlRegisters.WriteCr0(s, Pe, out _));
        compatibility.State->Cr4 &= ~Pcide;
        compatibility.Succeeds(s => ControlRegisters.WriteCr0(s, Pe, out _));
        Assert.Equal(0UL, compatibility.State->Efer & Lma);
    }

    [Fact]
    public void Wp_must_stay_with_cet()
    {
        using var m = M.Protected(0);
        m.State->Cr4 = Cet;
        m.State->Cr0 |= Wp;
        m.Faults(13, 0, s => ControlRegisters.WriteCr0(s, Pe, out _));
        m.State->Cr4 = 0;
        m.State->Cr0 &= ~Wp;
        m.Faults(13, 0, s => ControlRegisters.WriteCr4(s, Cet, Limits, out _));
    }

    [Fact]
    public void Pae_paging_loads_four_entries_and_refuses_reserved_bits_in_present_ones()
    {
        using var m = M.Protected(0);
        var s = m.State;
        s->Cr4 = Pae;
        s->Cr3 = Pdpt;
        m.Write(Pdpt, 0x31001, 8);
        m.Write(Pdpt + 8, 0x1E6, 8); // not present: anything goes
        m.Write(Pdpt + 16, 0x32000 | 1 | 2, 8);
        m.Faults(13, 0, c => ControlRegisters.WriteCr0(c, Pe | Pg, out _));
        Assert.Equal(0UL, s->Pdpte[0]);
        m.Write(Pdpt + 16, 0x32001, 8);
        Assert.True(ControlRegisters.WriteCr0(s, Pe | Pg, out var effects));
        Assert.Equal((0x31001UL, 0x32001UL), (s->Pdpte[0], s->Pdpte[2]));
        Assert.Equal(ControlEffects.FlushAll | ControlEffects.ModeChanged | ControlEffects.PdptesChanged, effects);

        // A table at another place with a bit above the physical address.
        m.Write(Pdpt + 0x20, (1UL << Mmu.PhysicalBits) | 1, 8);
        m.Faults(13, 0, c => ControlRegisters.WriteCr3(c, Pdpt + 0x20, out _));
        m.Write(Pdpt + 0x20, 0x33001, 8);
        Assert.True(ControlRegisters.WriteCr3(s, Pdpt + 0x3F, out effects));
        Assert.Equal((0x33001UL, ControlEffects.FlushNonGlobal | ControlEffects.PdptesChanged), (s->Pdpte[0], effects));
        Assert.True(ControlRegisters.WriteCr4(s, Pae | Pge, Limits, out effects));
        Assert.Equal(ControlEffects.FlushAll | ControlEffects.ModeChanged | ControlEffects.PdptesChanged, effects);
    }

    [Theory]
    [InlineData("bits above the physical address", 1UL << 46, 0UL)]
    [InlineData("bit 63 without PCIDE", 1UL << 63, 0UL)]
    [InlineData("bit 62", 1UL << 62, Pcide)]
    public void Invalid_cr3_of_long_mode_is_gp_0(string rule, ulong value, ulong cr4)
    {
        Assert.NotEmpty(rule);
        using var m = M.Long(0);
        m.State->Cr4 |= cr4;
        m.Faults(13, 0, s => ControlRegisters.WriteCr3(s, value, out _));
    }

    [Fact]
    public void Cr3_with_pcids_may_keep_translations()
    {
        using var m = M.Long(0);
        m.State->Cr4 |= Pcide;
        Assert.True(ControlRegisters.WriteCr3(m.State, 0x20005 | (1UL << 63), out var effects));
        Assert.Equal((0x20005UL, ControlEffects.None), (m.State->Cr3, effects));
        Assert.True(ControlRegisters.WriteCr3(m.State, 0x20005, out effects));
        Assert.Equal(ControlEffects.FlushNonGlobal, effects);
    }

    [Theory]
    [InlineData("a bit that the CPU does not have", Pae | (1 << 22), false)]
    [InlineData("the upper half", Pae | (1UL << 40), false)]
    [InlineData("PAE cleared in long mode", 0UL, true)]
    [InlineData("LA57 changed in long mode", Pae | La57, true)]
    [InlineData("PCIDE outside of long mode", Pae | Pcide, false)]
    public void Invalid_cr4_is_gp_0(string rule, ulong value, bool longMode)
    {
        Assert.NotEmpty(rule);
        using var m = longMode ? M.Long(0) : M.Protected(0);
        m.Faults(13, 0, s => ControlRegisters.WriteCr4(s, value, Limits, out _));
    }

    [Fact]
    public void Pcide_can_be_set_only_while_the_pcid_is_0()
    {
        using var m = M.Long(0);
        m.State->Cr3 |= 5;
        m.Faults(13, 0, s => ControlRegisters.WriteCr4(s, Pae | Pcide, Limits, out _));
        m.State->Cr3 &= ~5UL;
        m.Succeeds(s => ControlRegisters.WriteCr4(s, Pae | Pcide, Limits, out _));
    }

    [Theory]
    [InlineData(Pae | Pge, Stale)]
    [InlineData(Pae | Smep, Stale)]
    [InlineData(Pae | Umip, (int)ControlEffects.ModeChanged)]
    [InlineData(Pae, (int)ControlEffects.None)]
    public void Cr4_tells_what_is_stale(ulong value, int expected)
    {
        using var m = M.Long(0);
        Assert.True(ControlRegisters.WriteCr4(m.State, value, Limits, out var effects));
        Assert.Equal((ControlEffects)expected, effects);
    }

    [Fact]
    public void Efer_keeps_lma_and_lme_cannot_change_under_paging()
    {
        using var m = M.Long(0);
        Assert.True(ControlRegisters.WriteEfer(m.State, Lme | Nxe, Limits, out var effects));
        Assert.Equal((Lme | Lma | Nxe, ControlEffects.FlushAll), (m.State->Efer, effects));
        m.Faults(13, 0, s => ControlRegisters.WriteEfer(s, Nxe, Limits, out _));
        m.Faults(13, 0, s => ControlRegisters.WriteEfer(s, Lme | (1 << 12), Limits, out _));
    }

    [Theory]
    [InlineData(0u, 0x1UL, true)]
    [InlineData(0u, 0x3UL, true)]
    [InlineData(0u, 0x7UL, true)]
    [InlineData(0u, 0xE7UL, true)]
    [InlineData(0u, 0x1FUL, true)]
    [InlineData(1u, 0x1UL, false)]
    [InlineData(0u, 0x2UL, false)]
    [InlineData(0u, 0x5UL, false)]
    [InlineData(0u, 0xBUL, false)]
    [InlineData(0u, 0x27UL, false)]
    [InlineData(0u, 0xE3UL, false)]
    [InlineData(0u, 0x207UL, false)]
    public void Xcr0_has_combinations(uint index, ulong value, bool valid)
    {
        using var m = M.Long(0);
        if (valid)
        {
            m.Succeeds(s => ControlRegisters.WriteXcr0(s, index, value, Limits));
            Assert.Equal(value, m.State->Xcr0);
            return;
        }

        m.Faults(13, 0, s => ControlRegisters.WriteXcr0(s, index, value, Limits));
    }

    [Fact]
    public void Cr8_has_four_bits()
    {
        using var m = M.Long(0);
        m.Succeeds(s => ControlRegisters.WriteCr8(s, 15));
        m.Faults(13, 0, s => ControlRegisters.WriteCr8(s, 16));
    }

    [Theory]
    [InlineData(1, 0, 6)]
    [InlineData(5, 3, 6)]
    [InlineData(0, 3, 13)]
    [InlineData(8, 3, 13)]
    public void Access_is_for_level_0_and_to_registers_that_exist(int index, int cpl, byte vector)
    {
        using var m = M.Protected(cpl);
        m.Faults(vector, vector == 13 ? 0u : null, s => ControlRegisters.CheckAccess(s, index));
    }

    [Fact]
    public void Lmsw_sets_pe_but_does_not_clear_it()
    {
        using var m = M.Protected(0);
        m.State->Cr0 = Pe | Ts | Et | Wp;
        Assert.Equal(Pe | Et | Wp | 6, ControlRegisters.LmswValue(m.State, 0xFFF6));
        m.State->Cr0 = Et;
        Assert.Equal(Pe | Et, ControlRegisters.LmswValue(m.State, 1));
    }

    [Fact]
    public void A_nested_page_fault_on_the_pdptes_is_an_exit()
    {
        using var m = M.Protected(0);
        m.State->Cr4 = Pae;
        m.State->Cr3 = Pdpt;
        m.Protect(Pdpt, MemoryAccess.N);
        Assert.False(ControlRegisters.WriteCr0(m.State, Pe | Pg, out _));
        Assert.Equal((StopReason.Exit, ExitKind.NestedPageFault, (ulong)Pdpt), (m.State->Stop, m.State->Exit.Kind, m.State->Exit.Gpa));
        Assert.False(m.State->Pending.Valid);
    }

}
