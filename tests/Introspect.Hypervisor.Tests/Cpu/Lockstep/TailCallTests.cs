using System.Runtime.CompilerServices;
using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu;

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
    private static nint s_depth;

    [ThreadStatic]
    private static Registers* s_pinned;

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
        var chain = stackalloc Insn[(2 * Copies) + 1];
        var deep = new SortedSet<string>(StringComparer.Ordinal);
        var cut = new SortedSet<string>(StringComparer.Ordinal);
        var measured = 0;
        Registers registers;
        s_pinned = &registers;
        foreach (var template in TemplateFactory.MakeAll(random, 2))
        {
            var instruction = Decoder.Create(bitness, template.Bytes).Decode();
            if (instruction.Length != template.Bytes.Length || instruction.Mnemonic != template.Mnemonic || !inputs.Draw(template))
            {
                continue; // a REX prefix is another instruction outside of 64-bit mode
            }

            Insn insn = default;
            insn.Length = (byte)instruction.Length;
            Binder.Bind(in instruction, &insn, mode, -1);
            inputs.Memory.CopyTo(new Span<byte>(machine.Ram + inputs.Window, LockstepCase.WindowBytes));
            registers = inputs.Registers;
            var once = Depth(machine, chain, &insn, 1);
            once = Depth(machine, chain, &insn, 1); // the first time compiles
            var often = Depth(machine, chain, &insn, Copies);
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

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static nint Depth(BareMachine machine, Insn* chain, Insn* insn, int copies)
    {
        for (var n = 0; n < copies; n++)
        {
            chain[2 * n] = *insn;
            chain[(2 * n) + 1] = new Insn { Handler = &Restore };
        }

        chain[2 * copies] = new Insn { Handler = &Probe };
        var s = machine.State;
        s->Pending = default;
        s->Stop = StopReason.None;
        s->BlockRip = 0x100000;
        s_depth = 0;
        RestoreInto(s);
        chain->Handler(s, chain);
        return s_depth;
    }

    /// <summary>Puts the inputs back, so that each copy finds its addresses.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Restore(CpuState* s, Insn* i)
    {
        RestoreInto(s);
        i[1].Handler(s, i + 1);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void RestoreInto(CpuState* s)
    {
        for (var n = 0; n < 16; n++)
        {
            s->Gpr[n] = s_pinned->Gpr[n];
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Probe(CpuState* s, Insn* i)
    {
        byte here;
        s_depth = (nint)(&here);
    }
}
