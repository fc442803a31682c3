namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// CMPXCHG8B and CMPXCHG16B. Memory is written in either case, with what was there when the comparison fails, as
/// the processor does; the exchange is atomic with and without the LOCK prefix. Of the flags ZF alone changes.
/// </summary>
internal static unsafe class CompareExchangePairs
{
    private const int Rax = 0;
    private const int Rcx = 1;
    private const int Rdx = 2;
    private const int Rbx = 3;

    public static SlowOutcome Cmpxchg8b(CpuState* s, Insn* i)
    {
        if (!SlowHandlers.OperandAddress(s, i, 8, true, out var linear))
        {
            return SlowOutcome.Stopped;
        }

        var p = (ulong*)SlowAccess.Modify(s, (SegmentIndex)i->Seg, linear, 8);
        if (p == null)
        {
            return SlowOutcome.Stopped;
        }

        var expected = (s->Gpr[Rdx] << 32) | (uint)s->Gpr[Rax];
        var found = Interlocked.CompareExchange(ref *p, (s->Gpr[Rcx] << 32) | (uint)s->Gpr[Rbx], expected);
        if (!Finish(s, i, (byte*)p, linear, 8))
        {
            return SlowOutcome.Stopped;
        }

        SetZf(s, found == expected);
        if (found != expected)
        {
            s->Gpr[Rax] = (uint)found;
            s->Gpr[Rdx] = found >> 32;
        }

        return SlowOutcome.Next;
    }

    /// <summary>An operand that is not 16-byte aligned is #GP(0), whatever the segment.</summary>
    public static SlowOutcome Cmpxchg16b(CpuState* s, Insn* i)
    {
        if (!SlowHandlers.OperandAddress(s, i, 16, true, out var linear)
            || ((linear & 15) != 0 && !Fault.GeneralProtection(s, 0)))
        {
            return SlowOutcome.Stopped;
        }

        var p = (ulong*)SlowAccess.Modify(s, (SegmentIndex)i->Seg, linear, 16);
        if (p == null)
        {
            return SlowOutcome.Stopped;
        }

        var expected = stackalloc ulong[2] { s->Gpr[Rax], s->Gpr[Rdx] };
        var replacement = stackalloc ulong[2] { s->Gpr[Rbx], s->Gpr[Rcx] };
        bool equal;
        if (((nuint)p & 15) == 0)
        {
            equal = WideExchange.CompareExchange(p, expected, replacement);
        }
        else
        {
            // The bounce buffer need not be aligned, and nobody else sees it.
            equal = WideExchange.CompareExchangeSerial(p, expected, replacement);
        }

        if (!Finish(s, i, (byte*)p, linear, 16))
        {
            return SlowOutcome.Stopped;
        }

        SetZf(s, equal);
        if (!equal)
        {
            s->Gpr[Rax] = expected[0];
            s->Gpr[Rdx] = expected[1];
        }

        return SlowOutcome.Next;
    }

    private static bool Finish(CpuState* s, Insn* i, byte* p, ulong linear, int size) =>
        !Handlers.Operand.IsBounce(s, p) || SlowAccess.CommitBounce(s, i, linear, size);

    private static void SetZf(CpuState* s, bool zf) =>
        Flags.WriteArithmetic(s, (Flags.ReadArithmetic(s) & ~RFlags.Zf) | (zf ? RFlags.Zf : 0));
}
