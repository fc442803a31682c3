using System.Runtime.Intrinsics;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Cpu.VectorUnit;

/// <summary>The moves that have handlers of their own.</summary>
public sealed unsafe class VectorMoveTests
{
    private const ulong Data = VectorMachine.Data;
    private const int None = VectorMachine.NoFault;

    [Fact]
    public void Moves_cross_pages_and_replace_exactly_what_they_name()
    {
        using var machine = new VectorMachine();
        const ulong Crossing = Data + 0x1000 - 5;
        for (var n = 0; n < 16; n++)
        {
            machine.Ram[Crossing + (ulong)n] = (byte)(0x10 + n);
        }

        machine.SetXmm(9, Vector128<byte>.AllBitsSet);
        machine.SetXmm(10, Vector128<byte>.AllBitsSet);
        machine.State->Ymm[(9 * 4) + 2] = 77;
        machine.State->Gpr[3] = Crossing;
        Assert.Equal(None, machine.Run(c =>
        {
            c.movdqu(xmm9, __[rbx]);
            c.movups(__[rbx + 1], xmm9);
            c.movaps(xmm8, xmm9);
            c.movsd(xmm10, __qword_ptr[rbx]);
            c.movss(__dword_ptr[Data], xmm8);
            c.movq(xmm11, xmm8);
            c.movlps(__qword_ptr[Data + 8], xmm8);
        }));
        Assert.Equal(Vector128.Create(0x1716151413121110, 0x1F1E1D1C1B1A1918UL).AsByte(), machine.Xmm(9));
        Assert.Equal(machine.Xmm(9), machine.Xmm(8));
        Assert.Equal(77UL, machine.State->Ymm[(9 * 4) + 2]);
        Assert.Equal(machine.Xmm(9), *(Vector128<byte>*)(machine.Ram + Crossing + 1));
        Assert.Equal(Vector128.Create(0x1615141312111010UL, 0).AsByte(), machine.Xmm(10));
        Assert.Equal(0x13121110UL, *(ulong*)(machine.Ram + Data));
        Assert.Equal(Vector128.Create(0x1716151413121110UL, 0).AsByte(), machine.Xmm(11));
        Assert.Equal(0x1716151413121110UL, *(ulong*)(machine.Ram + Data + 8));
    }

    [Fact]
    public void A_refused_move_leaves_everything()
    {
        using var machine = new VectorMachine();
        machine.SetXmm(1, Vector128.Create((byte)9));
        machine.State->Gpr[3] = 0x7FFF0000;
        Assert.Equal(14, machine.Run(c => c.movups(xmm1, __[rbx])));
        Assert.Equal(14, machine.Run(c => c.movq(xmm1, __qword_ptr[rbx])));
        Assert.Equal(14, machine.Run(c => c.movdqa(__[rbx], xmm1)));
        Assert.Equal(0x7FFF0000UL, machine.State->Cr2);
        machine.State->Gpr[3] = 0x8000_0000_0000_0001;
        Assert.Equal(13, machine.Run(c => c.movdqa(xmm1, __[rbx])));
        machine.State->Gpr[4] = 0;
        Assert.Equal(13, machine.Run(c => c.movups(__[rbx], xmm1)));
        Assert.Equal(Vector128.Create((byte)9), machine.Xmm(1));
    }

    [Fact]
    public void A_copied_block_is_the_source()
    {
        using var machine = new VectorMachine();
        new Random(3).NextBytes(new Span<byte>(machine.Ram + Data, 0x8000));
        machine.State->Gpr[6] = Data + 3;
        machine.State->Gpr[7] = Data + 0x10000;
        machine.State->Gpr[1] = 0x700;
        Assert.Equal(None, machine.Run(c =>
        {
            var loop = c.CreateLabel();
            c.Label(ref loop);
            c.movups(xmm0, __[rsi]);
            c.movaps(xmm1, xmm0);
            c.movdqa(__[rdi], xmm1);
            c.add(rsi, 16);
            c.add(rdi, 16);
            c.dec(ecx);
            c.jne(loop);
        }));
        Assert.True(new Span<byte>(machine.Ram + Data + 3, 0x7000).SequenceEqual(new Span<byte>(machine.Ram + Data + 0x10000, 0x7000)));
    }
}
