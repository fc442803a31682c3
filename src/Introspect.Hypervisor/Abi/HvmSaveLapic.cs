using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary><c>struct hvm_hw_lapic</c> of 4.17, 24 bytes: what of a local APIC is not in its registers.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmHwLapic
{
    /// <summary>Bit of <see cref="Disabled"/>: disabled in IA32_APIC_BASE (<c>VLAPIC_HW_DISABLED</c>).</summary>
    public const uint HardwareDisabled = 1;

    /// <summary>Bit of <see cref="Disabled"/>: disabled in the spurious vector register (<c>VLAPIC_SW_DISABLED</c>).</summary>
    public const uint SoftwareDisabled = 2;

    public ulong ApicBaseMsr;
    public uint Disabled;
    public uint TimerDivisor;
    public ulong TdtMsr;
}

/// <summary><c>struct hvm_hw_lapic_regs</c>: the first 1024 bytes of the register page, here as 32-bit words.</summary>
[InlineArray(Words)]
internal struct HvmHwLapicRegs
{
    /// <summary>32-bit words in the record.</summary>
    public const int Words = 256;

    private uint _element0;
}
