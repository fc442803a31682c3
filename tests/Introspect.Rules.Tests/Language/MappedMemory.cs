using Introspect.Hypervisor;

namespace Introspect.Rules.Tests.Language;

/// <summary>Guest memory of the pages that are mapped, in the address space of one CR3. Reading what is not there allocates nothing.</summary>
internal sealed class MappedMemory(ulong root = 0) : IGuestMemory
{
    private readonly Dictionary<ulong, ulong> _frames = [];
    private readonly Dictionary<ulong, byte[]> _pages = [];

    public void Map(ulong linear, ulong physical)
    {
        _frames[linear >> 12] = physical >> 12;
        _pages.TryAdd(physical >> 12, new byte[4096]);
    }

    public void ReadPhysical(GuestPhysical address, Span<byte> destination)
    {
        if (!TryReadPhysical(address, destination))
        {
            throw new HypervisorException(Errno.EFAULT, "not there");
        }
    }

    public bool TryReadPhysical(GuestPhysical address, Span<byte> destination)
    {
        for (var i = 0; i < destination.Length; i++)
        {
            var at = address + (ulong)i;
            if (!_pages.TryGetValue(at.Gfn.Value, out var page))
            {
                return false;
            }

            destination[i] = page[at.PageOffset];
        }

        return true;
    }

    public void WritePhysical(GuestPhysical address, ReadOnlySpan<byte> source) => source.CopyTo(_pages[address.Gfn.Value].AsSpan(address.PageOffset));

    public bool TryTranslate(in AddressSpace space, GuestVirtual address, out GuestPhysical physical)
    {
        var found = _frames.TryGetValue(address.Value >> 12, out var frame);
        physical = new((frame << 12) | (address.Value & 0xfff));
        return found && space.Root == root;
    }

    public void ReadVirtual(in AddressSpace space, GuestVirtual address, Span<byte> destination) => throw new NotSupportedException();

    public void WriteVirtual(in AddressSpace space, GuestVirtual address, ReadOnlySpan<byte> source) => throw new NotSupportedException();
}
