using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary>Which HVM parameters a guest may read and write, and which values they take.</summary>
internal static class HvmParamRights
{
    // Deprecated ones, refused to everybody.
    private const uint PaeEnabled = 4;
    private const uint DmDomain = 13;
    private const uint MemoryEventCr0 = 20;
    private const uint MemoryEventInt3 = 23;
    private const uint NestedHvm = 24;
    private const uint MemoryEventSingleStep = 25;
    private const uint BufioreqEvtchn = 26;
    private const uint MemoryEventMsr = 30;

    // The 32-bit TSS, and the largest that makes sense: with both bitmaps and a byte behind them.
    private const ulong TssBytes = 104;
    private const ulong MaxTssBytes = TssBytes + 32 + 8192 + 1;
    private const ulong Vm86TssDefaultBytes = 128;

    /// <summary>Bit 63 of the stored TSS parameter: the guest changed it.</summary>
    private const ulong Vm86TssUpdated = 1UL << 63;

    /// <summary>0, or a negated errno: may the guest read this parameter of its own?</summary>
    public static long CheckGuestRead(uint index) => index switch
    {
        HvmParam.CallbackIrq or HvmParam.Vm86Tss or HvmParam.Vm86TssSized or HvmParam.AcpiIoportsLocation
            or HvmParam.VmGenerationIdAddr or HvmParam.StorePfn or HvmParam.StoreEvtchn or HvmParam.ConsolePfn
            or HvmParam.ConsoleEvtchn or HvmParam.AltP2m or HvmParam.X87FipWidth => 0,
        _ => IsDeprecated(index) ? -(long)Errno.EINVAL : -(long)Errno.EPERM,
    };

    /// <summary>0, or a negated errno: may the guest write this value to this parameter of its own?</summary>
    public static long CheckGuestWrite(uint index, ulong value) => index switch
    {
        HvmParam.CallbackIrq or HvmParam.VmGenerationIdAddr or HvmParam.StoreEvtchn or HvmParam.ConsoleEvtchn => 0,
        HvmParam.AcpiIoportsLocation => value <= 1 ? 0 : -(long)Errno.EINVAL,
        HvmParam.X87FipWidth => value is 0 or 4 or 8 ? 0 : -(long)Errno.EINVAL,
        HvmParam.Vm86Tss => value <= uint.MaxValue ? 0 : -(long)Errno.EINVAL,
        HvmParam.Vm86TssSized => value >> 32 >= TssBytes ? 0 : -(long)Errno.EINVAL,
        _ => IsDeprecated(index) ? -(long)Errno.EINVAL : -(long)Errno.EPERM,
    };

    /// <summary>Where and as what a written value is stored: both forms of the TSS parameter are one.</summary>
    public static (uint Index, ulong Value) Store(uint index, ulong value) => index switch
    {
        HvmParam.Vm86Tss => (HvmParam.Vm86TssSized, value == 0 ? 0 : value | (Vm86TssDefaultBytes << 32) | Vm86TssUpdated),
        HvmParam.Vm86TssSized => (index, (uint)value | (Math.Min(value >> 32, MaxTssBytes) << 32) | Vm86TssUpdated),
        _ => (index, value),
    };

    /// <summary>Where the value that a reader gets is stored.</summary>
    public static uint StoredIn(uint index) => index == HvmParam.Vm86Tss ? HvmParam.Vm86TssSized : index;

    /// <summary>What a reader gets of a stored value.</summary>
    public static ulong Load(uint index, ulong stored) => index switch
    {
        HvmParam.Vm86Tss => (uint)stored,
        HvmParam.Vm86TssSized => stored & ~Vm86TssUpdated,
        _ => stored,
    };

    /// <summary>Parameters that were of use once, and are refused to everybody.</summary>
    public static bool IsDeprecated(uint index) => index is PaeEnabled or DmDomain
        or (>= MemoryEventCr0 and <= MemoryEventInt3) or NestedHvm or MemoryEventSingleStep or BufioreqEvtchn
        or MemoryEventMsr;
}
