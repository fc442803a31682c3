using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.Saving;

/// <summary>The pages of a domain that stands still, for a file.</summary>
internal static class DomainPages
{
    /// <summary>
    /// Makes what a fork did not look at yet its own: it is part of its memory all the same. Under the control lock.
    /// </summary>
    public static void TakeFromParents(Domain domain)
    {
        for (var ancestor = domain.Parent; ancestor is not null; ancestor = ancestor.Parent)
        {
            for (ulong gfn = 0; ancestor.Physmap.TryFindMapped(ref gfn); gfn++)
            {
                domain.Pages.Find(gfn, write: false);
            }
        }
    }

    /// <summary>Reads frames that lie behind each other: from the memory files and not by the mapping, since a hole that is only read stays one.</summary>
    /// <exception cref="HypervisorException">ESRCH, EBUSY: the domain or the page went meanwhile; EIO: the memory cannot be read.</exception>
    public static void Read(Domain domain, ulong first, Span<byte> destination)
    {
        var memory = domain.Machine.Memory;
        using var _ = domain.Machine.ControlLock.EnterScope();
        if (domain.IsDying)
        {
            throw new HypervisorException(Errno.ESRCH, $"domain {domain.Id} was destroyed while it was being saved: what was written is not whole");
        }

        for (var pages = destination.Length / Gfn.PageSize; pages > 0;)
        {
            var address = domain.Physmap[first].MachineAddress;
            var extent = memory.FindExtent(address)
                ?? throw new HypervisorException(Errno.EBUSY, $"frame 0x{first:x} of domain {domain.Id} was taken away while it was being saved: save it when nobody changes it");
            var together = 1;
            while (together < pages && domain.Physmap[first + (ulong)together].MachineAddress is var next
                && next == address + ((ulong)together * Gfn.PageSize) && extent.Contains(next))
            {
                together++;
            }

            var part = destination[..(together * Gfn.PageSize)];
            if (RandomAccess.Read(extent.File.Handle, part, (long)(address - extent.Address)) != part.Length)
            {
                throw new HypervisorException(Errno.EIO, $"the memory of domain {domain.Id} could not be read from frame 0x{first:x} on");
            }

            destination = destination[part.Length..];
            first += (ulong)together;
            pages -= together;
        }
    }
}
