using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// One entry of the hashed TLB, 32 bytes. A tag is the linear page address when the access is allowed by the
/// guest's page tables and by the p2m, else all ones, so that one compare decides.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TlbEntry
{
    /// <summary>Tag that can never match: not page aligned.</summary>
    public const ulong NoTag = ~0UL;

    public ulong Read;
    public ulong Write;

    /// <summary>Host address minus linear address.</summary>
    public ulong Addend;

    /// <summary>Bit 0: global; bit 1: part of a large page.</summary>
    public ulong Flags;
}
