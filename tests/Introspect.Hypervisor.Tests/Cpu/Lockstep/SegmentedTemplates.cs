using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Tests.Cpu.Lockstep;

/// <summary>A 16- or 32-bit instruction: its bytes and what the decoder makes of them.</summary>
internal sealed class SegmentedTemplate(byte[] bytes, Instruction instruction)
{
    private readonly Instruction _instruction = instruction;

    public byte[] Bytes { get; } = bytes;

    public ref readonly Instruction Instruction => ref _instruction;

    public bool HasMemory => Enumerable.Range(0, _instruction.OpCount).Any(n => _instruction.GetOpKind(n) == OpKind.Memory);

    public bool IsBitString =>
        _instruction.Mnemonic is Mnemonic.Bt or Mnemonic.Bts or Mnemonic.Btr or Mnemonic.Btc
        && _instruction.Op0Kind == OpKind.Memory && _instruction.Op1Kind == OpKind.Register;

    /// <summary>Size in bytes of the address of the memory operand or of the string's indexes.</summary>
    public int AddressSize
    {
        get
        {
            for (var n = 0; n < _instruction.OpCount; n++)
            {
                switch (_instruction.GetOpKind(n))
                {
                    case OpKind.MemorySegSI or OpKind.MemoryESDI:
                        return 2;
                    case OpKind.MemorySegESI or OpKind.MemoryESEDI:
                        return 4;
                    case OpKind.Memory:
                        return _instruction.MemoryBase != Register.None ? _instruction.MemoryBase.GetSize()
                            : _instruction.MemoryIndex != Register.None ? _instruction.MemoryIndex.GetSize()
                            : _instruction.MemoryDisplSize;
                    default:
                        break;
                }
            }

            return 0;
        }
    }
}

/// <summary>Makes instructions of every encoding in a mode, with operands drawn from a seeded generator.</summary>
internal sealed class SegmentedTemplates(Random random, SegmentedMode mode)
{
    private const uint OfToParity = RFlags.Of | RFlags.Sf | RFlags.Zf | RFlags.Pf;

    private static readonly (Register Base, Register Index)[] Pairs16 =
    [
        (Register.BX, Register.SI), (Register.BX, Register.DI), (Register.BP, Register.SI), (Register.BP, Register.DI),
        (Register.SI, Register.None), (Register.DI, Register.None), (Register.BP, Register.None), (Register.BX, Register.None),
    ];

    /// <summary>Flags that are undefined after instructions which 64-bit mode does not have or that its tests leave out.</summary>
    private static readonly Dictionary<Mnemonic, uint> More = new()
    {
        [Mnemonic.Daa] = RFlags.Of,
        [Mnemonic.Das] = RFlags.Of,
        [Mnemonic.Aaa] = OfToParity,
        [Mnemonic.Aas] = OfToParity,
        [Mnemonic.Aam] = RFlags.Of | RFlags.Af | RFlags.Cf,
        [Mnemonic.Aad] = RFlags.Of | RFlags.Af | RFlags.Cf,
        [Mnemonic.Pusha] = 0,
        [Mnemonic.Pushad] = 0,
        [Mnemonic.Popa] = 0,
        [Mnemonic.Popad] = 0,
        [Mnemonic.Enter] = 0,
        [Mnemonic.Leave] = 0,
        [Mnemonic.Bound] = 0,
        [Mnemonic.Salc] = 0,
    };

    /// <summary>What 64-bit mode alone has.</summary>
    private static readonly Mnemonic[] Wide =
    [
        Mnemonic.Cmpxchg16b, Mnemonic.Cdqe, Mnemonic.Cqo, Mnemonic.Movsxd, Mnemonic.Movsq, Mnemonic.Stosq, Mnemonic.Lodsq,
        Mnemonic.Scasq, Mnemonic.Cmpsq,
    ];

    private readonly Random _random = random;

    /// <summary>Flags that are undefined after an instruction with this count of a shift.</summary>
    public static uint Undefined(in Instruction i, ulong count) =>
        More.TryGetValue(i.Mnemonic, out var flags) ? flags : DefinedFlags.UndefinedFor(in i, count);

    public List<SegmentedTemplate> Make(int each)
    {
        var templates = new List<SegmentedTemplate>();
        var seen = new HashSet<Mnemonic>();
        foreach (var code in Enum.GetValues<Code>())
        {
            var info = code.ToOpCode();
            if (!info.IsInstruction || !(mode.Bits == 32 ? info.Mode32 : info.Mode16) || info.IsPrivileged
                || info.Encoding is not (EncodingKind.Legacy or EncodingKind.VEX)
                || !(DefinedFlags.Undefined.ContainsKey(code.Mnemonic()) || More.ContainsKey(code.Mnemonic())))
            {
                continue;
            }

            for (var n = 0; n < 2 * each; n++)
            {
                if (TryMake(info, memory: n >= each) is { } template)
                {
                    templates.Add(template);
                    seen.Add(template.Instruction.Mnemonic);
                }
            }
        }

        Assert.Empty(DefinedFlags.Undefined.Keys.Concat(More.Keys).Except(Wide).Except(seen));
        return templates;
    }

    private SegmentedTemplate? TryMake(OpCodeInfo info, bool memory)
    {
        var instruction = new Instruction { Code = info.Code };
        var inMemory = false;
        for (var n = 0; n < info.OpCount; n++)
        {
            if (!SetOperand(ref instruction, n, info.GetOpKind(n), memory, ref inMemory))
            {
                return null;
            }
        }

        if (info.CanUseLockPrefix && inMemory && instruction.Op0Kind == OpKind.Memory && _random.Next(3) == 0)
        {
            instruction.HasLockPrefix = true;
        }

        if (info.CanUseRepPrefix || info.CanUseRepnePrefix)
        {
            var prefix = _random.Next(3);
            instruction.HasRepPrefix = prefix == 1;
            instruction.HasRepnePrefix = prefix == 2 && info.CanUseRepnePrefix;
        }

        var writer = new ListWriter();
        if (!Encoder.Create(mode.Bits, writer).TryEncode(instruction, 0, out _, out _))
        {
            return null;
        }

        byte[] bytes = [.. writer.Bytes];
        var decoded = Decoder.Create(mode.Bits, bytes).Decode();
        var template = new SegmentedTemplate(bytes, decoded);

        // What only some other processor knows is not decoded. A bit number that is part of the address as well
        // would reach anywhere; flat memory is out of reach of 16-bit addresses.
        return decoded.Mnemonic != info.Mnemonic
            || (template.IsBitString && (Same(decoded.MemoryBase, decoded.Op1Register) || Same(decoded.MemoryIndex, decoded.Op1Register)))
            || (mode.Flat && template.AddressSize == 2)
            ? null : template;
    }

    private static bool Same(Register a, Register b) => a != Register.None && a.GetFullRegister() == b.GetFullRegister();

    private bool SetOperand(ref Instruction i, int n, OpCodeOperandKind kind, bool memory, ref bool inMemory)
    {
        switch (kind)
        {
            case OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r32_or_mem when memory:
            case OpCodeOperandKind.mem:
                inMemory = true;
                i.SetOpKind(n, OpKind.Memory);
                SetMemory(ref i);
                return true;
            case OpCodeOperandKind.mem_offs:
                i.SetOpKind(n, OpKind.Memory);
                SetDisplacement(ref i, mode.Flat ? 4 : 2 << _random.Next(2));
                return true;
            case OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r8_reg or OpCodeOperandKind.r8_opcode:
                return SetRegister(ref i, n, Register.AL + _random.Next(8));
            case OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r16_reg or OpCodeOperandKind.r16_rm or OpCodeOperandKind.r16_opcode:
                return SetRegister(ref i, n, Register.AX + _random.Next(8));
            case OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r32_reg or OpCodeOperandKind.r32_rm or OpCodeOperandKind.r32_opcode
                or OpCodeOperandKind.r32_vvvv:
                return SetRegister(ref i, n, Register.EAX + _random.Next(8));
            case OpCodeOperandKind.al:
                return SetRegister(ref i, n, Register.AL);
            case OpCodeOperandKind.cl:
                return SetRegister(ref i, n, Register.CL);
            case OpCodeOperandKind.ax:
                return SetRegister(ref i, n, Register.AX);
            case OpCodeOperandKind.eax:
                return SetRegister(ref i, n, Register.EAX);
            case OpCodeOperandKind.seg_rSI:
                i.SetOpKind(n, StringSize(in i) == 2 ? OpKind.MemorySegSI : OpKind.MemorySegESI);
                SetOverride(ref i);
                return true;
            case OpCodeOperandKind.es_rDI:
                i.SetOpKind(n, StringSize(in i) == 2 ? OpKind.MemoryESDI : OpKind.MemoryESEDI);
                return true;
            case OpCodeOperandKind.seg_rBX_al:
                i.SetOpKind(n, OpKind.Memory);
                i.MemoryBase = !mode.Flat && _random.Next(2) == 0 ? Register.BX : Register.EBX;
                i.MemoryIndex = Register.AL;
                SetOverride(ref i);
                return true;
            default:
                return SetImmediate(ref i, n, kind);
        }
    }

    /// <summary>One address size for both operands: that of the first.</summary>
    private int StringSize(in Instruction i) => i.Op0Kind switch
    {
        OpKind.MemorySegSI or OpKind.MemoryESDI => 2,
        OpKind.MemorySegESI or OpKind.MemoryESEDI => 4,
        _ => mode.Flat ? 4 : 2 << _random.Next(2),
    };

    private static bool SetRegister(ref Instruction i, int n, Register register)
    {
        i.SetOpKind(n, OpKind.Register);
        i.SetOpRegister(n, register);
        return true;
    }

    private bool SetImmediate(ref Instruction i, int n, OpCodeOperandKind kind)
    {
        var value = (long)Values.Next(_random);
        switch (kind)
        {
            case OpCodeOperandKind.imm8 when i.Mnemonic == Mnemonic.Aam:
                i.SetOpKind(n, OpKind.Immediate8);
                i.Immediate8 = (byte)_random.Next(1, 256); // 0 divides by zero
                return true;
            case OpCodeOperandKind.imm16 when i.Mnemonic == Mnemonic.Enter:
                i.SetOpKind(n, OpKind.Immediate16);
                i.Immediate16 = (ushort)_random.Next(0x200);
                return true;
            case OpCodeOperandKind.imm8_const_1:
                i.SetOpKind(n, OpKind.Immediate8);
                i.Immediate8 = 1;
                return true;
            case OpCodeOperandKind.imm8 when n > 0 && i.GetOpKind(n - 1) == OpKind.Immediate16:
                i.SetOpKind(n, OpKind.Immediate8_2nd);
                i.Immediate8_2nd = (byte)(_random.Next(3) == 0 ? 0 : _random.Next(256));
                return true;
        }

        var (operand, truncated) = kind switch
        {
            OpCodeOperandKind.imm8 => (OpKind.Immediate8, (byte)value),
            OpCodeOperandKind.imm16 => (OpKind.Immediate16, (ushort)value),
            OpCodeOperandKind.imm32 => (OpKind.Immediate32, (uint)value),
            OpCodeOperandKind.imm8sex16 => (OpKind.Immediate8to16, (sbyte)value),
            OpCodeOperandKind.imm8sex32 => (OpKind.Immediate8to32, (sbyte)value),
            _ => (OpKind.Register, 0L),
        };
        if (operand == OpKind.Register)
        {
            return false;
        }

        i.SetOpKind(n, operand);
        i.SetImmediate(n, truncated);
        return true;
    }

    private void SetMemory(ref Instruction i)
    {
        SetOverride(ref i);
        if (_random.Next(8) == 0)
        {
            SetDisplacement(ref i, mode.Flat ? 4 : 2 << _random.Next(2));
        }
        else if (!mode.Flat && _random.Next(2) == 0)
        {
            (i.MemoryBase, i.MemoryIndex) = Pairs16[_random.Next(Pairs16.Length)];
            i.MemoryDisplSize = _random.Next(3);
            i.MemoryDisplacement32 = i.MemoryDisplSize switch
            {
                0 => 0,
                1 => (uint)(sbyte)_random.Next(256),
                _ => (ushort)_random.Next(0x10000),
            };
        }
        else
        {
            i.MemoryBase = General();
            if (_random.Next(2) == 0)
            {
                do
                {
                    i.MemoryIndex = General();
                }
                while (i.MemoryIndex == i.MemoryBase);

                i.MemoryIndexScale = 1 << _random.Next(4);
            }

            i.MemoryDisplSize = _random.Next(3) switch { 0 => 0, 1 => 1, _ => 4 };
            i.MemoryDisplacement32 = i.MemoryDisplSize switch
            {
                0 => 0,
                1 => (uint)(sbyte)_random.Next(256),
                _ => (uint)_random.NextInt64(uint.MaxValue),
            };
        }
    }

    /// <summary>A fixed address in the middle of every data segment.</summary>
    private void SetDisplacement(ref Instruction i, int size)
    {
        SetOverride(ref i);
        i.MemoryDisplSize = size;
        i.MemoryDisplacement32 = (mode.Flat ? SegmentedLayout.Data : 0) + (uint)_random.Next(0x1000, 0xE000);
    }

    private void SetOverride(ref Instruction i)
    {
        if (_random.Next(4) == 0)
        {
            i.SegmentPrefix = _random.Next(3) switch { 0 => Register.ES, 1 => Register.SS, _ => Register.DS };
        }
    }

    /// <summary>Any 32-bit register but ESP.</summary>
    private Register General()
    {
        var n = _random.Next(7);
        return Register.EAX + (n < 4 ? n : n + 1);
    }

    private sealed class ListWriter : CodeWriter
    {
        public List<byte> Bytes { get; } = [];

        public override void WriteByte(byte value) => Bytes.Add(value);
    }
}
