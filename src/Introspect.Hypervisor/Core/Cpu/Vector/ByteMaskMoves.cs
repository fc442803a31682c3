using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.VectorUnit;

/// <summary>
/// MASKMOVQ and MASKMOVDQU: bytes of the first register whose mask byte has its top bit set go to DS:rDI. Operand
/// size is the register's, <see cref="Insn.R2"/> the class. Bytes that are not selected are not touched at all.
/// </summary>
internal static unsafe class ByteMaskMoves
{
    [SkipLocalsInit]
    public static SlowOutcome Run(CpuState* s, Insn* i)
    {
        var kind = (VectorClass)i->R2;
        if (!VectorGuard.Check(s, kind) || !SlowHandlers.OperandAddress(s, i, i->OperandSize, true, out var linear))
        {
            return SlowOutcome.Stopped;
        }

        var data = (byte*)s + i->R0;
        var mask = (byte*)s + i->R1;
        for (var n = 0; n < i->OperandSize; n++)
        {
            // A fault half-way does no harm: the instruction stores the same bytes again.
            if ((mask[n] & 0x80) != 0
                && !SlowAccess.Write(s, (SegmentIndex)i->Seg, linear + (uint)n, data[n], 1))
            {
                return SlowOutcome.Stopped;
            }
        }

        if (kind == VectorClass.Mmx)
        {
            X87Status.EnterMmx(s);
        }

        return SlowOutcome.Next;
    }
}
