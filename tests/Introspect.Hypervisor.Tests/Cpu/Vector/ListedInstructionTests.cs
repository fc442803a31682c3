using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu.VectorUnit;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Cpu.VectorUnit;

/// <summary>Every instruction of the list runs on this host, and those with other than vector operands are right.</summary>
public sealed unsafe class ListedInstructionTests
{
    private const ulong Data = VectorMachine.Data;
    private const int None = VectorMachine.NoFault;

    [Fact]
    public void Every_listed_opcode_runs()
    {
        using var machine = new VectorMachine();
        var codes = new HashSet<Code>();
        foreach (var bytes in Encodings())
        {
            var decoder = Decoder.Create(64, new ByteArrayCodeReader(bytes), 0);
            var ins = decoder.Decode();
            if (ins.IsInvalid || !(NativeVectorForms.IsListed(in ins) || NativeX87.IsListed(in ins)) || !codes.Add(Key(in ins)))
            {
                continue;
            }

            machine.State->Gpr[6] = Data;
            machine.State->Gpr[7] = Data;
            machine.State->Fsw = 0;
            machine.State->FtwAbridged = 0;
            var vector = machine.Run(bytes.AsSpan(0, ins.Length));
            Assert.True(vector == None, $"{ins} ({ins.Code}) raised vector {vector}");
        }

        Assert.True(codes.Count > 400, $"only {codes.Count} instructions are listed");
    }

    [Fact]
    public void Moves_between_register_files_extend_with_zeroes()
    {
        using var machine = new VectorMachine();
        var s = machine.State;
        s->Gpr[0] = 0xFFFFFFFF_89ABCDEF;
        machine.SetXmm(2, Vector128<byte>.AllBitsSet);
        Assert.Equal(None, machine.Run(c =>
        {
            c.movd(xmm1, eax);
            c.movq(xmm2, rax);
            c.movd(edx, xmm2);
            c.movq(rbx, xmm2);
            c.movd(mm4, eax);
            c.movq2dq(xmm3, mm4);
            c.movmskps(ecx, xmm2);
            c.pextrw(r9d, xmm2, 1);
            c.pinsrw(xmm1, eax, 7);
            c.cvtsi2sd(xmm5, rax);
            c.cvttsd2si(r10, xmm5);
        }));
        Assert.Equal(Vector128.Create(0x89ABCDEF, 0xCDEF000000000000).AsByte(), machine.Xmm(1));
        Assert.Equal(0x89ABCDEFUL, s->Gpr[2]);
        Assert.Equal(0xFFFFFFFF_89ABCDEFUL, s->Gpr[3]);
        Assert.Equal(0x89ABCDEFUL, s->X87[4 * 2]);
        Assert.Equal(0x89ABCDEFUL, machine.Xmm(3).AsUInt64()[0]);
        Assert.Equal(3UL, s->Gpr[1]);
        Assert.Equal(0x89ABUL, s->Gpr[9]);
        Assert.Equal(0xFFFFFFFF_89ABCDEFUL, s->Gpr[10]);
    }

    [Fact]
    public void Loads_and_stores_take_the_bytes_they_name()
    {
        using var machine = new VectorMachine();
        var ram = machine.Ram + Data;
        for (var n = 0; n < 64; n++)
        {
            ram[n] = (byte)(n + 1);
        }

        machine.SetXmm(1, Vector128<byte>.AllBitsSet);
        machine.SetXmm(2, Vector128<byte>.AllBitsSet);
        machine.SetXmm(3, Vector128<byte>.AllBitsSet);
        Assert.Equal(None, machine.Run(c =>
        {
            c.movss(xmm1, __dword_ptr[Data + 1]);
            c.movlps(xmm2, __qword_ptr[Data]);
            c.movhpd(xmm3, __qword_ptr[Data]);
            c.movdqu(xmm4, __xmmword_ptr[Data + 3]);
            c.movss(__dword_ptr[Data + 0x100], xmm4);
            c.movhps(__qword_ptr[Data + 0x110], xmm4);
            c.movdqa(__xmmword_ptr[Data + 0x120], xmm4);
            c.movntdq(__xmmword_ptr[Data + 0x130], xmm2);
            c.pextrb(__byte_ptr[Data + 0x140], xmm4, 2);
            c.extractps(__dword_ptr[Data + 0x148], xmm4, 1);
        }));
        Assert.Equal(Vector128.Create(0x05040302u, 0, 0, 0).AsByte(), machine.Xmm(1));
        Assert.Equal(Vector128.Create(0x0807060504030201, ulong.MaxValue).AsByte(), machine.Xmm(2));
        Assert.Equal(Vector128.Create(ulong.MaxValue, 0x0807060504030201).AsByte(), machine.Xmm(3));
        Assert.Equal(0x07060504UL, *(ulong*)(ram + 0x100));
        Assert.Equal(0x131211100F0E0D0CUL, *(ulong*)(ram + 0x110));
        Assert.Equal(machine.Xmm(4), *(Vector128<byte>*)(ram + 0x120));
        Assert.Equal(machine.Xmm(2), *(Vector128<byte>*)(ram + 0x130));
        Assert.Equal(6UL, *(ulong*)(ram + 0x140));
        Assert.Equal(0x0B0A0908UL, *(ulong*)(ram + 0x148));
    }

    [Fact]
    public void Masked_stores_write_the_selected_bytes_only()
    {
        using var machine = new VectorMachine();
        machine.State->Gpr[7] = Data + 1;
        machine.SetXmm(1, Vector128.Create((byte)0x55));
        machine.SetXmm(2, Vector128.Create(0x8000000000000080, 0x0080).AsByte());
        Assert.Equal(None, machine.Run(c => c.maskmovdqu(xmm1, xmm2)));
        Assert.Equal(0x5500UL, *(ulong*)(machine.Ram + Data));
        Assert.Equal(0x5555UL, *(ulong*)(machine.Ram + Data + 8));
    }

    [Fact]
    public void Silent_operands_and_flags_are_the_guests()
    {
        using var machine = new VectorMachine();
        var s = machine.State;
        var (a, b) = (Vector128.Create("hello, world 123"u8), Vector128.Create("o world 1234567\0"u8));
        machine.SetXmm(4, a);
        machine.SetXmm(5, b);
        machine.SetXmm(0, Vector128.Create(0x80UL, 0x8000000000000000).AsByte());
        Assert.Equal(None, machine.Run(c => c.pblendvb(xmm4, xmm5)));
        Assert.Equal(Sse41.BlendVariable(a, b, machine.Xmm(0)), machine.Xmm(4));

        machine.SetXmm(4, Vector128.CreateScalar(0x6F77UL).AsByte()); // "wo"
        Assert.Equal(None, machine.Run(c => c.pcmpistri(xmm4, xmm5, 0x0C)));
        Assert.Equal(2UL, s->Gpr[1]);
        Assert.Equal(0xC1u, Core.Cpu.Flags.ReadArithmetic(s));

        s->Gpr[0] = 2;
        s->Gpr[2] = 16;
        Assert.Equal(None, machine.Run(c => c.pcmpestrm(xmm4, xmm5, 0x0C)));
        Assert.Equal(4UL, machine.Xmm(0).AsUInt64()[0]);

        machine.SetXmm(1, Vector128.Create(0xF0UL, 0).AsByte());
        machine.SetXmm(2, Vector128.Create(0x0FUL, 0).AsByte());
        Assert.Equal(None, machine.Run(c => c.ptest(xmm1, xmm2)));
        Assert.Equal(0x40u, Core.Cpu.Flags.ReadArithmetic(s));
    }

    [Theory]
    [InlineData(0x12345678u)]
    [InlineData(0u)]
    [InlineData(0xFFFFFFFFu)]
    public void Crc32_takes_every_operand_size(uint crc)
    {
        using var machine = new VectorMachine();
        var s = machine.State;
        s->Gpr[0] = s->Gpr[3] = s->Gpr[5] = s->Gpr[6] = crc;
        s->Gpr[1] = 0x0123456789ABCDEF;
        Assert.Equal(None, machine.Run(c =>
        {
            c.crc32(eax, cl);
            c.crc32(ebx, ch);
            c.crc32(ebp, cx);
            c.crc32(rsi, rcx);
        }));
        Assert.Equal(Sse42.Crc32(crc, (byte)0xEF), s->Gpr[0]);
        Assert.Equal(Sse42.Crc32(crc, (byte)0xCD), s->Gpr[3]);
        Assert.Equal(Sse42.Crc32(crc, (ushort)0xCDEF), s->Gpr[5]);
        Assert.Equal(Sse42.X64.Crc32(crc, 0x0123456789ABCDEF), s->Gpr[6]);
    }

    // Every opcode of the two-byte and three-byte maps with every mandatory prefix, and all of x87.
    private static IEnumerable<byte[]> Encodings()
    {
        byte[][] prefixes = [[], [0x66], [0xF2], [0xF3], [0x48], [0x66, 0x48], [0xF2, 0x48], [0xF3, 0x48]];
        byte[][] maps = [[0x0F], [0x0F, 0x38], [0x0F, 0x3A]];
        foreach (var map in maps)
        {
            for (var opcode = 0; opcode < 256; opcode++)
            {
                foreach (var prefix in prefixes)
                {
                    for (var reg = 0; reg < 8; reg++)
                    {
                        yield return [.. prefix, .. map, (byte)opcode, (byte)(0xC2 | (reg << 3)), 1, 0, 0, 0];
                        yield return [.. prefix, .. map, (byte)opcode, (byte)(0x06 | (reg << 3)), 1, 0, 0, 0];
                    }
                }
            }
        }

        for (var opcode = 0xD8; opcode <= 0xDF; opcode++)
        {
            for (var modRm = 0; modRm < 256; modRm++)
            {
                if (modRm >= 0xC0 || (modRm & 7) == 6)
                {
                    yield return [(byte)opcode, (byte)modRm, 0, 0, 0, 0];
                }
            }
        }
    }

    // A form with memory and one with registers may have one code.
    private static Code Key(in Instruction ins) =>
        ins.MemoryBase == Register.None ? ins.Code : (Code)((int)ins.Code | 0x10000);
}
