using Iced.Intel;

namespace Introspect.Hypervisor.Tests.Cpu.Lockstep;

/// <summary>Makes instructions of every encoding of a mnemonic, with operands drawn from a seeded generator.</summary>
internal sealed class TemplateFactory(Random random)
{
    private static readonly Register[] Bytes =
    [
        Register.AL, Register.CL, Register.DL, Register.BL, Register.AH, Register.CH, Register.DH, Register.BH,
        Register.BPL, Register.SIL, Register.DIL, Register.R8L, Register.R9L, Register.R15L,
    ];

    private readonly Random _random = random;

    /// <summary>Templates of every encoding of every mnemonic that is compared.</summary>
    public static List<InstructionTemplate> MakeAll(Random random, int each)
    {
        var factory = new TemplateFactory(random);
        var templates = new List<InstructionTemplate>();
        var seen = new HashSet<Mnemonic>();
        foreach (var code in Enum.GetValues<Code>())
        {
            var info = code.ToOpCode();
            if (!info.IsInstruction || !info.Mode64 || info.IsPrivileged || !DefinedFlags.Undefined.ContainsKey(code.Mnemonic())
                || info.Encoding is not (EncodingKind.Legacy or EncodingKind.VEX))
            {
                continue;
            }

            foreach (var template in factory.Make(code, each))
            {
                templates.Add(template);
                seen.Add(template.Mnemonic);
            }
        }

        Assert.Empty(DefinedFlags.Undefined.Keys.Except(seen));
        return templates;
    }

    /// <summary>Templates of one encoding: register forms, memory forms and prefixed ones.</summary>
    public IEnumerable<InstructionTemplate> Make(Code code, int each)
    {
        var info = code.ToOpCode();
        var forms = Enumerable.Range(0, info.OpCount).Any(n => IsRegisterOrMemory(info.GetOpKind(n))) ? 2 : 1;
        for (var form = 0; form < forms; form++)
        {
            for (var n = 0; n < each; n++)
            {
                if (TryMake(info, memory: form == 1, out var template) && template != null)
                {
                    yield return template;
                }
            }
        }
    }

    private static bool IsRegisterOrMemory(OpCodeOperandKind kind) => kind is OpCodeOperandKind.r8_or_mem
        or OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r64_or_mem;

    private bool TryMake(OpCodeInfo info, bool memory, out InstructionTemplate? template)
    {
        template = null;
        var instruction = new Instruction { Code = info.Code };
        var inMemory = false;
        for (var n = 0; n < info.OpCount; n++)
        {
            if (!SetOperand(ref instruction, n, info.GetOpKind(n), memory, ref inMemory))
            {
                return false;
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
        var encoder = Encoder.Create(64, writer);
        if (!encoder.TryEncode(instruction, 0, out _, out _))
        {
            return false; // AH and its like beside a register that needs REX
        }

        template = new InstructionTemplate([.. writer.Bytes]);

        // Encodings of Knights Corner are nothing here; a bit number that is the base as well would reach anywhere.
        return !template.Instruction.IsInvalid && (!template.IsBitString || instruction.MemoryBase != instruction.Op1Register.GetFullRegister());
    }

    private bool SetOperand(ref Instruction i, int n, OpCodeOperandKind kind, bool memory, ref bool inMemory)
    {
        switch (kind)
        {
            case OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r64_or_mem when memory:
            case OpCodeOperandKind.mem:
                inMemory = true;
                return SetMemory(ref i, n);
            case OpCodeOperandKind.r8_or_mem or OpCodeOperandKind.r8_reg or OpCodeOperandKind.r8_opcode:
                return SetRegister(ref i, n, Bytes[_random.Next(Bytes.Length)]);
            case OpCodeOperandKind.r16_or_mem or OpCodeOperandKind.r16_reg or OpCodeOperandKind.r16_rm or OpCodeOperandKind.r16_opcode:
                return SetRegister(ref i, n, General(Register.AX));
            case OpCodeOperandKind.r32_or_mem or OpCodeOperandKind.r32_reg or OpCodeOperandKind.r32_rm or OpCodeOperandKind.r32_opcode or OpCodeOperandKind.r32_vvvv:
                return SetRegister(ref i, n, General(Register.EAX));
            case OpCodeOperandKind.r64_or_mem or OpCodeOperandKind.r64_reg or OpCodeOperandKind.r64_rm or OpCodeOperandKind.r64_opcode or OpCodeOperandKind.r64_vvvv:
                return SetRegister(ref i, n, General(Register.RAX));
            case OpCodeOperandKind.al:
                return SetRegister(ref i, n, Register.AL);
            case OpCodeOperandKind.cl:
                return SetRegister(ref i, n, Register.CL);
            case OpCodeOperandKind.ax:
                return SetRegister(ref i, n, Register.AX);
            case OpCodeOperandKind.eax:
                return SetRegister(ref i, n, Register.EAX);
            case OpCodeOperandKind.rax:
                return SetRegister(ref i, n, Register.RAX);
            case OpCodeOperandKind.imm8:
                return SetImmediate(ref i, n, OpKind.Immediate8);
            case OpCodeOperandKind.imm8_const_1:
                i.SetOpKind(n, OpKind.Immediate8);
                i.Immediate8 = 1;
                return true;
            case OpCodeOperandKind.imm8sex16:
                return SetImmediate(ref i, n, OpKind.Immediate8to16);
            case OpCodeOperandKind.imm8sex32:
                return SetImmediate(ref i, n, OpKind.Immediate8to32);
            case OpCodeOperandKind.imm8sex64:
                return SetImmediate(ref i, n, OpKind.Immediate8to64);
            case OpCodeOperandKind.imm16:
                return SetImmediate(ref i, n, OpKind.Immediate16);
            case OpCodeOperandKind.imm32:
                return SetImmediate(ref i, n, OpKind.Immediate32);
            case OpCodeOperandKind.imm32sex64:
                return SetImmediate(ref i, n, OpKind.Immediate32to64);
            case OpCodeOperandKind.imm64:
                return SetImmediate(ref i, n, OpKind.Immediate64);
            case OpCodeOperandKind.seg_rSI:
                i.SetOpKind(n, OpKind.MemorySegRSI);
                return true;
            case OpCodeOperandKind.es_rDI:
                i.SetOpKind(n, OpKind.MemoryESRDI);
                return true;
            case OpCodeOperandKind.seg_rBX_al:
                i.SetOpKind(n, OpKind.Memory);
                i.MemoryBase = Register.RBX;
                i.MemoryIndex = Register.AL;
                return true;
            default:
                return false;
        }
    }

    /// <summary>Any register but rSP, which keeps pointing to the scratch stack.</summary>
    private Register General(Register first)
    {
        var n = _random.Next(15);
        return first + (n < 4 ? n : n + 1);
    }

    private static bool SetRegister(ref Instruction i, int n, Register register)
    {
        i.SetOpKind(n, OpKind.Register);
        i.SetOpRegister(n, register);
        return true;
    }

    private bool SetImmediate(ref Instruction i, int n, OpKind kind)
    {
        i.SetOpKind(n, kind);
        var value = (long)Values.Next(_random);
        i.SetImmediate(n, kind switch
        {
            OpKind.Immediate8 => (byte)value,
            OpKind.Immediate16 => (ushort)value,
            OpKind.Immediate32 => (uint)value,
            OpKind.Immediate8to16 or OpKind.Immediate8to32 or OpKind.Immediate8to64 => (sbyte)value,
            OpKind.Immediate32to64 => (int)value,
            _ => value,
        });
        return true;
    }

    private bool SetMemory(ref Instruction i, int n)
    {
        i.SetOpKind(n, OpKind.Memory);
        i.MemoryBase = General(Register.RAX);
        if (_random.Next(2) == 0)
        {
            do
            {
                i.MemoryIndex = General(Register.RAX);
            }
            while (i.MemoryIndex == i.MemoryBase);

            i.MemoryIndexScale = 1 << _random.Next(4);
        }

        switch (_random.Next(3))
        {
            case 1:
                i.MemoryDisplSize = 1;
                i.MemoryDisplacement64 = (ulong)(long)(sbyte)_random.Next(256);
                break;
            case 2:
                i.MemoryDisplSize = 8;
                i.MemoryDisplacement64 = (ulong)(long)_random.Next(int.MinValue, int.MaxValue);
                break;
        }

        return true;
    }

    private sealed class ListWriter : CodeWriter
    {
        public List<byte> Bytes { get; } = [];

        public override void WriteByte(byte value) => Bytes.Add(value);
    }
}

/// <summary>Operand values: edges, small numbers and random ones.</summary>
internal static class Values
{
    private static readonly ulong[] Edges =
    [
        0, 1, 2, 0x0F, 0x10, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
        0x100000000, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, ~0UL, ~1UL,
    ];

    public static ulong Next(Random random) => random.Next(8) switch
    {
        0 or 1 => Edges[random.Next(Edges.Length)],
        2 => Edges[random.Next(Edges.Length)] + (ulong)random.Next(-2, 3),
        3 => (ulong)random.Next(72),
        4 => 1UL << random.Next(64),
        5 => (ulong)random.NextInt64() >> random.Next(64),
        _ => (ulong)random.NextInt64(long.MinValue, long.MaxValue),
    };
}
