using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// Changes of a machine page's notes (<see cref="PageInfoBits"/>), which the CPUs of all vCPUs share. Each is atomic
/// and a full fence: who stores to a page says so before he looks whether it has code, and who decodes a page says
/// so before he looks whether anybody may be storing to it, so that one of them sees the other.
/// </summary>
internal static class PageNotes
{
    /// <summary>Takes bits away and adds others.</summary>
    /// <returns>What the notes were before.</returns>
    public static PageInfoBits Change(ref byte note, PageInfoBits remove, PageInfoBits add)
    {
        byte old;
        do
        {
            old = Volatile.Read(ref note);
        }
        while (Interlocked.CompareExchange(ref note, (byte)((old & ~(uint)remove) | (uint)add), old) != old);

        return (PageInfoBits)old;
    }

    /// <summary>The page is about to be stored to. The notes as they are with that said.</summary>
    public static PageInfoBits AboutToStore(ref byte note)
    {
        var notes = (PageInfoBits)Volatile.Read(ref note);
        return (notes & PageInfoBits.Stored) != 0 ? notes : Change(ref note, PageInfoBits.None, PageInfoBits.Stored);
    }
}
