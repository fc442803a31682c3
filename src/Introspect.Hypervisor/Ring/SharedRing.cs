using System.Numerics;

namespace Introspect.Hypervisor.Ring;

/// <summary>What came of looking for a message in a shared ring.</summary>
internal enum RingStatus
{
    /// <summary>There is none.</summary>
    Empty,

    /// <summary>One was copied out.</summary>
    Taken,

    /// <summary>The other side's producer index cannot be: nothing was taken, and nothing of the ring can be trusted.</summary>
    Corrupt,
}

/// <summary>
/// The page that two sides of a ring share, as io/ring.h lays it out: four indices, 48 bytes of padding, and
/// from byte 64 on a power of two of slots which requests and responses take turns in. The other side may be
/// hostile: what it writes is read once, checked, and never trusted as an address or a count.
/// </summary>
internal abstract unsafe class SharedRing
{
    /// <summary>Bytes in the page.</summary>
    public const int PageSize = 4096;

    /// <summary>Offset of the first slot.</summary>
    public const int FirstSlot = 64;

    private protected const int ReqProd = 0;
    private protected const int ReqEvent = 4;
    private protected const int RspProd = 8;
    private protected const int RspEvent = 12;
    private const int Private = 16;

    private readonly byte* _page;
    private readonly uint _mask;

    private protected SharedRing(nint page, int elementSize)
    {
        ArgumentOutOfRangeException.ThrowIfZero(page);
        ArgumentOutOfRangeException.ThrowIfLessThan(elementSize, 8);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(elementSize, PageSize - FirstSlot);
        _page = (byte*)page;
        ElementSize = elementSize;
        Slots = (int)BitOperations.RoundUpToPowerOf2((uint)((PageSize - FirstSlot) / elementSize) + 1) / 2;
        _mask = (uint)Slots - 1;
    }

    /// <summary>Bytes in a slot.</summary>
    public int ElementSize { get; }

    /// <summary>Slots in the ring (<c>RING_SIZE</c>).</summary>
    public int Slots { get; }

    /// <summary>Empties the page (<c>SHARED_RING_INIT</c>): producers 0, events 1, the padding zero. The slots stay as they are.</summary>
    public static void InitialisePage(nint page)
    {
        ArgumentOutOfRangeException.ThrowIfZero(page);

        // SAFETY: the caller says that a whole page is mapped there, and gives it to us while nobody else uses it.
        var bytes = (byte*)page;
        Volatile.Write(ref *(uint*)(bytes + ReqProd), 0);
        Volatile.Write(ref *(uint*)(bytes + RspProd), 0);
        Volatile.Write(ref *(uint*)(bytes + ReqEvent), 1);
        Volatile.Write(ref *(uint*)(bytes + RspEvent), 1);
        new Span<byte>(bytes + Private, FirstSlot - Private).Clear();
        Interlocked.MemoryBarrier();
    }

    // SAFETY: the offsets are the constants above, all within the page that the constructor was given.
    private protected uint Load(int index) => Volatile.Read(ref *(uint*)(_page + index));

    private protected void Store(int index, uint value) => Volatile.Write(ref *(uint*)(_page + index), value);

    // One copy, after the producer index was read with acquire; the page is not looked at again for this message.
    private protected void CopyOut(uint index, Span<byte> destination) => Slot(index).CopyTo(destination);

    private protected void CopyIn(uint index, ReadOnlySpan<byte> source) => source.CopyTo(Slot(index));

    private protected void CheckLength(int length, string parameter)
    {
        if (length != ElementSize)
        {
            throw new ArgumentException($"A message of this ring has {ElementSize} bytes, not {length}.", parameter);
        }
    }

    // RING_PUSH_*_AND_CHECK_NOTIFY: the other side asked to be woken at an index that this push passes.
    private protected bool PushAndCheckNotify(int producer, int eventIndex, uint index)
    {
        var before = Load(producer);
        Store(producer, index);
        Interlocked.MemoryBarrier();
        return index - Load(eventIndex) < index - before;
    }

    // SAFETY: the mask keeps the slot inside the page, since Slots * ElementSize fits behind FirstSlot.
    private Span<byte> Slot(uint index) => new(_page + FirstSlot + ((int)(index & _mask) * ElementSize), ElementSize);
}
