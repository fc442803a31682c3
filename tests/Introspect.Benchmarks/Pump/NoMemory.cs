using Introspect.Hypervisor;

namespace Introspect.Benchmarks.Pump;

/// <summary>Guest memory in which no page is there.</summary>
internal sealed class NoMemory : IGuestMemory
{
    public void ReadPhysical(GuestPhysical address, Span<byte> destination) => throw Missing(address.Value);

    public void WritePhysical(GuestPhysical address, ReadOnlySpan<byte> source) => throw Missing(address.Value);

    public bool TryTranslate(in AddressSpace space, GuestVirtual address, out GuestPhysical physical)
    {
        physical = default;
        return false;
    }

    public void ReadVirtual(in AddressSpace space, GuestVirtual address, Span<byte> destination) => throw Missing(address.Value);

    public void WriteVirtual(in AddressSpace space, GuestVirtual address, ReadOnlySpan<byte> source) => throw Missing(address.Value);

    private static HypervisorException Missing(ulong address) => new(Errno.EFAULT, $"the benchmark's domain has no page at 0x{address:x}");
}
