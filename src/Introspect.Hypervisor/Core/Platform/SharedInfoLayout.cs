namespace Introspect.Hypervisor.Core.Platform;

/// <summary>Where things are in <c>struct shared_info</c> and <c>struct vcpu_info</c>, for 64-bit and 32-bit guests.</summary>
internal readonly record struct SharedInfoLayout(bool Is64)
{
    /// <summary>Bytes of a <c>vcpu_info</c>.</summary>
    public const int VcpuInfoSize = 64;

    /// <summary>vCPUs that have their <c>vcpu_info</c> in the page (<c>XEN_LEGACY_MAX_VCPUS</c>).</summary>
    public const int LegacyVcpus = 32;

    /// <summary>Offset of <c>evtchn_upcall_pending</c> in a <c>vcpu_info</c>.</summary>
    public const int UpcallPending = 0;

    /// <summary>Offset of <c>evtchn_upcall_mask</c>, which HVM guests do not use.</summary>
    public const int UpcallMask = 1;

    /// <summary>Offset of <c>time</c>.</summary>
    public const int Time = 32;

    /// <summary>Offset of <c>evtchn_pending</c> in the page.</summary>
    public const int Pending = LegacyVcpus * VcpuInfoSize;

    /// <summary>Bytes of a guest's long.</summary>
    public int WordSize => Is64 ? 8 : 4;

    /// <summary>Bits of a guest's long: ports a selector bit stands for.</summary>
    public int WordBits => WordSize * 8;

    /// <summary>Ports that the two-level bit arrays hold.</summary>
    public uint Ports => (uint)(WordBits * WordBits);

    /// <summary>Offset of <c>evtchn_pending_sel</c> in a <c>vcpu_info</c>.</summary>
    public int PendingSelector => WordSize;

    /// <summary>Offset of <c>evtchn_mask</c> in the page.</summary>
    public int Mask => Pending + (WordBits * WordSize);

    /// <summary>Offset of <c>wc_version</c>; <c>wc_sec</c> and <c>wc_nsec</c> follow.</summary>
    public int WallClock => Mask + (WordBits * WordSize);

    /// <summary>Offset of <c>wc_sec_hi</c>, at the end of <c>arch_shared_info</c> for 32-bit guests.</summary>
    public int WallClockSecondsHigh => WallClock + 12 + (Is64 ? 0 : 24);
}
