using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.SystemMode;
using M = Introspect.Hypervisor.Tests.Cpu.SystemMode.SystemMachine;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>CLI, STI, PUSHF, POPF (SDM vol. 2) and ports (SDM vol. 1, 19.5).</summary>
public sealed unsafe class FlagAndPortTests
{
    private const int Real = -1;
    private const int Vm86 = -2;
    private const uint GoesToIf = RFlags.If;
    private const uint GoesToVif = RFlags.Vif;
    private const uint Fault = 0;

    /// <summary>CPL or mode, IOPL, VME or PVI on, VIP set, what CLI and STI do (tables 3-7 and 4-19).</summary>
    [Theory]
    [InlineData(Real, 0, false, false, GoesToIf, GoesToIf)]
    [InlineData(0, 0, false, false, GoesToIf, GoesToIf)]
    [InlineData(3, 3, false, false, GoesToIf, GoesToIf)]
    [InlineData(3, 2, false, false, Fault, Fault)]
    [InlineData(3, 2, true, false, GoesToVif, GoesToVif)]
    [InlineData(3, 2, true, true, GoesToVif, Fault)]
    [InlineData(3, 3, true, true, GoesToIf, GoesToIf)]
    [InlineData(Vm86, 3, false, false, GoesToIf, GoesToIf)]
    [InlineData(Vm86, 0, false, false, Fault, Fault)]
    [InlineData(Vm86, 0, true, false, GoesToVif, GoesToVif)]
    [InlineData(Vm86, 0, true, true, GoesToVif, Fault)]
    public void Cli_and_sti_change_if_vif_or_fault(int cpl, int iopl, bool extensions, bool vip, uint cli, uint sti)
    {
        using var m = Machine(cpl, iopl, extensions);
        Flags.Write(m.State, RFlags.If | RFlags.Vif | (vip ? RFlags.Vip : 0), RFlags.If | RFlags.Vif | RFlags.Vip);
        Check(m, cli, FlagInstructions.Cli, (RFlags.If | RFlags.Vif) & ~cli);
        Flags.Write(m.State, 0, RFlags.If | RFlags.Vif);
        m.State->Shadow = CpuShadow.None;
        Check(m, sti, FlagInstructions.Sti, sti);
        Assert.Equal(sti == GoesToIf ? CpuShadow.Sti : CpuShadow.None, m.State->Shadow);
    }

    [Fact]
    public void Sti_with_if_set_holds_nothing_back()
    {
        using var m = M.Protected(0);
        Flags.Write(m.State, RFlags.If, RFlags.If);
        m.Succeeds(FlagInstructions.Sti);
        Assert.Equal(CpuShadow.None, m.State->Shadow);
    }

    /// <summary>CPL or mode, IOPL, size, what POPF of ones makes of clear flags beside the six arithmetic ones.</summary>
    [Theory]
    [InlineData(Real, 0, 2, RFlags.Tf | RFlags.If | RFlags.Df | RFlags.Iopl | RFlags.Nt)]
    [InlineData(0, 0, 4, RFlags.Tf | RFlags.If | RFlags.Df | RFlags.Iopl | RFlags.Nt | RFlags.Ac | RFlags.Id)]
    [InlineData(3, 0, 4, RFlags.Tf | RFlags.Df | RFlags.Nt | RFlags.Ac | RFlags.Id)]
    [InlineData(3, 3, 4, RFlags.Tf | RFlags.If | RFlags.Df | RFlags.Iopl | RFlags.Nt | RFlags.Ac | RFlags.Id)]
    [InlineData(3, 1, 2, RFlags.Tf | RFlags.Df | RFlags.Nt | 0x1000)]
    [InlineData(Vm86, 3, 4, RFlags.Vm | RFlags.Tf | RFlags.If | RFlags.Df | RFlags.Iopl | RFlags.Nt | RFlags.Ac | RFlags.Id)]
    public void Popf_changes_what_the_level_may_change(int cpl, int iopl, int size, uint expected)
    {
        using var m = Machine(cpl, iopl, extensions: false);
        Flags.Write(m.State, 0, RFlags.If);
        var top = Top(m);
        m.Write(top, 0xFFFFFFFF, size);
        m.Succeeds(s => FlagInstructions.Popf(s, size));
        Assert.Equal(expected | RFlags.Arithmetic | RFlags.Fixed1, Flags.Read(m.State));
        Assert.Equal(top + (ulong)size, Top(m));
    }

    [Theory]
    [InlineData(0, 4, true, 0u)]
    [InlineData(0, 2, false, 0u)]
    [InlineData(0, 2, true, RFlags.Tf)]
    public void Popf_of_restricted_virtual_8086_code_faults(int iopl, int size, bool vme, uint image)
    {
        using var m = M.Vm86(iopl, vme);
        m.Write(Top(m), image, size);
        m.Faults(13, 0, s => FlagInstructions.Popf(s, size));
    }

    [Fact]
    public void With_vme_popf_and_pushf_have_vif_for_if_and_iopl_3()
    {
        using var m = M.Vm86(0, vme: true);
        m.Write(Top(m), RFlags.Zf, 2);
        m.State->FlagsOther |= RFlags.Vif | RFlags.Vip;
        m.Succeeds(s => FlagInstructions.Popf(s, 2));
        Assert.Equal((RFlags.If, 0u), (m.State->FlagsOther & RFlags.If, m.State->FlagsOther & RFlags.Vif));
        m.Succeeds(s => FlagInstructions.Pushf(s, 2));
        Assert.Equal(RFlags.Zf | RFlags.Iopl | RFlags.Fixed1, m.Read(Top(m), 2));

        // An interrupt is pending: IF must not be set.
        m.Write(Top(m), RFlags.If, 2);
        m.Faults(13, 0, s => FlagInstructions.Popf(s, 2));
        m.State->FlagsOther &= ~RFlags.Vip;
        m.Succeeds(s => FlagInstructions.Popf(s, 2));
        Assert.Equal(RFlags.Vif, m.State->FlagsOther & RFlags.Vif);
    }

    [Fact]
    public void Pushf_shows_neither_vm_nor_rf_and_faults_in_restricted_virtual_8086_code()
    {
        using var m = M.Vm86(3);
        m.State->FlagsOther |= RFlags.Rf;
        m.Succeeds(s => FlagInstructions.Pushf(s, 4));
        Assert.Equal(RFlags.If | RFlags.Iopl | RFlags.Fixed1, m.Read(Top(m), 4));
        using var restricted = M.Vm86(0);
        restricted.Faults(13, 0, s => FlagInstructions.Pushf(s, 2));
    }

    /// <summary>Mode, IOPL, port, size, allowed: ports 0x60–0x67 are open in the bitmap but for 0x64.</summary>
    [Theory]
    [InlineData(Real, 0, 0x80, 1, true)]
    [InlineData(0, 0, 0x80, 1, true)]
    [InlineData(3, 3, 0x80, 1, true)]
    [InlineData(3, 0, 0x80, 1, false)]
    [InlineData(3, 0, 0x60, 4, true)]
    [InlineData(3, 0, 0x64, 1, false)]
    [InlineData(3, 0, 0x63, 2, false)]
    [InlineData(3, 0, 0x65, 2, true)]
    [InlineData(3, 0, 0x67, 2, false)]
    [InlineData(Vm86, 3, 0x80, 1, false)]
    [InlineData(Vm86, 3, 0x60, 1, true)]
    [InlineData(3, 0, 0xFFFF, 1, false)]
    public void The_io_bitmap_decides_above_iopl_and_always_in_virtual_8086_mode(int cpl, int iopl, int port, int size, bool allowed)
    {
        using var m = Machine(cpl, iopl, extensions: false);
        m.Write(M.Tss + 102, 0x68, 2);
        for (var n = 0u; n < 0x100; n++)
        {
            m.Write(M.Tss + 0x68 + n, 0xFF, 1);
        }

        m.Write(M.Tss + 0x68 + (0x60 / 8), 1 << 4, 1);
        if (allowed)
        {
            m.Succeeds(s => IoPrivilege.Check(s, (ushort)port, size));
            return;
        }

        m.Faults(13, 0, s => IoPrivilege.Check(s, (ushort)port, size));
    }

    [Theory]
    [InlineData("the second byte must be there too", 0x68u + 12, 0x8Bu)]
    [InlineData("a TSS of less than 104 bytes", 102u, 0x8Bu)]
    [InlineData("a 16-bit TSS", 0x167u, 0x83u)]
    public void Without_a_bitmap_ports_are_refused(string rule, uint limit, uint attributes)
    {
        Assert.NotEmpty(rule);
        using var m = M.Protected(3);
        m.Write(M.Tss + 102, 0x68, 2);
        *m.State->Seg(SegmentIndex.Tr) = new Segment { Base = M.Tss, Limit = limit, Attributes = attributes };
        m.Faults(13, 0, s => IoPrivilege.Check(s, 0x60, 1));
    }

    private static uint Top(SystemMachine m) => (uint)(m.State->Gpr[4] + m.State->Seg(SegmentIndex.Ss)->Base);

    private static SystemMachine Machine(int cpl, int iopl, bool extensions)
    {
        var m = cpl switch
        {
            Real => M.Real(),
            Vm86 => M.Vm86(iopl),
            _ => M.Protected(cpl),
        };
        Flags.Write(m.State, (uint)iopl << RFlags.IoplShift, RFlags.Iopl);
        m.State->Cr4 = extensions ? 3u : 0;
        return m;
    }

    private static void Check(SystemMachine m, uint outcome, Instruction instruction, uint expected)
    {
        if (outcome == Fault)
        {
            m.Faults(13, 0, instruction);
            return;
        }

        m.Succeeds(instruction);
        Assert.Equal(expected, m.State->FlagsOther & (RFlags.If | RFlags.Vif));
    }
}
