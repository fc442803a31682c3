using Introspect.Hypervisor;

namespace Introspect.Rules.Tests.Mocks;

/// <summary>Guest memory where virtual is physical, and pages that nobody wrote are not mapped.</summary>
public sealed class MockGuestMemory : IGuestMemory
{
    private readonly Dictionary<ulong, byte[]> _pages = [];

    public void ReadPhysical(GuestPhysical address, Span<byte> destination)
    {
        for (var i = 0; i < destination.Length; i++)
        {
            destination[i] = At(address.Value + (ulong)i, false);
        }
    }

    public void WritePhysical(GuestPhysical address, ReadOnlySpan<byte> source)
    {
        for (var i = 0; i < source.Length; i++)
        {
            At(address.Value + (ulong)i, true) = source[i];
        }
    }

    public bool TryTranslate(in AddressSpace space, GuestVirtual address, out GuestPhysical physical)
    {
        physical = new(address.Value);
        return _pages.ContainsKey(physical.Gfn.Value);
    }

    public void ReadVirtual(in AddressSpace space, GuestVirtual address, Span<byte> destination) => ReadPhysical(new(address.Value), destination);

    public void WriteVirtual(in AddressSpace space, GuestVirtual address, ReadOnlySpan<byte> source) => WritePhysical(new(address.Value), source);

    private ref byte At(ulong address, bool create)
    {
        var physical = new GuestPhysical(address);
        if (!_pages.TryGetValue(physical.Gfn.Value, out var page))
        {
            if (!create)
            {
                throw new HypervisorException(Errno.EFAULT, $"mock: no page at {physical}");
            }

            _pages[physical.Gfn.Value] = page = new byte[Gfn.PageSize];
        }

        return ref page[physical.PageOffset];
    }
}
