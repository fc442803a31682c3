namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>The four PDPTEs of PAE paging, which the processor holds in registers (Intel SDM vol. 3, 4.4.1).</summary>
internal static unsafe class PageDirectoryPointers
{
    private const int Count = 4;
    private const ulong Present = 1;

    // Bits 1–2 and 5–8 and everything above the physical address.
    private const ulong Reserved = 0x1E6 | ~((1UL << Mmu.PhysicalBits) - 1);

    /// <summary>
    /// Loads the entries at a CR3 value. False: a present entry has a reserved bit (nothing was loaded and no fault
    /// raised), or the second level refused the access (<see cref="StopReason.Exit"/>).
    /// </summary>
    public static bool Load(CpuState* s, ulong cr3)
    {
        var entries = stackalloc ulong[Count];
        var table = cr3 & 0xFFFFFFE0;
        if (!Mmu.CheckP2m(s, table, 0, AccessKind.Read, 0, out var page))
        {
            return false;
        }

        for (var n = 0; n < Count; n++)
        {
            // The table is aligned to its 32 bytes, so it lies in one page; where nothing is mapped the bus reads ones.
            var entry = page.IsPresent
                ? *(ulong*)(s->MachineBase + page.MachineAddress + (table & 0xFFF) + ((uint)n * 8))
                : ulong.MaxValue;
            if ((entry & Present) != 0 && (entry & Reserved) != 0)
            {
                return false;
            }

            entries[n] = entry;
        }

        for (var n = 0; n < Count; n++)
        {
            s->Pdpte[n] = entries[n];
        }

        return true;
    }
}
