using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Tests.Cpu.Bits;

/// <summary>What the lockstep cannot reach: decimal arithmetic and BOUND, wrapping bit strings, refused operands.</summary>
public sealed unsafe class RareInstructionTests
{
    private const uint C = RFlags.Cf;
    private const uint P = RFlags.Pf;
    private const uint A = RFlags.Af;
    private const uint Z = RFlags.Zf;
    private const uint S = RFlags.Sf;

    [Theory]
    [InlineData("27", 0xAE, 0u, 0x14, C | P | A)] // daa: 79 + 35 = 114
    [InlineData("27", 0x2E, 0u, 0x34, A)]
    [InlineData("27", 0x99, 0u, 0x99, S | P)]
    [InlineData("27", 0x9A, 0u, 0x00, C | P | A | Z)]
    [InlineData("27", 0x00, C, 0x60, C | P)]
    [InlineData("27", 0x10, A, 0x16, A)]
    [InlineData("2F", 0xEE, C | A, 0x88, C | P | A | S)] // das: 35 - 47 = 88, borrowed
    [InlineData("2F", 0x03, A, 0xFD, C | A | S)]
    [InlineData("2F", 0x0A, 0u, 0x04, A)]
    [InlineData("2F", 0x99, 0u, 0x99, S | P)]
    [InlineData("37", 0x0F, 0u, 0x0105, C | A)] // aaa
    [InlineData("37", 0x0009, 0u, 0x0009, 0u)]
    [InlineData("37", 0x01FF, 0u, 0x0305, C | A)] // the carry out of AL goes into AH
    [InlineData("3F", 0x020F, 0u, 0x0109, C | A)] // aas
    [InlineData("3F", 0x0203, A, 0x000D, C | A)] // a borrow of AL is taken from AH
    [InlineData("3F", 0x0205, 0u, 0x0205, 0u)]
    [InlineData("D40A", 0x003F, 0u, 0x0603, P)] // aam: 63 is 6 and 3
    [InlineData("D410", 0xFF80, 0u, 0x0800, P | Z)]
    [InlineData("D50A", 0x0603, 0u, 0x003F, P)] // aad
    [InlineData("D510", 0xFF10, 0u, 0x0000, P | Z)]
    public void Decimal_adjustments_give_what_the_manual_says(string bytes, int ax, uint flagsBefore, int result, uint flags)
    {
        // The flags that no manual defines are left out: OF always, CF and AF of AAM and AAD, the signs of AAA and AAS.
        var compared = bytes[..2] switch
        {
            "37" or "3F" => C | A,
            "D4" or "D5" => S | Z | P,
            _ => C | A | S | Z | P,
        };
        using var machine = In32(bytes + "F4");
        var s = machine.State;
        s->Gpr[0] = (uint)ax;
        Flags.WriteArithmetic(s, flagsBefore);

        Assert.Equal(ExitKind.Hlt, machine.Cpu.Run(100).Kind);

        Assert.Equal(result, (int)s->Gpr[0]);
        Assert.Equal(flags & compared, Flags.Read(s) & compared);
    }

    [Fact]
    public void Aam_with_a_base_of_zero_is_a_divide_error() => Assert.Equal(Vector.DivideError, FaultOf("D400"));

    [Theory]
    [InlineData(5u, false)]
    [InlineData(0xFFFFFFFEu, false)]
    [InlineData(10u, false)]
    [InlineData(11u, true)]
    [InlineData(0xFFFFFFFDu, true)]
    public void Bound_compares_signed_with_both_limits(uint index, bool outside)
    {
        using var machine = In32("6203F4"); // bound eax, [ebx]
        var s = machine.State;
        s->Gpr[0] = index;
        s->Gpr[3] = 0x200000;
        *(int*)(machine.Ram + 0x200000) = -2;
        *(int*)(machine.Ram + 0x200004) = 10;

        Assert.Equal(outside ? Vector.BoundRange : (byte)0, Run(machine));
    }

    [Fact]
    public void A_misaligned_cmpxchg16b_is_a_protection_fault()
    {
        using var machine = new BareMachine().EnterLongMode();
        machine.Code(0x100000, a => a.cmpxchg16b(AssemblerRegisters.__xmmword_ptr[AssemblerRegisters.rsi]));
        machine.State->Gpr[6] = 0x200008;

        Assert.Equal(Vector.GeneralProtection, Run(machine));
    }

    [Fact]
    public void A_bit_string_wraps_within_its_address_size()
    {
        using var machine = In32("670FAB04F4"); // bts [si], eax
        var s = machine.State;
        s->Gpr[0] = 0xFFFFFFE0; // 32 bits below
        s->Gpr[6] = 2;

        Assert.Equal(0, Run(machine));

        Assert.Equal(1, machine.Ram[0xFFFE]);
    }

    [Fact]
    public void Xlat_indexes_with_al_alone()
    {
        using var machine = In32("D7F4");
        var s = machine.State;
        s->Gpr[0] = 0xFFFFFF80;
        s->Gpr[3] = 0x200000;
        machine.Ram[0x200080] = 0x5A;

        Assert.Equal(0, Run(machine));

        Assert.Equal(0xFFFFFF5AUL, s->Gpr[0]);
    }

    private static byte FaultOf(string bytes)
    {
        using var machine = In32(bytes);
        return Run(machine);
    }

    /// <summary>Runs one instruction and gives the vector of its exception, which is left pending, or 0.</summary>
    private static byte Run(BareMachine machine)
    {
        var exit = machine.Cpu.EmulateOne(AccessOverride.None);
        Assert.NotEqual(ExitKind.TripleFault, exit.Kind);
        return machine.State->Pending.Valid ? machine.State->Pending.Vector : (byte)0;
    }

    /// <summary>A flat 32-bit code segment in protected mode without paging.</summary>
    private static BareMachine In32(string bytes)
    {
        var machine = new BareMachine();
        Convert.FromHexString(bytes).CopyTo(new Span<byte>(machine.Ram + 0x100000, bytes.Length / 2));
        var s = machine.State;
        s->Cr0 = CpuModes.Cr0Pe | 0x10;
        *s->Seg(SegmentIndex.Cs) = new Segment { Selector = 8, Limit = ~0u, Attributes = 0xC09B };
        foreach (var n in (SegmentIndex[])[SegmentIndex.Es, SegmentIndex.Ss, SegmentIndex.Ds])
        {
            *s->Seg(n) = new Segment { Selector = 16, Limit = ~0u, Attributes = 0xC093 };
        }

        s->Rip = 0x100000;
        machine.Cpu.StateChanged();
        return machine;
    }
}
