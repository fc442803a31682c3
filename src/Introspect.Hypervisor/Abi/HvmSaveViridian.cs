using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary><c>struct hvm_viridian_domain_context</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmViridianDomain
{
    public ulong HypercallGpa;
    public ulong GuestOsId;
    public ulong TimeRefCount;
    public ulong ReferenceTsc;
}

/// <summary><c>struct hvm_viridian_vcpu_context</c>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct HvmViridianVcpu
{
    public ulong VpAssistMsr;

    /// <summary>In its lowest byte; the others must be zero.</summary>
    public ulong ApicAssistPending;
    public ulong SimpMsr;
    public SyntheticInterruptMsrs SintMsr;
    public SyntheticTimerMsrs StimerConfigMsr;
    public SyntheticTimerMsrs StimerCountMsr;
}

/// <summary>The synthetic interrupts' registers.</summary>
[InlineArray(Count)]
internal struct SyntheticInterruptMsrs
{
    public const int Count = 16;

    private ulong _first;
}

/// <summary>A register of each synthetic timer.</summary>
[InlineArray(Count)]
internal struct SyntheticTimerMsrs
{
    public const int Count = 4;

    private ulong _first;
}
