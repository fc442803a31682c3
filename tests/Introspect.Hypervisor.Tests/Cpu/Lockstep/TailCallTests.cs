using System.Runtime.CompilerServices;
using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.Handlers;

namespace Introspect.Hypervisor.Tests.Cpu.Lockstep;

/// <summary>
/// A block is a chain of tail calls: twenty instructions must need no more stack than one. A handler that the JIT
/// gives an ordinary call, because a local's address escapes, shows as a deeper stack at the chain's end.
/// </summary>
public sealed unsafe class TailCallTests
{
    private const int Copies = 20;
    private const ulong Scratch = 0x400000;
    private const ulong StackTop = 0x500800;

    [ThreadStatic]
    private static nint _depth;

    [Theory]
    [InlineData(64, false)]
    [InlineData(32, false)]
    [InlineData(32, true)]
    public void Every_handler_ends_in_a_tail_call(int bitness, bool flat)
    {
        var random = new Random(1);
        using var machine = new BareMachine().EnterLongMode();
        var mode = bitness == 64 ? CpuMode.Code64 : CpuMode.Code32 | (flat ? CpuMode.FlatData : 0);
        var inputs = new LockstepCase(random, Scratch, StackTop);
        var chain = stackalloc Insn[(17 * Copies) + 1];
        var deep = new SortedSet<string>(StringComparer.Ordinal);
        var cut = new SortedSet<string>(StringComparer.Ordinal);
        var measured = 0;
        foreach (var template in TemplateFactory.MakeAll(random, 2))
        {
            var instruction = Decoder.Create(bitness, template.Bytes).Decode();
            if (!IsSame(in instruction, in template.Instruction) || !inputs.Draw(template))
            {
                continue; // a REX prefix is another instruction outside of 64-bit mode
            }

            Insn insn = default;
            insn.Length = (byte)instruction.Length;
            Binder.Bind(in instruction, &insn, mode, -1);
            inputs.Memory.CopyTo(new Span<byte>(machine.Ram + inputs.Window, LockstepCase.WindowBytes));
            _ = Depth(machine, chain, &insn, 1, in inputs.Registers); // compiles
            var once = Depth(machine, chain, &insn, 1, in inputs.Registers);
            var often = Depth(machine, chain, &insn, Copies, in inputs.Registers);
            measured++;
            if (once == 0 || often == 0)
            {
                cut.Add($"{instruction} [{Convert.ToHexString(template.Bytes)}]");
            }
            else if (once != often)
            {
                deep.Add($"{instruction.Code}: {(once - often) / (Copies - 1)} bytes each");
            }
        }

        Assert.True(measured > 500, $"only {measured} handlers were measured");
        Assert.True(cut.Count == 0, "the chain stopped at " + string.Join("\n", cut));
        Assert.True(deep.Count == 0, "no tail call from\n" + string.Join("\n", deep));
    }

    private static bool IsSame(in Instruction a, in Instruction b) =>
        a.Length == b.Length && a.Mnemonic == b.Mnemonic && IsSame(a.MemoryBase, b.MemoryBase) && IsSame(a.MemoryIndex, b.MemoryIndex);

    private static bool IsSame(Register a, Register b) =>
        a == Register.None || b == Register.None ? a == b : a.GetNumber() == b.GetNumber();

    /// <summary>Depth of the stack after copies of an instruction, each after moves that put its inputs in place.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static nint Depth(BareMachine machine, Insn* chain, Insn* insn, int copies, in Registers inputs)
    {
        var next = chain;
        for (var n = 0; n < copies; n++)
        {
            for (var register = 0; register < 16; register++)
            {
                *next++ = new Insn { Handler = Pick.Sized<MovRegImm>(8), R0 = (ushort)(register * 8), Imm = inputs.Gpr[register] };
            }

            *next++ = *insn;
        }

        *next = new Insn { Handler = &Probe };
        var s = machine.State;
        s->Pending = default;
        s->Stop = StopReason.None;
        s->BlockRip = 0x100000;
        _depth = 0;
        chain->Handler(s, chain);
        return _depth;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Probe(CpuState* s, Insn* i)
    {
        byte here;
        _depth = (nint)(&here);
    }
}
