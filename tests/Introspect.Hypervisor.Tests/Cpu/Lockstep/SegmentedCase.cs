using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Tests.Cpu.Lockstep;

/// <summary>Inputs for one run of a segmented instruction, drawn so that it does not fault.</summary>
internal sealed unsafe class SegmentedCase(Random random, SegmentedMode mode)
{
    /// <summary>Bytes that are filled around each place which an instruction can reach.</summary>
    public const int WindowBytes = 256;

    private const int Segment = 0x10000;
    private const int Ecx = 1;
    private const int Ebx = 3;
    private const int Esp = 4;
    private const int Ebp = 5;
    private const int Esi = 6;
    private const int Edi = 7;

    private readonly Random _random = random;

    public Registers Registers;

    /// <summary>Linear addresses around which memory is filled before the run.</summary>
    public List<uint> Places { get; } = [];

    /// <summary>Linear address of the memory operand.</summary>
    public uint Operand { get; private set; }

    /// <summary>Draws registers and flags.</summary>
    public void Draw(SegmentedTemplate template)
    {
        ref readonly var i = ref template.Instruction;
        Places.Clear();
        for (var n = 0; n < 8; n++)
        {
            Registers.Gpr[n] = (uint)Values.Next(_random);
        }

        Registers.Flags = (uint)_random.Next() & (RFlags.Arithmetic | (i.IsStringInstruction ? RFlags.Df : 0));
        DrawStack(in i);
        if (i.IsStringInstruction)
        {
            DrawString(template);
        }
        else if (template.HasMemory)
        {
            DrawAddress(template);
        }
    }

    /// <summary>The count of a shift, or 0.</summary>
    public ulong ShiftCount(in Instruction i)
    {
        var last = i.OpCount - 1;
        return last <= 0 ? 0 : i.GetOpKind(last) == OpKind.Immediate8 ? i.Immediate8 : Registers.Gpr[Ecx] & 0xFF;
    }

    /// <summary>
    /// True for a division that overflows, for a bound that is exceeded, and for a 16-bit double shift by more than 16,
    /// whose result the vendors choose differently. Memory must be filled.
    /// </summary>
    public bool IsLeftOut(SegmentedTemplate template)
    {
        ref readonly var i = ref template.Instruction;
        if (i.Mnemonic is Mnemonic.Shld or Mnemonic.Shrd)
        {
            return DefinedFlags.OperandSize(in i) == 2 && (ShiftCount(in i) & 31) > 16;
        }

        if (i.Mnemonic == Mnemonic.Bound)
        {
            var index = i.Op0Register.GetSize() == 2
                ? (short)Registers.Gpr[i.Op0Register.GetNumber()] : (int)Registers.Gpr[i.Op0Register.GetNumber()];
            var (low, high) = i.Op0Register.GetSize() == 2
                ? (((short*)Operand)[0], ((short*)Operand)[1]) : (((int*)Operand)[0], ((int*)Operand)[1]);
            return index < low || index > high;
        }

        if (i.Mnemonic is not (Mnemonic.Div or Mnemonic.Idiv))
        {
            return false;
        }

        var size = DefinedFlags.OperandSize(in i);
        var bits = 8 * size;
        var mask = (1UL << bits) - 1;
        var raw = i.Op0Kind == OpKind.Memory ? *(ulong*)Operand : RegisterValue(i.Op0Register);
        var pair = size == 1 ? (ushort)Registers.Gpr[0] : ((Registers.Gpr[2] & mask) << bits) | (Registers.Gpr[0] & mask);
        if ((raw & mask) == 0)
        {
            return true;
        }

        if (i.Mnemonic == Mnemonic.Div)
        {
            return pair / (raw & mask) > mask;
        }

        Int128 dividend = (long)(pair << (64 - (2 * bits))) >> (64 - (2 * bits));
        var quotient = dividend / ((long)(raw << (64 - bits)) >> (64 - bits));
        return quotient < -(Int128)(mask >> 1) - 1 || quotient > mask >> 1;
    }

    private ulong RegisterValue(Register register) => register is >= Register.AH and <= Register.BH
        ? Registers.Gpr[register - Register.AH] >> 8
        : Registers.Gpr[register.GetFullRegister().GetNumber()];

    private void DrawStack(in Instruction i)
    {
        var stack = mode.Flat ? SegmentedLayout.Stack : 0;
        var upper = mode.StackBits == 16 ? (uint)_random.Next(0x10000) << 16 : 0;
        Registers.Gpr[Esp] = upper | (stack + 0x8000 + (uint)_random.Next(64));
        if (mode.StackBits == 16 && i.Mnemonic is Mnemonic.Push or Mnemonic.Pop or Mnemonic.Pusha or Mnemonic.Popa && _random.Next(4) == 0)
        {
            Registers.Gpr[Esp] = upper; // wraps downwards, in whole words
        }

        if (i.Mnemonic is Mnemonic.Enter or Mnemonic.Leave)
        {
            Registers.Gpr[Ebp] = upper | (stack + 0x8000 + (uint)_random.Next(128));
        }

        Places.Add(SegmentedLayout.Stack + ((uint)Registers.Gpr[Esp] & 0xFFFF));
    }

    /// <summary>Indexes on multiples of the element, so that they may wrap at 16 bits without crossing the limit.</summary>
    private void DrawString(SegmentedTemplate template)
    {
        ref readonly var i = ref template.Instruction;
        var size = (uint)i.MemorySize.GetSize();
        var narrow = template.AddressSize == 2;
        var count = (uint)_random.Next(18);
        var source = SourceSegment(in i);
        Registers.Gpr[Esi] = Index(narrow, size, source);
        Registers.Gpr[Edi] = Index(narrow, size, SegmentedLayout.Extra);
        if (_random.Next(2) == 0 && mode.Flat)
        {
            Registers.Gpr[Edi] = Registers.Gpr[Esi] + (uint)_random.Next(40); // overlapping
        }

        Registers.Gpr[Ecx] = narrow ? (Registers.Gpr[Ecx] & 0xFFFF0000) | count : count;
        if (_random.Next(2) == 0)
        {
            Registers.Gpr[0] = 0x01010101U * (uint)_random.Next(2);
        }
    }

    private ulong Index(bool narrow, uint size, uint segment)
    {
        var edge = narrow && _random.Next(3) == 0;
        var offset = edge ? (uint)_random.Next(-64, 64) & 0xFFFF : (uint)_random.Next(0x400, 0xF000);
        offset &= ~(size - 1);
        Places.Add(segment + offset);
        return narrow ? ((uint)_random.Next(0x10000) << 16) | offset : offset + (mode.Flat ? segment : 0);
    }

    private void DrawAddress(SegmentedTemplate template)
    {
        ref readonly var i = ref template.Instruction;
        var size = Math.Max(1, i.MemorySize.GetSize());
        var narrow = template.AddressSize == 2;
        var segment = SourceSegment(in i);
        var target = _random.Next(6) switch
        {
            0 when !template.IsBitString => (uint)(Segment - size), // the last that fits
            1 when !template.IsBitString => 0u,
            2 => (uint)(0x8000 - _random.Next(8)), // over a page's end
            _ => (uint)_random.Next(0x1000, 0xE000),
        };
        if (i.MemoryBase == Register.None && i.MemoryIndex == Register.None)
        {
            target = i.MemoryDisplacement32 - (mode.Flat ? SegmentedLayout.Data : 0);
            segment = mode.Flat ? SegmentedLayout.Data : segment;
        }

        var offset = target + (mode.Flat ? segment : 0);
        Operand = segment + target;
        Places.Add(Operand);
        if (i.Mnemonic == Mnemonic.Xlatb)
        {
            var upper = narrow ? (uint)Registers.Gpr[Ebx] & 0xFFFF0000 : 0;
            var ebx = offset - (byte)Registers.Gpr[0];
            Registers.Gpr[Ebx] = narrow ? upper | (ebx & 0xFFFF) : ebx;
            return;
        }

        if (template.IsBitString)
        {
            var bits = (uint)_random.Next(-800, 800);
            ref var full = ref Registers.Gpr[i.Op1Register.GetNumber()];
            full = i.Op1Register.GetSize() == 2 ? (full & 0xFFFF0000) | (bits & 0xFFFF) : bits;
        }

        var address = offset - i.MemoryDisplacement32;
        if (i.MemoryBase != Register.None && i.MemoryIndex != Register.None)
        {
            address -= (uint)Registers.Gpr[i.MemoryIndex.GetNumber()] * (uint)i.MemoryIndexScale;
        }

        if (i.MemoryBase != Register.None)
        {
            ref var register = ref Registers.Gpr[i.MemoryBase.GetNumber()];
            register = narrow ? (register & 0xFFFF0000) | (address & 0xFFFF) : address;
        }
    }

    private static uint SourceSegment(in Instruction i) => i.MemorySegment switch
    {
        Register.ES => SegmentedLayout.Extra,
        Register.SS => SegmentedLayout.Stack,
        _ => SegmentedLayout.Data,
    };
}
