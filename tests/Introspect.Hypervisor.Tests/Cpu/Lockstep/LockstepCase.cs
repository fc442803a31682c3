using System.Numerics;
using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Tests.Cpu.Lockstep;

/// <summary>Inputs for one run of an instruction: registers, flags and the memory that it can reach.</summary>
internal sealed unsafe class LockstepCase(Random random, ulong scratch, ulong stackTop)
{
    /// <summary>Bytes of memory that are set and compared around a memory operand.</summary>
    public const int WindowBytes = 512;

    /// <summary>Bytes that are set and compared around RSP.</summary>
    public const int StackBytes = 64;

    private const int Rax = 0;
    private const int Rcx = 1;
    private const int Rdx = 2;
    private const int Rsi = 6;
    private const int Rdi = 7;

    private readonly Random _random = random;

    public Registers Registers;

    public byte[] Memory { get; } = new byte[WindowBytes];

    public byte[] Stack { get; } = new byte[StackBytes];

    /// <summary>First address of the window.</summary>
    public ulong Window { get; private set; }

    public ulong StackWindow => stackTop - (StackBytes / 2);

    /// <summary>Address of the explicit memory operand.</summary>
    public ulong Operand { get; private set; }

    /// <summary>Draws inputs. False when the instruction would fault with them or do what is not defined.</summary>
    public bool Draw(InstructionTemplate template)
    {
        ref readonly var i = ref template.Instruction;
        for (var n = 0; n < 16; n++)
        {
            Registers.Gpr[n] = Values.Next(_random);
        }

        Registers.Gpr[4] = stackTop;
        Registers.Flags = (uint)_random.Next() & (RFlags.Arithmetic | (i.IsStringInstruction ? RFlags.Df : 0));
        Fill(Memory);
        Fill(Stack);

        // The window lies in one page, or over the end of one.
        var crossing = _random.Next(4) == 0;
        Window = scratch + 4096 + (crossing ? 4096u - (uint)_random.Next(WindowBytes) : (uint)_random.Next(4096 - WindowBytes));
        if (i.IsStringInstruction)
        {
            DrawString(in i);
        }
        else if (template.MemoryOperand >= 0)
        {
            DrawAddress(template);
        }

        if (template.Mnemonic is Mnemonic.Cmpxchg or Mnemonic.Cmpxchg8b or Mnemonic.Cmpxchg16b && _random.Next(2) == 0)
        {
            Match(template);
        }

        // A 16-bit double shift by more than 16 has no defined result, and processors of the two makers differ.
        if (template.Mnemonic is Mnemonic.Shld or Mnemonic.Shrd && DefinedFlags.OperandSize(in i) == 2 && (ShiftCount(in i) & 31) > 16)
        {
            return false;
        }

        return template.Mnemonic is not (Mnemonic.Div or Mnemonic.Idiv) || DrawDividend(template);
    }

    /// <summary>The count of a shift, or 0.</summary>
    public ulong ShiftCount(in Instruction i)
    {
        var last = i.OpCount - 1;
        return last <= 0 ? 0 : i.GetOpKind(last) == OpKind.Immediate8 ? i.Immediate8 : Registers.Gpr[Rcx] & 0xFF;
    }

    /// <summary>Value of an operand, zero-extended.</summary>
    public UInt128 Value(in Instruction i, int operand)
    {
        if (i.GetOpKind(operand) == OpKind.Memory)
        {
            UInt128 value = 0;
            for (var n = i.MemorySize.GetSize() - 1; n >= 0; n--)
            {
                value = (value << 8) | Memory[(int)(Operand - Window) + n];
            }

            return value;
        }

        var register = i.GetOpRegister(operand);
        var full = Registers.Gpr[register.GetFullRegister().GetNumber()];
        return register is Register.AH or Register.CH or Register.DH or Register.BH ? (byte)(full >> 8)
            : register.GetSize() == 8 ? full : full & ((1UL << (8 * register.GetSize())) - 1);
    }

    private void Fill(byte[] bytes)
    {
        if (_random.Next(3) == 0)
        {
            for (var n = 0; n < bytes.Length; n += 8)
            {
                BitConverter.TryWriteBytes(bytes.AsSpan(n), Values.Next(_random));
            }
        }
        else
        {
            _random.NextBytes(bytes);
        }
    }

    /// <summary>Indexes in the middle of the window, and a count that keeps them there.</summary>
    private void DrawString(in Instruction i)
    {
        Registers.Gpr[Rsi] = Window + 160 + (uint)_random.Next(180);
        Registers.Gpr[Rdi] = Window + 160 + (uint)_random.Next(180);
        Registers.Gpr[Rcx] = (ulong)_random.Next(18);
        if (_random.Next(2) == 0)
        {
            Memory.AsSpan().Fill((byte)_random.Next(2)); // so that comparisons go on for a while
            Registers.Gpr[Rax] = _random.Next(2) == 0 ? 0 : 0x0101010101010101UL;
            Memory[_random.Next(WindowBytes)] = 7;
        }
    }

    private void DrawAddress(InstructionTemplate template)
    {
        ref readonly var i = ref template.Instruction;
        Operand = Window + (WindowBytes / 2) - 64 + (uint)_random.Next(128);
        if (template.Mnemonic == Mnemonic.Cmpxchg16b)
        {
            Operand &= ~15UL;
        }

        if (template.Mnemonic == Mnemonic.Xlatb)
        {
            Registers.Gpr[3] = Operand - (byte)Registers.Gpr[Rax];
            return;
        }

        if (template.IsBitString)
        {
            // Signed, within the window on both sides.
            var bits = _random.Next(-800, 800);
            var register = i.Op1Register;
            ref var full = ref Registers.Gpr[register.GetNumber()];
            full = register.GetSize() switch
            {
                2 => (full & ~0xFFFFUL) | (ushort)bits,
                4 => (full & ~0xFFFFFFFFUL) | (uint)bits,
                _ => (ulong)(long)bits,
            };
        }

        var address = Operand - i.MemoryDisplacement64;
        if (i.MemoryIndex != Register.None)
        {
            if (!(template.IsBitString && i.MemoryIndex.GetFullRegister() == i.Op1Register.GetFullRegister()))
            {
                Registers.Gpr[i.MemoryIndex.GetNumber()] = template.Mnemonic == Mnemonic.Lea ? Values.Next(_random) : (ulong)(long)_random.Next(-1000, 1000);
            }

            address -= Registers.Gpr[i.MemoryIndex.GetNumber()] * (uint)i.MemoryIndexScale;
        }

        Registers.Gpr[i.MemoryBase.GetNumber()] = address;
    }

    /// <summary>Makes the comparison succeed, unless the registers are part of the address.</summary>
    private void Match(InstructionTemplate template)
    {
        ref readonly var i = ref template.Instruction;
        if (Addresses(in i, Register.RAX) || Addresses(in i, Register.RDX))
        {
            return;
        }

        var value = Value(in i, 0);
        var size = DefinedFlags.OperandSize(in i);
        if (size < 8 && template.Mnemonic == Mnemonic.Cmpxchg)
        {
            var mask = (1UL << (8 * size)) - 1;
            Registers.Gpr[Rax] = (Registers.Gpr[Rax] & ~mask) | ((ulong)value & mask);
        }
        else if (template.Mnemonic == Mnemonic.Cmpxchg8b)
        {
            Registers.Gpr[Rax] = (Registers.Gpr[Rax] & ~0xFFFFFFFFUL) | (uint)value;
            Registers.Gpr[Rdx] = (Registers.Gpr[Rdx] & ~0xFFFFFFFFUL) | (uint)(value >> 32);
        }
        else
        {
            Registers.Gpr[Rax] = (ulong)value;
            if (template.Mnemonic == Mnemonic.Cmpxchg16b)
            {
                Registers.Gpr[Rdx] = (ulong)(value >> 64);
            }
        }
    }

    /// <summary>Keeps most quotients in range. False when there is none.</summary>
    private bool DrawDividend(InstructionTemplate template)
    {
        ref readonly var i = ref template.Instruction;
        if (!Addresses(in i, Register.RDX) && _random.Next(4) != 0)
        {
            Registers.Gpr[Rdx] = _random.Next(3) switch
            {
                0 => 0,
                1 => (ulong)_random.Next(20),
                _ => (ulong)((long)Registers.Gpr[Rax] >> 63),
            };
        }

        var size = DefinedFlags.OperandSize(in i);
        var bits = 8 * size;
        var mask = (BigInteger.One << bits) - 1;
        BigInteger dividend = size == 1
            ? (ushort)Registers.Gpr[Rax]
            : ((Registers.Gpr[Rdx] & mask) << bits) | (Registers.Gpr[Rax] & mask);
        BigInteger divisor = Value(in i, 0);
        var low = BigInteger.Zero;
        var high = mask;
        if (template.Mnemonic == Mnemonic.Idiv)
        {
            dividend = Signed(dividend, 2 * bits);
            divisor = Signed(divisor, bits);
            high = mask >> 1;
            low = -high - 1;
        }

        if (divisor == 0)
        {
            return false;
        }

        var quotient = BigInteger.Divide(dividend, divisor);
        return quotient >= low && quotient <= high;
    }

    private static BigInteger Signed(BigInteger value, int bits) =>
        value >> (bits - 1) == 0 ? value : value - (BigInteger.One << bits);

    private static bool Addresses(in Instruction i, Register register) => i.MemoryBase == register || i.MemoryIndex == register;
}
