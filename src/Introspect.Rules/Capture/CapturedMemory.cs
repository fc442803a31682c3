using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Capture;

/// <summary>
/// The guest's memory at a captured event. Reading what was not taken, which is unknown, is <see cref="Errno.ENODATA"/>; what
/// was not mapped when it was to be taken is EFAULT, as in the guest. Where a read may fail, both just do.
/// </summary>
public sealed class CapturedMemory : IGuestMemory
{
    private readonly MemorySnapshot _pieces;
    private AddressSpace _space;

    internal CapturedMemory(MemorySnapshot pieces) => _pieces = pieces;

    /// <summary>Bytes that are known.</summary>
    public int KnownBytes
    {
        get
        {
            var bytes = 0;
            foreach (ref readonly var piece in _pieces.Pieces)
            {
                bytes += piece.IsMapped ? piece.Length : 0;
            }

            return bytes;
        }
    }

    /// <inheritdoc/>
    public void ReadPhysical(GuestPhysical address, Span<byte> destination)
    {
        if (!TryReadPhysical(address, destination, out var failed))
        {
            throw Unknown($"guest-physical address {failed}");
        }
    }

    /// <inheritdoc/>
    public bool TryReadPhysical(GuestPhysical address, Span<byte> destination) => TryReadPhysical(address, destination, out _);

    /// <inheritdoc/>
    public bool TryTranslate(in AddressSpace space, GuestVirtual address, out GuestPhysical physical)
    {
        var isKnown = TryFind(in space, address.Value, out var piece);
        physical = new(piece.Physical + (address.Value - piece.Address));
        return isKnown && piece.IsMapped;
    }

    /// <inheritdoc/>
    public void ReadVirtual(in AddressSpace space, GuestVirtual address, Span<byte> destination)
    {
        for (var at = address; !destination.IsEmpty;)
        {
            if (!TryFind(in space, at.Value, out var piece))
            {
                throw Unknown($"address {at}");
            }

            if (!piece.IsMapped)
            {
                throw new HypervisorException(Errno.EFAULT, $"address {at} was not mapped at the event");
            }

            var part = _pieces.BytesOf(in piece)[(int)(at.Value - piece.Address)..];
            part = part[..Math.Min(part.Length, destination.Length)];
            part.CopyTo(destination);
            destination = destination[part.Length..];
            at += (ulong)part.Length;
        }
    }

    /// <inheritdoc/>
    public void WritePhysical(GuestPhysical address, ReadOnlySpan<byte> source) => throw ReadOnly();

    /// <inheritdoc/>
    public void WriteVirtual(in AddressSpace space, GuestVirtual address, ReadOnlySpan<byte> source) => throw ReadOnly();

    internal void MoveTo(ref readonly VmEvent request)
    {
        ref readonly var r = ref request.Registers;
        _space = AddressSpace.FromControlRegisters(r.Cr0, r.Cr3, r.Cr4, r.MsrEfer);
    }

    private bool TryReadPhysical(GuestPhysical address, Span<byte> destination, out GuestPhysical failed)
    {
        for (failed = address; !destination.IsEmpty;)
        {
            var part = FindPhysical(failed.Value);
            if (part.IsEmpty)
            {
                return false;
            }

            part = part[..Math.Min(part.Length, destination.Length)];
            part.CopyTo(destination);
            destination = destination[part.Length..];
            failed += (ulong)part.Length;
        }

        return true;
    }

    private bool TryFind(in AddressSpace space, ulong address, out MemoryPiece found)
    {
        found = default;
        if (space.Mode != _space.Mode || (space.Mode != PagingMode.None && ((space.Root ^ _space.Root) & space.RootMask) != 0))
        {
            return false;
        }

        foreach (ref readonly var piece in _pieces.Pieces)
        {
            if (address - piece.Address < (ulong)piece.Length)
            {
                found = piece;
                return true;
            }
        }

        return false;
    }

    private ReadOnlySpan<byte> FindPhysical(ulong address)
    {
        foreach (ref readonly var piece in _pieces.Pieces)
        {
            if (piece.IsMapped && address - piece.Physical < (ulong)piece.Length)
            {
                return _pieces.BytesOf(in piece)[(int)(address - piece.Physical)..];
            }
        }

        return default;
    }

    private static HypervisorException Unknown(string what) =>
        new(Errno.ENODATA, $"{what} is not in the capture at this event; record with --window to have it");

    private static HypervisorException ReadOnly() => new(Errno.EROFS, "a capture's memory cannot be written");
}
