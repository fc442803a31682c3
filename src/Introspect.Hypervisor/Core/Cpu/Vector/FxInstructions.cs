using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Cpu.VectorUnit;

/// <summary>FXSAVE, FXRSTOR, XSAVE, XRSTOR, LDMXCSR, STMXCSR. Operand size 8 is the form with REX.W.</summary>
internal static unsafe class FxInstructions
{
    private const ulong X87Component = 1;
    private const ulong SseComponent = 2;
    private const ulong AvxComponent = 4;
    private const int HeaderOffset = 512;
    private const int AvxOffset = 576;
    private const int AreaSize = 832;

    [SkipLocalsInit]
    public static SlowOutcome Fxsave(CpuState* s, Insn* i)
    {
        if (!VectorGuard.Check(s, VectorClass.FxState) || !VectorMemory.Address(s, i, FxImage.Size, 16, true, out var linear))
        {
            return SlowOutcome.Stopped;
        }

        var image = stackalloc byte[FxImage.Size];
        FxImage.StoreX87(s, image, i->OperandSize == 8);
        *(uint*)(image + FxImage.MxcsrOffset) = s->Mxcsr;
        *(uint*)(image + FxImage.MxcsrOffset + 4) = FxImage.MxcsrMask;
        var count = FxImage.XmmCount(s);
        FxImage.StoreXmm(s, image, count);

        // What lies behind the mode's last register is left alone.
        return VectorMemory.Write(s, i, linear, image, FxImage.XmmOffset + (count * 16)) ? SlowOutcome.Next : SlowOutcome.Stopped;
    }

    [SkipLocalsInit]
    public static SlowOutcome Fxrstor(CpuState* s, Insn* i)
    {
        var image = stackalloc byte[FxImage.Size];
        if (!VectorGuard.Check(s, VectorClass.FxState) || !VectorMemory.Address(s, i, FxImage.Size, 16, false, out var linear)
            || !VectorMemory.Read(s, i, linear, image, FxImage.Size) || !TakeMxcsr(s, *(uint*)(image + FxImage.MxcsrOffset)))
        {
            return SlowOutcome.Stopped;
        }

        FxImage.LoadX87(s, image, i->OperandSize == 8);
        FxImage.LoadXmm(s, image, FxImage.XmmCount(s));
        return SlowOutcome.Next;
    }

    public static SlowOutcome Ldmxcsr(CpuState* s, Insn* i) =>
        VectorGuard.Check(s, VectorClass.Sse) && SlowHandlers.LoadOperand(s, i, 4, out var value) && TakeMxcsr(s, (uint)value)
            ? SlowOutcome.Next
            : SlowOutcome.Stopped;

    public static SlowOutcome Stmxcsr(CpuState* s, Insn* i) =>
        VectorGuard.Check(s, VectorClass.Sse) && SlowHandlers.StoreOperand(s, i, 4, s->Mxcsr) ? SlowOutcome.Next : SlowOutcome.Stopped;

    /// <summary>XSAVE in the standard form: every requested component is in use.</summary>
    [SkipLocalsInit]
    public static SlowOutcome Xsave(CpuState* s, Insn* i)
    {
        var area = stackalloc byte[AreaSize];
        if (!VectorGuard.Check(s, VectorClass.XState) || !VectorMemory.Address(s, i, AreaSizeNow(s), 64, true, out var linear))
        {
            return SlowOutcome.Stopped;
        }

        // Parts that are not asked for keep what they have, so the area is read first.
        var size = AreaSizeNow(s);
        if (!SlowAccess.Probe(s, (SegmentIndex)i->Seg, linear, size, AccessKind.Write, AccessRights.Current)
            || !VectorMemory.Read(s, i, linear, area, size))
        {
            return SlowOutcome.Stopped;
        }

        var requested = Requested(s);
        if ((requested & X87Component) != 0)
        {
            FxImage.StoreX87(s, area, i->OperandSize == 8);
        }

        if ((requested & (SseComponent | AvxComponent)) != 0)
        {
            *(uint*)(area + FxImage.MxcsrOffset) = s->Mxcsr;
            *(uint*)(area + FxImage.MxcsrOffset + 4) = FxImage.MxcsrMask;
        }

        if ((requested & SseComponent) != 0)
        {
            FxImage.StoreXmm(s, area, FxImage.XmmCount(s));
        }

        if ((requested & AvxComponent) != 0)
        {
            for (var n = 0; n < FxImage.XmmCount(s); n++)
            {
                *(ulong*)(area + AvxOffset + (n * 16)) = s->Ymm[(n * 4) + 2];
                *(ulong*)(area + AvxOffset + (n * 16) + 8) = s->Ymm[(n * 4) + 3];
            }
        }

        *(ulong*)(area + HeaderOffset) |= requested;
        return VectorMemory.Write(s, i, linear, area, size) ? SlowOutcome.Next : SlowOutcome.Stopped;
    }

    /// <summary>XRSTOR in the standard form: a component that the area lacks gets its initial state.</summary>
    [SkipLocalsInit]
    public static SlowOutcome Xrstor(CpuState* s, Insn* i)
    {
        var area = stackalloc byte[AreaSize];
        if (!VectorGuard.Check(s, VectorClass.XState) || !VectorMemory.Address(s, i, AreaSizeNow(s), 64, false, out var linear)
            || !VectorMemory.Read(s, i, linear, area, AreaSizeNow(s)))
        {
            return SlowOutcome.Stopped;
        }

        var present = *(ulong*)(area + HeaderOffset);
        if ((present & ~s->Xcr0) != 0 || *(ulong*)(area + HeaderOffset + 8) != 0 || *(ulong*)(area + HeaderOffset + 16) != 0)
        {
            Fault.GeneralProtection(s, 0);
            return SlowOutcome.Stopped;
        }

        var requested = Requested(s);
        if ((requested & (SseComponent | AvxComponent)) != 0 && !TakeMxcsr(s, *(uint*)(area + FxImage.MxcsrOffset)))
        {
            return SlowOutcome.Stopped;
        }

        if ((requested & X87Component) != 0)
        {
            if ((present & X87Component) != 0)
            {
                FxImage.LoadX87(s, area, i->OperandSize == 8);
            }
            else
            {
                X87Status.Initialize(s);
                new Span<ulong>(s->X87, 16).Clear();
            }
        }

        for (var n = 0; n < FxImage.XmmCount(s); n++)
        {
            if ((requested & SseComponent) != 0)
            {
                Load(&s->Ymm[n * 4], area + FxImage.XmmOffset + (n * 16), (present & SseComponent) != 0);
            }

            if ((requested & AvxComponent) != 0)
            {
                Load(&s->Ymm[(n * 4) + 2], area + AvxOffset + (n * 16), (present & AvxComponent) != 0);
            }
        }

        return SlowOutcome.Next;
    }

    private static void Load(ulong* half, byte* from, bool present)
    {
        half[0] = present ? *(ulong*)from : 0;
        half[1] = present ? *(ulong*)(from + 8) : 0;
    }

    private static ulong Requested(CpuState* s) => (((ulong)(uint)s->Gpr[2] << 32) | (uint)s->Gpr[0]) & s->Xcr0;

    private static int AreaSizeNow(CpuState* s) => (s->Xcr0 & AvxComponent) != 0 ? AreaSize : AvxOffset;

    private static bool TakeMxcsr(CpuState* s, uint value)
    {
        if ((value & ~FxImage.MxcsrMask) != 0)
        {
            return Fault.GeneralProtection(s, 0);
        }

        s->Mxcsr = value;
        return true;
    }
}
