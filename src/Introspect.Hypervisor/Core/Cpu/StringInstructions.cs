using Introspect.Hypervisor.Core.Cpu.Handlers;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// MOVS, STOS, LODS, SCAS and CMPS with their REP forms. Registers move with each iteration, so that a fault
/// or an interrupt in the middle leaves a state from which the instruction goes on.
/// </summary>
internal static unsafe class StringInstructions
{
    /// <summary>Iterations after which a REP instruction lets the run loop look around.</summary>
    private const ulong IterationsAtOnce = 1 << 16;

    private const int Rcx = 1;
    private const int Rsi = 6;
    private const int Rdi = 7;

    public static SlowOutcome Movs(CpuState* s, Insn* i) => Repeat(s, i, &MovsOne, &MovsRun, compares: false);

    public static SlowOutcome Stos(CpuState* s, Insn* i) => Repeat(s, i, &StosOne, &StosRun, compares: false);

    public static SlowOutcome Lods(CpuState* s, Insn* i) => Repeat(s, i, &LodsOne, null, compares: false);

    public static SlowOutcome Scas(CpuState* s, Insn* i) => Repeat(s, i, &ScasOne, null, compares: true);

    public static SlowOutcome Cmps(CpuState* s, Insn* i) => Repeat(s, i, &CmpsOne, null, compares: true);

    private static SlowOutcome Repeat(
        CpuState* s,
        Insn* i,
        delegate*<CpuState*, Insn*, bool> one,
        delegate*<CpuState*, Insn*, ulong, ulong> run,
        bool compares)
    {
        if ((i->Flags & (InsnFlags.Rep | InsnFlags.Repne)) == 0)
        {
            return one(s, i) ? SlowOutcome.Next : SlowOutcome.Stopped;
        }

        var mask = AddressMask(i);
        var whileEqual = (i->Flags & InsnFlags.Repne) == 0;
        var limit = s->OneIteration ? 1 : (s->Override & AccessOverride.RepeatInPage) != 0 ? InPage(s, i, run != null) : IterationsAtOnce;
        var mayBreak = !s->OneIteration && (s->SlowAccess & SlowAccessReasons.Emulation) == 0;
        while (true)
        {
            var count = s->Gpr[Rcx] & mask;
            if (count == 0)
            {
                return SlowOutcome.Next;
            }

            // A step and an emulation have one iteration at least, whoever wants the vCPU.
            if (limit == 0 || (s->Async != 0 && mayBreak))
            {
                return SlowOutcome.Again;
            }

            // A run moves many elements at once when both pages are at hand; else one goes the careful way.
            var done = run != null && !s->OneIteration ? run(s, i, Math.Min(count, limit)) : 0;
            if (done == 0)
            {
                if (!one(s, i))
                {
                    return SlowOutcome.Stopped;
                }

                done = 1;
            }

            if ((s->Override & AccessOverride.ReadData) != 0)
            {
                Cpu.Of(s).EmulatedReadOffset += i->OperandSize;
            }

            limit -= done;
            SetCount(s, i, count - done);
            if (compares && Flags.Zf(s) != whileEqual)
            {
                return SlowOutcome.Next;
            }

            if (s->OneIteration && count - done != 0)
            {
                return SlowOutcome.Again;
            }
        }
    }

    /// <summary>
    /// Iterations of an emulation: as far as the pages of the operands go for MOVS and STOS, one for those that Xen's
    /// emulator repeats by running them again, and one under the trap flag.
    /// </summary>
    private static ulong InPage(CpuState* s, Insn* i, bool moves)
    {
        if (!moves || (s->FlagsOther & RFlags.Tf) != 0)
        {
            return 1;
        }

        return Math.Max(1, Math.Min(ElementsAhead(s, i, Rdi), ElementsAhead(s, i, Rsi)));
    }

    private static ulong ElementsAhead(CpuState* s, Insn* i, int register)
    {
        var offset = s->Gpr[register] & 0xFFF;
        return (s->FlagsOther & RFlags.Df) != 0 ? (offset / i->OperandSize) + 1 : (4096 - offset) / i->OperandSize;
    }

    private static bool MovsOne(CpuState* s, Insn* i)
    {
        var size = i->OperandSize;
        if (!Source(s, i, out var value)
            || !Access.Linear(s, SegmentIndex.Es, s->Gpr[Rdi] & AddressMask(i), size, true, out var to)
            || !SlowAccess.Write(s, SegmentIndex.Es, to, value, size))
        {
            return false;
        }

        Advance(s, i, Rsi);
        Advance(s, i, Rdi);
        return true;
    }

    private static ulong MovsRun(CpuState* s, Insn* i, ulong count)
    {
        var size = i->OperandSize;
        var from = Hit(s, i, (SegmentIndex)i->Seg, Rsi, ref count, write: false);
        var to = count == 0 ? null : Hit(s, i, SegmentIndex.Es, Rdi, ref count, write: true);
        if (from == null || to == null)
        {
            return 0;
        }

        var bytes = count * size;
        if (to > from && to < from + bytes)
        {
            // Overlapping forward copy repeats a pattern; memmove would not.
            for (ulong n = 0; n < count; n++)
            {
                switch (size)
                {
                    case 1: to[n] = from[n]; break;
                    case 2: ((ushort*)to)[n] = ((ushort*)from)[n]; break;
                    case 4: ((uint*)to)[n] = ((uint*)from)[n]; break;
                    default: ((ulong*)to)[n] = ((ulong*)from)[n]; break;
                }
            }
        }
        else
        {
            Buffer.MemoryCopy(from, to, bytes, bytes);
        }

        SetIndex(s, i, Rsi, s->Gpr[Rsi] + bytes);
        SetIndex(s, i, Rdi, s->Gpr[Rdi] + bytes);
        return count;
    }

    private static bool StosOne(CpuState* s, Insn* i)
    {
        var size = i->OperandSize;
        if (!Access.Linear(s, SegmentIndex.Es, s->Gpr[Rdi] & AddressMask(i), size, true, out var to)
            || !SlowAccess.Write(s, SegmentIndex.Es, to, s->Gpr[0], size))
        {
            return false;
        }

        Advance(s, i, Rdi);
        return true;
    }

    private static ulong StosRun(CpuState* s, Insn* i, ulong count)
    {
        var to = Hit(s, i, SegmentIndex.Es, Rdi, ref count, write: true);
        if (to == null)
        {
            return 0;
        }

        switch (i->OperandSize)
        {
            case 1: new Span<byte>(to, (int)count).Fill((byte)s->Gpr[0]); break;
            case 2: new Span<ushort>(to, (int)count).Fill((ushort)s->Gpr[0]); break;
            case 4: new Span<uint>(to, (int)count).Fill((uint)s->Gpr[0]); break;
            default: new Span<ulong>(to, (int)count).Fill(s->Gpr[0]); break;
        }

        SetIndex(s, i, Rdi, s->Gpr[Rdi] + (count * i->OperandSize));
        return count;
    }

    private static bool LodsOne(CpuState* s, Insn* i)
    {
        if (!Source(s, i, out var value))
        {
            return false;
        }

        SlowHandlers.SetRegister(s, 0, i->OperandSize, value);
        Advance(s, i, Rsi);
        return true;
    }

    private static bool ScasOne(CpuState* s, Insn* i)
    {
        if (!Destination(s, i, out var value))
        {
            return false;
        }

        Compare(s, i->OperandSize, s->Gpr[0], value);
        Advance(s, i, Rdi);
        return true;
    }

    private static bool CmpsOne(CpuState* s, Insn* i)
    {
        if (!Source(s, i, out var first) || !Destination(s, i, out var second))
        {
            return false;
        }

        Compare(s, i->OperandSize, first, second);
        Advance(s, i, Rsi);
        Advance(s, i, Rdi);
        return true;
    }

    private static void Compare(CpuState* s, int size, ulong a, ulong b)
    {
        switch (size)
        {
            case 1: Sub.Apply<byte>(s, (byte)a, (byte)b); break;
            case 2: Sub.Apply<ushort>(s, (ushort)a, (ushort)b); break;
            case 4: Sub.Apply<uint>(s, (uint)a, (uint)b); break;
            default: Sub.Apply<ulong>(s, a, b); break;
        }
    }

    private static bool Source(CpuState* s, Insn* i, out ulong value) => Take(s, i, (SegmentIndex)i->Seg, Rsi, out value);

    private static bool Destination(CpuState* s, Insn* i, out ulong value) => Take(s, i, SegmentIndex.Es, Rdi, out value);

    private static bool Take(CpuState* s, Insn* i, SegmentIndex segment, int register, out ulong value)
    {
        value = 0;
        if (!Access.Linear(s, segment, s->Gpr[register] & AddressMask(i), i->OperandSize, false, out var linear))
        {
            return false;
        }

        var p = SlowAccess.Read(s, segment, linear, i->OperandSize);
        if (p != null)
        {
            value = SlowAccess.Load(p, i->OperandSize);
        }

        return p != null;
    }

    /// <summary>Host address of the elements ahead in their page, when the TLB has it, and how many they are.</summary>
    private static byte* Hit(CpuState* s, Insn* i, SegmentIndex segment, int register, ref ulong count, bool write)
    {
        if ((s->FlagsOther & RFlags.Df) != 0 || i->SegBase != StateOffsets.Zero || i->AddressSize < 4
            || (!CpuModes.Is64(s) && (s->Mode & CpuMode.FlatData) == 0))
        {
            return null;
        }

        var linear = s->Gpr[register] & AddressMask(i);
        var slot = Tlb.Slot(s->Tlb, linear);
        var tag = write ? slot->Write : slot->Read;
        if ((linear ^ tag) > 4096u - i->OperandSize)
        {
            return null;
        }

        count = Math.Min(count, (4096 - (linear & 0xFFF)) / i->OperandSize);
        return (byte*)(linear + slot->Addend);
    }

    private static ulong AddressMask(Insn* i) => i->AddressSize switch
    {
        2 => 0xFFFF,
        4 => 0xFFFFFFFF,
        _ => ~0UL,
    };

    private static void Advance(CpuState* s, Insn* i, int register) =>
        SetIndex(s, i, register, s->Gpr[register] + ((s->FlagsOther & RFlags.Df) != 0 ? 0UL - i->OperandSize : i->OperandSize));

    private static void SetIndex(CpuState* s, Insn* i, int register, ulong value) =>
        SlowHandlers.SetRegister(s, (ushort)(register * 8), i->AddressSize, value);

    private static void SetCount(CpuState* s, Insn* i, ulong value) =>
        SlowHandlers.SetRegister(s, Rcx * 8, i->AddressSize, value);
}
