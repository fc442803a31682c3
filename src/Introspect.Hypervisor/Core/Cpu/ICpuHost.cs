using Introspect.Hypervisor.Core.Memory;
namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>What the CPU asks of the platform while it runs; everything else leaves as an <see cref="Exit"/>.</summary>
internal interface ICpuHost
{
    /// <summary>The clock that the TSC follows, in cycles.</summary>
    ulong ReadTimestamp(ulong retiredInstructions);

    /// <summary>A random number for RDRAND and RDSEED. False: there is none now, and the guest may try again.</summary>
    bool TryGetRandom(out ulong value);

    /// <summary>
    /// A page that is not there, or is shared with others and to be written, is wanted while the guest is out: by an
    /// instruction that is emulated, or by the hypervisor on the guest's behalf. False: it stays as it is.
    /// </summary>
    bool TryFindPage(ulong gfn, bool write) => false;

    /// <summary>Device memory is read, while an instruction is emulated after a nested page fault. False: no device there.</summary>
    bool ReadDevice(ulong gpa, int size, out ulong value);

    /// <summary>Device memory is written, while an instruction is emulated. False: no device there.</summary>
    bool WriteDevice(ulong gpa, int size, ulong value);

    /// <summary>
    /// Code is about to be decoded of a machine page, which is noted by <see cref="PageInfoBits.HasCode"/>. Returns
    /// when no other CPU can store to the page any more without a look at that.
    /// </summary>
    /// <returns>False: somebody goes on storing to it, and nothing of it may be kept.</returns>
    bool ClaimCodePage(ref byte note)
    {
        PageNotes.Change(ref note, PageInfoBits.None, PageInfoBits.HasCode);
        return true;
    }

    /// <summary>Keeps the other CPUs on this memory out of the guest, for an atomic access that the host cannot make in one piece.</summary>
    void BeginExclusive()
    {
    }

    /// <summary>Ends <see cref="BeginExclusive"/>.</summary>
    void EndExclusive()
    {
    }
}
