using System.Buffers.Binary;
using System.Numerics;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>Rare integer instructions that need no fast path: MOVBE, CRC32, MULX, XLAT, BOUND and cache line flushes.</summary>
internal static unsafe class BitInstructions
{
    private const int Rbx = 3;

    /// <summary>movbe reg, [mem].</summary>
    public static SlowOutcome MovbeLoad(CpuState* s, Insn* i)
    {
        if (!SlowHandlers.LoadOperand(s, i, i->OperandSize, out var value))
        {
            return SlowOutcome.Stopped;
        }

        SlowHandlers.SetRegister(s, i->R0, i->OperandSize, Reverse(value, i->OperandSize));
        return SlowOutcome.Next;
    }

    /// <summary>movbe [mem], reg.</summary>
    public static SlowOutcome MovbeStore(CpuState* s, Insn* i) =>
        SlowHandlers.StoreOperand(s, i, i->OperandSize, Reverse(*(ulong*)((byte*)s + i->R0), i->OperandSize))
            ? SlowOutcome.Next
            : SlowOutcome.Stopped;

    /// <summary>crc32 (Castagnoli): the destination is a 32-bit value, zero-extended.</summary>
    public static SlowOutcome Crc32(CpuState* s, Insn* i)
    {
        if (!Source(s, i, out var value))
        {
            return SlowOutcome.Stopped;
        }

        var crc = *(uint*)((byte*)s + i->R0);
        *(ulong*)((byte*)s + i->R0) = i->OperandSize switch
        {
            1 => BitOperations.Crc32C(crc, (byte)value),
            2 => BitOperations.Crc32C(crc, (ushort)value),
            4 => BitOperations.Crc32C(crc, (uint)value),
            _ => BitOperations.Crc32C(crc, value),
        };
        return SlowOutcome.Next;
    }

    /// <summary>mulx: the high half is written last, so it wins when both destinations are one register.</summary>
    public static SlowOutcome Mulx(CpuState* s, Insn* i)
    {
        if (!Source(s, i, out var value))
        {
            return SlowOutcome.Stopped;
        }

        ulong low;
        ulong high;
        if (i->OperandSize == 8)
        {
            high = Math.BigMul(s->Gpr[2], value, out low);
        }
        else
        {
            low = (uint)s->Gpr[2] * (ulong)(uint)value;
            high = low >> 32;
        }

        SlowHandlers.SetRegister(s, i->R2, i->OperandSize, low);
        SlowHandlers.SetRegister(s, i->R0, i->OperandSize, high);
        return SlowOutcome.Next;
    }

    /// <summary>xlat: the index is AL, zero-extended.</summary>
    public static SlowOutcome Xlat(CpuState* s, Insn* i)
    {
        var offset = s->Gpr[Rbx] + *(byte*)s->Gpr;
        offset = i->AddressSize switch
        {
            2 => (ushort)offset,
            4 => (uint)offset,
            _ => offset,
        };
        if (!Access.Linear(s, (SegmentIndex)i->Seg, offset, 1, false, out var linear))
        {
            return SlowOutcome.Stopped;
        }

        var p = SlowAccess.Read(s, (SegmentIndex)i->Seg, linear, 1);
        if (p == null)
        {
            return SlowOutcome.Stopped;
        }

        *(byte*)s->Gpr = *p;
        return SlowOutcome.Next;
    }

    /// <summary>bound: a signed index against the pair of limits in memory.</summary>
    public static SlowOutcome Bound(CpuState* s, Insn* i)
    {
        var size = i->OperandSize;
        if (!SlowHandlers.LoadOperand(s, i, 2 * size, out var pair))
        {
            return SlowOutcome.Stopped;
        }

        var register = (byte*)s + i->R0;
        var outside = size == 2
            ? *(short*)register < (short)pair || *(short*)register > (short)(pair >> 16)
            : *(int*)register < (int)pair || *(int*)register > (int)(pair >> 32);
        if (outside)
        {
            Fault.Raise(s, Vector.BoundRange);
            return SlowOutcome.Stopped;
        }

        return SlowOutcome.Next;
    }

    /// <summary>clflush, clflushopt, clwb: the address is checked as for a load of one byte; there is no cache to flush.</summary>
    public static SlowOutcome FlushLine(CpuState* s, Insn* i) =>
        SlowHandlers.LoadOperand(s, i, 1, out _) ? SlowOutcome.Next : SlowOutcome.Stopped;

    private static bool Source(CpuState* s, Insn* i, out ulong value)
    {
        if ((i->Flags & InsnFlags.Memory) != 0)
        {
            return SlowHandlers.LoadOperand(s, i, i->OperandSize, out value);
        }

        value = *(ulong*)((byte*)s + i->R1);
        return true;
    }

    private static ulong Reverse(ulong value, int size) => BinaryPrimitives.ReverseEndianness(value) >> (64 - (8 * size));
}
