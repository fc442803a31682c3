using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// One entry of the hashed TLB, 32 bytes. A tag is the linear page address when the access is allowed by the
/// guest's page tables and by the p2m, so that one compare decides. An invalid tag is a page that hashes to
/// another slot (<see cref="Tlb.InvalidTag"/>), hence can never be asked for here.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct TlbEntry
{
    public ulong Read;
    public ulong Write;

    /// <summary>Host address minus linear address.</summary>
    public ulong Addend;

    public TlbFlags Flags;
}

/// <summary>What a flush must know of an entry.</summary>
[Flags]
internal enum TlbFlags : ulong
{
    None = 0,
    Global = 1,
    Large = 2,
}

/// <summary>A translated page of an instruction fetch.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FetchEntry
{
    public ulong Tag;
    public ulong Machine;
    public TlbFlags Flags;
    private ulong _pad;
}

/// <summary>Which translations a data access may use.</summary>
internal enum TlbBank
{
    Supervisor = 0,
    User = 1,

    /// <summary>Supervisor with RFLAGS.AC set under SMAP.</summary>
    SupervisorAc = 2,

    /// <summary>Always empty: every access takes the slow path.</summary>
    None = 3,
}
