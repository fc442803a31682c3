using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.VectorUnit;

/// <summary>x87 instructions that only touch control, status and environment; no arithmetic.</summary>
internal static unsafe class X87Environment
{
    private const int MaxSize = 108;

    public static SlowOutcome Fninit(CpuState* s, Insn* i)
    {
        if (!VectorGuard.Check(s, VectorClass.X87NoWait))
        {
            return SlowOutcome.Stopped;
        }

        X87Status.Initialize(s);
        return SlowOutcome.Next;
    }

    public static SlowOutcome Fnclex(CpuState* s, Insn* i)
    {
        if (!VectorGuard.Check(s, VectorClass.X87NoWait))
        {
            return SlowOutcome.Stopped;
        }

        s->Fsw &= unchecked((ushort)~(X87Status.Exceptions | X87Status.StackFault | X87Status.Summary | X87Status.Busy));
        return SlowOutcome.Next;
    }

    public static SlowOutcome Fwait(CpuState* s, Insn* i) => Done(VectorGuard.Check(s, VectorClass.Wait));

    /// <summary>FNOP, and the instructions of the 8087 and 80287 that do nothing since.</summary>
    public static SlowOutcome Fnop(CpuState* s, Insn* i) => Done(VectorGuard.Check(s, VectorClass.X87));

    public static SlowOutcome FnopNoWait(CpuState* s, Insn* i) => Done(VectorGuard.Check(s, VectorClass.X87NoWait));

    public static SlowOutcome Emms(CpuState* s, Insn* i)
    {
        if (!VectorGuard.Check(s, VectorClass.Mmx))
        {
            return SlowOutcome.Stopped;
        }

        s->FtwAbridged = 0;
        s->Fsw &= unchecked((ushort)~X87Status.TopMask);
        return SlowOutcome.Next;
    }

    public static SlowOutcome Fldcw(CpuState* s, Insn* i)
    {
        if (!VectorGuard.Check(s, VectorClass.X87) || !SlowHandlers.LoadOperand(s, i, 2, out var value))
        {
            return SlowOutcome.Stopped;
        }

        X87Status.SetControl(s, (ushort)value);
        return SlowOutcome.Next;
    }

    public static SlowOutcome Fnstcw(CpuState* s, Insn* i) =>
        Done(VectorGuard.Check(s, VectorClass.X87NoWait) && SlowHandlers.StoreOperand(s, i, 2, s->Fcw));

    public static SlowOutcome Fnstsw(CpuState* s, Insn* i) =>
        Done(VectorGuard.Check(s, VectorClass.X87NoWait) && SlowHandlers.StoreOperand(s, i, 2, s->Fsw));

    public static SlowOutcome FnstswAx(CpuState* s, Insn* i)
    {
        if (!VectorGuard.Check(s, VectorClass.X87NoWait))
        {
            return SlowOutcome.Stopped;
        }

        SlowHandlers.SetRegister(s, 0, 2, s->Fsw);
        return SlowOutcome.Next;
    }

    /// <summary>The environment alone, 14 or 28 bytes; every exception is masked afterwards.</summary>
    [SkipLocalsInit]
    public static SlowOutcome Fnstenv(CpuState* s, Insn* i)
    {
        var bytes = stackalloc byte[MaxSize];
        var size = i->OperandSize;
        if (!VectorGuard.Check(s, VectorClass.X87NoWait) || !SlowHandlers.OperandAddress(s, i, size, true, out var linear))
        {
            return SlowOutcome.Stopped;
        }

        Store(s, bytes, size == 28);
        if (!VectorMemory.Write(s, i, linear, bytes, size))
        {
            return SlowOutcome.Stopped;
        }

        X87Status.SetControl(s, (ushort)(s->Fcw | X87Status.Exceptions));
        return SlowOutcome.Next;
    }

    [SkipLocalsInit]
    public static SlowOutcome Fldenv(CpuState* s, Insn* i)
    {
        var bytes = stackalloc byte[MaxSize];
        var size = i->OperandSize;
        if (!VectorGuard.Check(s, VectorClass.X87) || !SlowHandlers.OperandAddress(s, i, size, false, out var linear)
            || !VectorMemory.Read(s, i, linear, bytes, size))
        {
            return SlowOutcome.Stopped;
        }

        Load(s, bytes, size == 28);
        return SlowOutcome.Next;
    }

    /// <summary>Environment and registers, 94 or 108 bytes; the unit is initialised afterwards.</summary>
    [SkipLocalsInit]
    public static SlowOutcome Fnsave(CpuState* s, Insn* i)
    {
        var bytes = stackalloc byte[MaxSize];
        var size = i->OperandSize;
        if (!VectorGuard.Check(s, VectorClass.X87NoWait) || !SlowHandlers.OperandAddress(s, i, size, true, out var linear))
        {
            return SlowOutcome.Stopped;
        }

        Store(s, bytes, size == 108);
        FxImage.StoreStack(s, bytes + size - 80, 10);
        if (!VectorMemory.Write(s, i, linear, bytes, size))
        {
            return SlowOutcome.Stopped;
        }

        X87Status.Initialize(s);
        return SlowOutcome.Next;
    }

    [SkipLocalsInit]
    public static SlowOutcome Frstor(CpuState* s, Insn* i)
    {
        var bytes = stackalloc byte[MaxSize];
        var size = i->OperandSize;
        if (!VectorGuard.Check(s, VectorClass.X87) || !SlowHandlers.OperandAddress(s, i, size, false, out var linear)
            || !VectorMemory.Read(s, i, linear, bytes, size))
        {
            return SlowOutcome.Stopped;
        }

        Load(s, bytes, size == 108);
        FxImage.LoadStack(s, bytes + size - 80, 10);
        return SlowOutcome.Next;
    }

    // Selectors are stored as 0 (CPUID tells so). In real mode the pointers are linear addresses of 20 or 32 bits.
    private static void Store(CpuState* s, byte* to, bool wide)
    {
        var real = CpuModes.IsRealOrVm86(s);
        var ip = (uint)s->Fip;
        var dp = (uint)s->Fdp;
        var tags = X87Status.FullTags(s);
        if (wide)
        {
            var words = (uint*)to;
            words[0] = 0xFFFF0000u | s->Fcw;
            words[1] = 0xFFFF0000u | s->Fsw;
            words[2] = 0xFFFF0000u | tags;
            words[3] = real ? 0xFFFF0000u | (ushort)ip : ip;
            words[4] = real ? ((ip >> 16) << 12) | s->Fop : (uint)s->Fop << 16;
            words[5] = real ? 0xFFFF0000u | (ushort)dp : dp;
            words[6] = real ? (dp >> 16) << 12 : 0xFFFF0000u;
            return;
        }

        var half = (ushort*)to;
        half[0] = s->Fcw;
        half[1] = s->Fsw;
        half[2] = tags;
        half[3] = (ushort)ip;
        half[4] = (ushort)(real ? ((ip >> 4) & 0xF000) | s->Fop : 0);
        half[5] = (ushort)dp;
        half[6] = (ushort)(real ? (dp >> 4) & 0xF000 : 0);
    }

    private static void Load(CpuState* s, byte* from, bool wide)
    {
        var real = CpuModes.IsRealOrVm86(s);
        ushort control;
        ushort tags;
        if (wide)
        {
            var words = (uint*)from;
            control = (ushort)words[0];
            s->Fsw = (ushort)words[1];
            tags = (ushort)words[2];
            s->Fip = real ? (ushort)words[3] | ((words[4] << 4) & 0xFFFF0000) : words[3];
            s->Fop = (ushort)((real ? words[4] : words[4] >> 16) & 0x7FF);
            s->Fdp = real ? (ushort)words[5] | ((words[6] << 4) & 0xFFFF0000) : words[5];
        }
        else
        {
            var half = (ushort*)from;
            control = half[0];
            s->Fsw = half[1];
            tags = half[2];
            s->Fip = real ? half[3] | ((half[4] & 0xF000u) << 4) : half[3];
            s->Fop = (ushort)(real ? half[4] & 0x7FF : s->Fop);
            s->Fdp = real ? half[5] | ((half[6] & 0xF000u) << 4) : half[5];
        }

        X87Status.SetFullTags(s, tags);
        X87Status.SetControl(s, control);
    }

    private static SlowOutcome Done(bool ok) => ok ? SlowOutcome.Next : SlowOutcome.Stopped;
}
