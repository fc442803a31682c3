using System.Buffers.Binary;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.Building;

/// <summary>What is in <see cref="SpecialPages"/> when a domain begins.</summary>
internal static class SpecialPagesContent
{
    /// <summary>
    /// Clears the special pages, which the caller populated, and fills the one with the page directory that maps
    /// 4 GiB onto themselves (for hardware that cannot run an unpaged guest without one).
    /// </summary>
    public static void Write(IGuestLoader guest)
    {
        guest.Clear(SpecialPages.FirstGfn << Gfn.PageShift, SpecialPages.Count * (ulong)Gfn.PageSize);

        // Present, writable, user, accessed, dirty, 4 MiB.
        const uint Rights = 0xe7;
        byte[] directory = new byte[Gfn.PageSize];
        for (uint i = 0; i < Gfn.PageSize / sizeof(uint); i++)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(directory.AsSpan((int)i * sizeof(uint)), (i << 22) | Rights);
        }

        guest.WritePhysical(SpecialPages.IdentityPageTable << Gfn.PageShift, directory);
    }
}
