using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Capture;

/// <summary>
/// Pieces of a guest's memory as they were at an event, none across a page. Made once for the most that it can hold,
/// and used again for each event.
/// </summary>
internal sealed class MemorySnapshot
{
    private readonly byte[] _bytes;
    private readonly MemoryPiece[] _pieces;
    private int _used;

    public MemorySnapshot(int pieces, int bytes) => (_pieces, _bytes) = (new MemoryPiece[pieces], new byte[bytes]);

    /// <summary>The event's number.</summary>
    public ulong Sequence { get; set; }

    public int Count { get; private set; }

    public ReadOnlySpan<MemoryPiece> Pieces => _pieces.AsSpan(0, Count);

    /// <summary>A snapshot with room for windows.</summary>
    public static MemorySnapshot For(IReadOnlyList<MemoryWindow> windows) =>
        new(windows.Sum(PagesOf), windows.Sum(window => window.Length));

    public void Clear() => (Count, _used) = (0, 0);

    public ReadOnlySpan<byte> BytesOf(in MemoryPiece piece) => piece.IsMapped ? _bytes.AsSpan(piece.At, piece.Length) : default;

    /// <summary>Adds a piece; its bytes are the caller's to fill.</summary>
    public Span<byte> Add(ulong address, ulong physical, int length, bool isMapped)
    {
        _pieces[Count++] = new(address, physical, length, _used, isMapped);
        if (!isMapped)
        {
            return default;
        }

        _used += length;
        return _bytes.AsSpan(_used - length, length);
    }

    /// <summary>True when a piece of so many bytes still fits.</summary>
    public bool HasRoom(int length) => Count < _pieces.Length && length <= _bytes.Length - _used;

    /// <summary>Reads the windows of an event.</summary>
    public void Take(IGuestMemory memory, ref readonly VmEvent request, ReadOnlySpan<MemoryWindow> windows)
    {
        Clear();
        var r = request.Registers;
        var space = AddressSpace.FromControlRegisters(r.Cr0, r.Cr3, r.Cr4, r.MsrEfer);
        foreach (ref readonly var window in windows)
        {
            if (window.TryLocate(in request, out var address))
            {
                Take(memory, in space, address, window.Length);
            }
        }
    }

    private void Take(IGuestMemory memory, in AddressSpace space, ulong address, int length)
    {
        while (length > 0)
        {
            var part = Math.Min(length, Gfn.PageSize - (int)(address & (Gfn.PageSize - 1)));
            if (!TryTake(memory, in space, address, part))
            {
                Add(address, 0, part, false);
            }

            address += (ulong)part;
            length -= part;
        }
    }

    private bool TryTake(IGuestMemory memory, in AddressSpace space, ulong address, int length)
    {
        var (count, used) = (Count, _used);
        try
        {
            if (memory.TryTranslate(in space, new(address), out var physical) && memory.TryReadPhysical(physical, Add(address, physical.Value, length, true)))
            {
                return true;
            }
        }
        catch (HypervisorException)
        {
            // As good as unmapped to who reads memory.
        }

        (Count, _used) = (count, used);
        return false;
    }

    private static int PagesOf(MemoryWindow window) => ((window.Length + Gfn.PageSize - 2) / Gfn.PageSize) + 1;
}

/// <summary>A piece of memory.</summary>
/// <param name="Address">Linear address.</param>
/// <param name="Physical">Guest-physical address, where it is mapped.</param>
/// <param name="Length">Bytes.</param>
/// <param name="At">Where its bytes are in the snapshot.</param>
/// <param name="IsMapped">False: there was no memory that could be read.</param>
internal readonly record struct MemoryPiece(ulong Address, ulong Physical, int Length, int At, bool IsMapped);
