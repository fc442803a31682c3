using Introspect.Hypervisor;

namespace Introspect.Daemon.Tests.Fakes;

/// <summary>Some bytes of memory from address 0 on, mapped where they are.</summary>
internal sealed class FakeMemory(int bytes = 1 << 22) : IGuestMemory
{
    private readonly byte[] _bytes = new byte[bytes];

    public void ReadPhysical(GuestPhysical address, Span<byte> destination) => At(address.Value, destination.Length).CopyTo(destination);

    public void WritePhysical(GuestPhysical address, ReadOnlySpan<byte> source) => source.CopyTo(At(address.Value, source.Length));

    public bool TryTranslate(in AddressSpace space, GuestVirtual address, out GuestPhysical physical)
    {
        physical = new(address.Value);
        return address.Value < (ulong)_bytes.Length;
    }

    public void ReadVirtual(in AddressSpace space, GuestVirtual address, Span<byte> destination) => ReadPhysical(new(address.Value), destination);

    public void WriteVirtual(in AddressSpace space, GuestVirtual address, ReadOnlySpan<byte> source) => WritePhysical(new(address.Value), source);

    private Span<byte> At(ulong address, int length) =>
        address + (ulong)length <= (ulong)_bytes.Length ? _bytes.AsSpan((int)address, length) : throw new HypervisorException(Errno.EFAULT, $"no memory at 0x{address:x}");
}
