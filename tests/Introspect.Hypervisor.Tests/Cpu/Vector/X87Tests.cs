using Introspect.Hypervisor.Core.Cpu;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Cpu.VectorUnit;

public sealed unsafe class X87Tests
{
    private const ulong Data = VectorMachine.Data;
    private const int None = VectorMachine.NoFault;
    private const int Mf = 16;

    [Fact]
    public void Arithmetic_equals_double_precision_of_the_host()
    {
        using var machine = new VectorMachine();
        var random = new Random(87);
        for (var n = 0; n < 50; n++)
        {
            var (a, b) = ((random.NextDouble() * 200) - 100, random.NextDouble() + 0.5);
            *(double*)(machine.Ram + Data) = a;
            *(double*)(machine.Ram + Data + 8) = b;
            machine.State->Fcw = 0x27F; // 53 bits, so that nothing is rounded twice
            Assert.Equal(None, machine.Run(c =>
            {
                c.fld(__qword_ptr[Data]);
                c.fld(__qword_ptr[Data + 8]);
                c.fadd(st0, st1);
                c.fmul(__qword_ptr[Data + 8]);
                c.fdivp(st1, st0);
                c.fstp(__qword_ptr[Data + 16]);
                c.fld(__qword_ptr[Data + 8]);
                c.fsqrt();
                c.fstp(__qword_ptr[Data + 24]);
            }));
            Assert.Equal(a / ((a + b) * b), *(double*)(machine.Ram + Data + 16));
            Assert.Equal(Math.Sqrt(b), *(double*)(machine.Ram + Data + 24));
            Assert.Equal(0, machine.State->FtwAbridged);
        }
    }

    [Fact]
    public void An_unmasked_division_by_zero_waits_for_the_next_instruction()
    {
        using var machine = new VectorMachine();
        machine.State->Fcw = 0x37B;
        Assert.Equal(None, machine.Run(c =>
        {
            c.fld1();
            c.fldz();
            c.fdivp(st1, st0);
            c.fnstsw(ax);
        }));
        var s = machine.State;
        Assert.Equal(0x8084, s->Fsw & 0x80FF);
        Assert.Equal(6, (s->Fsw >> 11) & 7); // nothing was popped
        Assert.Equal(0x6F9, s->Fop);
        Assert.Equal(0xB084, (int)s->Gpr[0] & 0xFFFF);
        Assert.Equal(Mf, machine.Run(c => c.fld1()));
        Assert.Equal(None, machine.Run(c =>
        {
            c.fnclex();
            c.fld1();
        }));
    }

    [Fact]
    public void An_unmasked_invalid_store_writes_nothing_and_pops_nothing()
    {
        using var machine = new VectorMachine();
        machine.State->Fcw = 0x37E;
        *(double*)(machine.Ram + Data) = 1e300;
        *(uint*)(machine.Ram + Data + 8) = 0x12345678;
        Assert.Equal(None, machine.Run(c =>
        {
            c.fld(__qword_ptr[Data]);
            c.fistp(__dword_ptr[Data + 8]);
        }));
        Assert.Equal(0x12345678u, *(uint*)(machine.Ram + Data + 8));
        Assert.Equal(0x80, machine.State->FtwAbridged);
        Assert.Equal(0x81, machine.State->Fsw & 0xFF);

        machine.State->Fcw = 0x37F;
        machine.State->Fsw = 0x3800;
        Assert.Equal(None, machine.Run(c => c.fistp(__dword_ptr[Data + 8])));
        Assert.Equal(0x80000000u, *(uint*)(machine.Ram + Data + 8));
        Assert.Equal(0, machine.State->FtwAbridged);
    }

    [Fact]
    public void An_inexact_store_is_written_before_its_exception()
    {
        using var machine = new VectorMachine();
        machine.State->Fcw = 0x35F;
        Assert.Equal(None, machine.Run(c =>
        {
            c.fldpi();
            c.fstp(__dword_ptr[Data]);
        }));
        Assert.Equal((float)Math.PI, *(float*)(machine.Ram + Data));
        Assert.Equal(0xA0, machine.State->Fsw & 0xBF);
        Assert.Equal(Data, machine.State->Fdp);
        Assert.Equal(Mf, machine.Run(c => c.wait()));
    }

    [Fact]
    public void The_stack_overflows_with_a_nan()
    {
        using var machine = new VectorMachine();
        Assert.Equal(None, machine.Run(c =>
        {
            for (var n = 0; n < 9; n++)
            {
                c.fld1();
            }
        }));
        Assert.Equal(0x241, machine.State->Fsw & 0x27F); // IE, SF, C1
        Assert.Equal(0xC000000000000000UL, machine.State->X87[7 * 2]);
        Assert.Equal(0xFFFFUL, machine.State->X87[(7 * 2) + 1]);
    }

    [Fact]
    public void Compares_and_conditional_moves_use_rflags()
    {
        using var machine = new VectorMachine();
        Assert.Equal(None, machine.Run(c =>
        {
            c.fld1();
            c.fldz();
            c.fcomi(st0, st1);
        }));
        Assert.Equal(RFlags.Cf, Flags.ReadArithmetic(machine.State));
        Assert.Equal(None, machine.Run(c =>
        {
            c.stc();
            c.fcmovb(st0, st1);
            c.fstp(__qword_ptr[Data]);
        }));
        Assert.Equal(1.0, *(double*)(machine.Ram + Data));
    }

    [Fact]
    public void Packed_decimal_and_extended_precision_go_through_memory()
    {
        using var machine = new VectorMachine();
        *(long*)(machine.Ram + Data) = -123456789012345678;
        Assert.Equal(None, machine.Run(c =>
        {
            c.fild(__qword_ptr[Data]);
            c.fld(st0);
            c.fbstp(__tword_ptr[Data + 0x10]);
            c.fstp(__tword_ptr[Data + 0x20]);
            c.fbld(__tword_ptr[Data + 0x10]);
            c.fisttp(__qword_ptr[Data + 8]);
        }));
        Assert.Equal(-123456789012345678, *(long*)(machine.Ram + Data + 8));
        Assert.Equal(0x3456789012345678UL, *(ulong*)(machine.Ram + Data + 0x10));
        Assert.Equal(0x8012, *(ushort*)(machine.Ram + Data + 0x18));
        Assert.Equal(0xC037, *(ushort*)(machine.Ram + Data + 0x28));
    }

    [Fact]
    public void The_environment_is_stored_and_loaded()
    {
        using var machine = new VectorMachine();
        Assert.Equal(None, machine.Run(c =>
        {
            c.fld1();
            c.fldz();
            c.fnstenv(__[Data]);
            c.fnsave(__[Data + 0x40]);
            c.fnstsw(ax);
        }));
        var words = (uint*)(machine.Ram + Data);
        Assert.Equal(0xFFFF037Fu, words[0]);
        Assert.Equal(0xFFFF3000u, words[1]);
        Assert.Equal(0xFFFF1FFFu, words[2]); // 7 valid, 6 zero, the others empty
        Assert.Equal(0, (int)machine.State->Gpr[0] & 0xFFFF);
        Assert.Equal(0, machine.State->FtwAbridged);
        Assert.Equal(None, machine.Run(c =>
        {
            c.frstor(__[Data + 0x40]);
            c.faddp(st1, st0);
            c.fstp(__qword_ptr[Data]);
        }));
        Assert.Equal(1.0, *(double*)(machine.Ram + Data));
    }

    [Fact]
    public void A_control_word_that_unmasks_a_raised_flag_makes_it_pending()
    {
        using var machine = new VectorMachine();
        *(ushort*)(machine.Ram + Data) = 0xFFFF & ~4;
        Assert.Equal(None, machine.Run(c =>
        {
            c.fld1();
            c.fldz();
            c.fdivp(st1, st0);
            c.fldcw(__word_ptr[Data]);
            c.fnstcw(__word_ptr[Data + 2]);
        }));
        Assert.Equal(0x1F7B, *(ushort*)(machine.Ram + Data + 2));
        Assert.Equal(Mf, machine.Run(c => c.wait()));
        Assert.Equal(None, machine.Run(c => c.fnstenv(__[Data])));
        Assert.Equal(0, machine.State->Fsw & 0x8080);
        Assert.Equal(None, machine.Run(c => c.wait()));
        Assert.Equal(None, machine.Run(c => c.fnop()));
    }

    [Fact]
    public void Mmx_fills_the_stack_and_its_exponents()
    {
        using var machine = new VectorMachine();
        var s = machine.State;
        s->X87[3 * 2] = 0x80FF010203040506;
        s->X87[5 * 2] = 0x8001010101010101;
        s->Fsw = 0x2800;
        Assert.Equal(None, machine.Run(c => c.paddsb(mm3, mm5)));
        Assert.Equal(0x8000020304050607UL, s->X87[3 * 2]);
        Assert.Equal(0xFFFFUL, s->X87[(3 * 2) + 1]);
        Assert.Equal(0UL, s->X87[(5 * 2) + 1]);
        Assert.Equal(0xFF, s->FtwAbridged);
        Assert.Equal(0, s->Fsw);
        Assert.Equal(None, machine.Run(c => c.emms()));
        Assert.Equal(0, s->FtwAbridged);
    }

    [Fact]
    public void Fxsave_and_fxrstor_are_inverse()
    {
        using var machine = new VectorMachine();
        var s = machine.State;
        var random = new Random(512);
        for (var n = 0; n < 64; n++)
        {
            s->Ymm[n] = (ulong)random.NextInt64();
        }

        new Span<byte>(machine.Ram + Data, 512).Fill(0xAA);
        Assert.Equal(None, machine.Run(c =>
        {
            c.fldpi();
            c.fld1();
            c.fxsave64(__[Data]);
        }));
        Assert.Equal(0xAA, machine.Ram[Data + 416]);
        Assert.Equal(0xFFFFu, *(uint*)(machine.Ram + Data + 28));
        Assert.Equal(0xC0, machine.Ram[Data + 4]);
        Assert.Equal(0x3FFF, *(ushort*)(machine.Ram + Data + 40)); // ST(0) is 1
        var before = new ReadOnlySpan<ulong>(s->Ymm, 64).ToArray();
        var status = s->Fsw;
        new Span<ulong>(s->X87, 16).Clear();
        for (var n = 0; n < 16; n++)
        {
            s->Ymm[n * 4] = s->Ymm[(n * 4) + 1] = 0;
        }

        Assert.Equal(None, machine.Run(c =>
        {
            c.fninit();
            c.fxrstor64(__[Data]);
            c.fstp(__qword_ptr[Data]);
            c.fstp(__qword_ptr[Data + 8]);
        }));
        Assert.Equal(before, new ReadOnlySpan<ulong>(s->Ymm, 64).ToArray());
        Assert.Equal(1.0, *(double*)(machine.Ram + Data));
        Assert.Equal(Math.PI, *(double*)(machine.Ram + Data + 8));
        Assert.Equal(0x3000, status);
    }

    [Fact]
    public void Xsave_and_xrstor_follow_the_components_and_the_header()
    {
        using var machine = new VectorMachine();
        var s = machine.State;
        s->Cr4 |= 1 << 18;
        s->Xcr0 = 7;
        s->Ymm[0] = 11;
        s->Ymm[2] = 22;
        s->Gpr[0] = 6;
        s->Gpr[2] = 0;
        Assert.Equal(None, machine.Run(c => c.xsave(__[Data])));
        Assert.Equal(6UL, *(ulong*)(machine.Ram + Data + 512));
        Assert.Equal(22UL, *(ulong*)(machine.Ram + Data + 576));
        *(ulong*)(machine.Ram + Data + 512) = 2; // the upper halves are in their initial state
        s->Ymm[0] = 0;
        Assert.Equal(None, machine.Run(c => c.xrstor(__[Data])));
        Assert.Equal(11UL, s->Ymm[0]);
        Assert.Equal(0UL, s->Ymm[2]);
        *(ulong*)(machine.Ram + Data + 512) = 8;
        Assert.Equal(13, machine.Run(c => c.xrstor(__[Data])));
        Assert.Equal(13, machine.Run(c => c.xrstor(__[Data + 16])));
    }
}
