namespace Introspect.Hypervisor.Core.Cpu.VectorUnit;

/// <summary>What decides whether an x87, MMX or SSE instruction may run.</summary>
internal enum VectorClass : byte
{
    /// <summary>x87 that reports a pending exception first.</summary>
    X87,

    /// <summary>x87 that does not wait: FNINIT, FNCLEX, FNSTSW, FNSTCW, FNSTENV, FNSAVE.</summary>
    X87NoWait,

    /// <summary>FWAIT.</summary>
    Wait,

    /// <summary>MMX registers only.</summary>
    Mmx,

    /// <summary>SSE registers.</summary>
    Sse,

    /// <summary>SSE and MMX registers.</summary>
    SseMmx,

    /// <summary>FXSAVE and FXRSTOR.</summary>
    FxState,

    /// <summary>XSAVE and XRSTOR.</summary>
    XState,

    /// <summary>General registers only: nothing is asked.</summary>
    General,
}

/// <summary>
/// The control bits that let a vector instruction run or not (Intel SDM vol. 3, 2.5, table 2-2 and 13.1; vol. 2,
/// 2.4). #UD comes before #NM, and #NM before #MF; all of them come before the memory operand is touched.
/// CR0.NE is not looked at: a pending x87 exception is always #MF, as on a processor in VMX operation.
/// </summary>
internal static unsafe class VectorGuard
{
    public const ulong Cr4OsFxsr = 1 << 9;
    public const ulong Cr4OsXmmExcpt = 1 << 10;
    public const ulong Cr4OsXsave = 1 << 18;

    /// <summary>True when the instruction may run; otherwise the fault is in the state.</summary>
    public static bool Check(CpuState* s, VectorClass kind)
    {
        var emulated = (s->Cr0 & CpuModes.Cr0Em) != 0;
        var switched = (s->Cr0 & CpuModes.Cr0Ts) != 0;
        switch (kind)
        {
            case VectorClass.Sse:
                return NotInvalid(s, emulated || (s->Cr4 & Cr4OsFxsr) == 0) && Available(s, switched);
            case VectorClass.SseMmx:
                return NotInvalid(s, emulated || (s->Cr4 & Cr4OsFxsr) == 0) && Available(s, switched) && NoPendingX87(s);
            case VectorClass.Mmx:
                return NotInvalid(s, emulated) && Available(s, switched) && NoPendingX87(s);
            case VectorClass.X87:
                return Available(s, emulated || switched) && NoPendingX87(s);
            case VectorClass.X87NoWait or VectorClass.FxState:
                return Available(s, emulated || switched);
            case VectorClass.Wait:
                return Available(s, switched && (s->Cr0 & CpuModes.Cr0Mp) != 0) && NoPendingX87(s);
            case VectorClass.XState:
                return NotInvalid(s, (s->Cr4 & Cr4OsXsave) == 0) && Available(s, switched);
            default:
                return true;
        }
    }

    /// <summary>An SSE exception that is not masked: #XM, or #UD when the system does not want it.</summary>
    public static bool SimdFault(CpuState* s) =>
        Fault.Raise(s, (s->Cr4 & Cr4OsXmmExcpt) != 0 ? Vector.SimdFault : Vector.InvalidOpcode);

    private static bool NotInvalid(CpuState* s, bool invalid) => !invalid || Fault.InvalidOpcode(s);

    private static bool Available(CpuState* s, bool absent) => !absent || Fault.Raise(s, Vector.DeviceNotAvailable);

    private static bool NoPendingX87(CpuState* s) =>
        (s->Fsw & X87Status.Summary) == 0 || Fault.Raise(s, Vector.MathFault);
}
