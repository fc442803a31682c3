using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS (SDM vol. 2; APM vol. 3).</summary>
public sealed unsafe class FastSystemCallTests
{
    private const ulong Star = 0x0033_0008_0000_4000;
    private const ulong NonCanonical = 0x8000_0000_0000;

    [Fact]
    public void Syscall_goes_to_lstar_with_the_masked_flags_cleared()
    {
        using var m = Prepared(3);
        var s = m.State;
        Flags.Write(s, RFlags.If | RFlags.Cf | RFlags.Tf | RFlags.Rf, RFlags.All);
        s->SyscallMask = RFlags.If | RFlags.Tf;
        m.Succeeds(c => FastSystemCalls.Syscall(c, 2));
        Assert.Equal((0xFFFF_8000_0000_0000UL, 0, CpuMode.Code64), (s->Rip, s->Cpl, s->Mode));
        Assert.Equal((M.Rip + 2UL, (ulong)(RFlags.If | RFlags.Cf | RFlags.Tf | RFlags.Fixed1)), (s->Gpr[1], s->Gpr[11]));
        Assert.Equal(RFlags.Cf | RFlags.Fixed1, Flags.Read(s));
        Assert.Equal((0x08, 0x10), (s->Seg(SegmentIndex.Cs)->Selector, s->Seg(SegmentIndex.Ss)->Selector));
        Assert.Equal((0xA09Bu, 0xC093u), (s->Seg(SegmentIndex.Cs)->Attributes, s->Seg(SegmentIndex.Ss)->Attributes));
        Assert.Equal(M.OuterStack, s->Gpr[4]);
    }

    [Fact]
    public void Sysret_to_64_bit_code_restores_rcx_and_r11()
    {
        using var m = Prepared(0);
        var s = m.State;
        s->Gpr[1] = 0x7FFF_1234_5678;
        s->Gpr[11] = 0xFFFF_FFFF;
        Assert.True(FastSystemCalls.Sysret(s, 8));
        Assert.Equal((true, Vector.Debug, 1UL << 14), (s->Pending.Valid, s->Pending.Vector, s->Pending.Payload));
        Assert.Equal((0x7FFF_1234_5678UL, 3), (s->Rip, s->Cpl));
        Assert.Equal((0x43, 0x3B), (s->Seg(SegmentIndex.Cs)->Selector, s->Seg(SegmentIndex.Ss)->Selector));
        Assert.Equal(0x3C7FD7u, Flags.Read(s));
        Assert.Equal((0xA0FBu, 0xC0F3u), (s->Seg(SegmentIndex.Cs)->Attributes, s->Seg(SegmentIndex.Ss)->Attributes));
    }

    [Fact]
    public void Sysret_to_compatibility_code_cuts_rip()
    {
        using var m = Prepared(0);
        m.State->Gpr[1] = 0x1_2345_6789;
        m.Succeeds(s => FastSystemCalls.Sysret(s, 4));
        Assert.Equal((0x2345_6789UL, 0x33), (m.State->Rip, m.State->Seg(SegmentIndex.Cs)->Selector));
        Assert.Equal(CpuMode.Code32 | CpuMode.User, m.State->Mode & ~CpuMode.FlatData);
    }

    [Fact]
    public void A_non_canonical_return_is_found_at_level_0_on_intel_and_at_level_3_on_amd()
    {
        using var intel = Prepared(0);
        intel.State->Gpr[1] = NonCanonical;
        intel.Faults(13, 0, s => FastSystemCalls.Sysret(s, 8));
        using var amd = Prepared(0, CpuVendor.Svm);
        amd.State->Gpr[1] = NonCanonical;
        amd.Succeeds(s => FastSystemCalls.Sysret(s, 8));
        Assert.Equal((NonCanonical, 3), (amd.State->Rip, amd.State->Cpl));
    }

    [Fact]
    public void Amd_leaves_the_hidden_part_of_ss_in_sysret()
    {
        using var m = Prepared(0, CpuVendor.Svm);
        m.State->Seg(SegmentIndex.Ss)->Limit = 0x1234;
        m.Succeeds(s => FastSystemCalls.Sysret(s, 8));
        Assert.Equal((0x3B, 0x1234u), (m.State->Seg(SegmentIndex.Ss)->Selector, m.State->Seg(SegmentIndex.Ss)->Limit));
    }

    [Fact]
    public void Without_sce_or_out_of_place_they_are_undefined()
    {
        using var m = Prepared(0);
        m.State->Efer &= ~CpuModes.EferSce;
        m.Faults(6, null, s => FastSystemCalls.Syscall(s, 2));
        m.Faults(6, null, s => FastSystemCalls.Sysret(s, 8));

        using var compatibility = M.Long(3, compatibility: true);
        compatibility.Faults(6, null, s => FastSystemCalls.Syscall(s, 2));
        using var user = Prepared(3);
        user.Faults(13, 0, s => FastSystemCalls.Sysret(s, 8));
    }

    [Fact]
    public void Amd_has_syscall_in_compatibility_and_legacy_mode()
    {
        using var m = M.Long(3, CpuVendor.Svm, compatibility: true);
        m.State->Star = Star;
        m.State->Cstar = 0xFFFF_8000_0000_1000;
        m.Succeeds(s => FastSystemCalls.Syscall(s, 2));
        Assert.Equal((0xFFFF_8000_0000_1000UL, CpuMode.Code64), (m.State->Rip, m.State->Mode));

        using var legacy = M.Protected(3, CpuVendor.Svm);
        legacy.State->Efer = CpuModes.EferSce;
        legacy.State->Star = Star;
        Flags.Write(legacy.State, RFlags.If, RFlags.If);
        legacy.Succeeds(s => FastSystemCalls.Syscall(s, 2));
        Assert.Equal((0x4000UL, M.Rip + 2UL, 0), (legacy.State->Rip, legacy.State->Gpr[1], legacy.State->Cpl));
        Assert.Equal(0u, legacy.State->FlagsOther & RFlags.If);
        legacy.Succeeds(s => FastSystemCalls.Sysret(s, 4));
        Assert.Equal((M.Rip + 2UL, 3, 0x33), (legacy.State->Rip, legacy.State->Cpl, legacy.State->Seg(SegmentIndex.Cs)->Selector));
        Assert.NotEqual(0u, legacy.State->FlagsOther & RFlags.If);
    }

    [Fact]
    public void Sysenter_and_sysexit_in_32_bits()
    {
        using var m = M.Protected(3);
        var s = m.State;
        s->SysenterCs = 0x0B;
        s->SysenterEip = 0x1_2345;
        s->SysenterEsp = 0xB000;
        Flags.Write(s, RFlags.If, RFlags.If);
        m.Succeeds(FastSystemCalls.Sysenter);
        Assert.Equal((0x12345UL, 0xB000UL, 0, 0x08, 0x10), (s->Rip, s->Gpr[4], s->Cpl, s->Seg(SegmentIndex.Cs)->Selector, s->Seg(SegmentIndex.Ss)->Selector));
        Assert.Equal(0u, s->FlagsOther & RFlags.If);
        s->Gpr[1] = 0x9000;
        s->Gpr[2] = 0x777;
        m.Succeeds(c => FastSystemCalls.Sysexit(c, 4));
        Assert.Equal((0x777UL, 0x9000UL, 3, 0x1B, 0x23), (s->Rip, s->Gpr[4], s->Cpl, s->Seg(SegmentIndex.Cs)->Selector, s->Seg(SegmentIndex.Ss)->Selector));
    }

    [Fact]
    public void Sysexit_to_64_bit_code_uses_its_own_selectors_and_checks_both_addresses()
    {
        using var m = M.Long(0);
        var s = m.State;
        s->SysenterCs = 0x08;
        s->Gpr[1] = 0x9000;
        s->Gpr[2] = NonCanonical;
        m.Faults(13, 0, c => FastSystemCalls.Sysexit(c, 8));
        s->Gpr[2] = 0x777;
        m.Succeeds(c => FastSystemCalls.Sysexit(c, 8));
        Assert.Equal((0x2B, 0x33, 3), (s->Seg(SegmentIndex.Cs)->Selector, s->Seg(SegmentIndex.Ss)->Selector, s->Cpl));
    }

    [Fact]
    public void Sysenter_needs_its_selector_and_amd_has_none_in_long_mode()
    {
        using var m = M.Protected(3);
        m.Faults(13, 0, FastSystemCalls.Sysenter);
        m.State->SysenterCs = 8;
        m.Faults(13, 0, s => FastSystemCalls.Sysexit(s, 4));
        using var amd = M.Long(3, CpuVendor.Svm);
        amd.State->SysenterCs = 8;
        amd.Faults(6, null, FastSystemCalls.Sysenter);
        amd.Faults(6, null, s => FastSystemCalls.Sysexit(s, 4));
    }

    [Fact]
    public void Swapgs_exchanges_the_bases_in_64_bit_kernel_code_only()
    {
        using var m = M.Long(0);
        m.State->Seg(SegmentIndex.Gs)->Base = 1;
        m.State->KernelGsBase = 2;
        m.Succeeds(FastSystemCalls.Swapgs);
        Assert.Equal((2UL, 1UL), (m.State->Seg(SegmentIndex.Gs)->Base, m.State->KernelGsBase));
        using var user = M.Long(3);
        user.Faults(13, 0, FastSystemCalls.Swapgs);
        using var compatibility = M.Long(0, compatibility: true);
        compatibility.Faults(6, null, FastSystemCalls.Swapgs);
    }

    private static SystemMachine Prepared(int cpl, CpuVendor vendor = CpuVendor.Vmx)
    {
        var m = M.Long(cpl, vendor);
        m.State->Star = Star;
        m.State->Lstar = 0xFFFF_8000_0000_0000;
        return m;
    }
}
