using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// The slots of a TLB that may hold a translation, so that a flush visits those and not the whole table: guests
/// switch address spaces after a few dozen pages. When there are too many to list, all slots are visited.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct SlotList
{
    public const int Capacity = 512;

    /// <summary>The count of a list that is not complete.</summary>
    public const int Overflow = Capacity + 1;

    public int Count;

    public fixed ushort Slots[Capacity];

    public readonly bool IsComplete => Count <= Capacity;

    /// <summary>Slots to be visited, of so many in the table.</summary>
    public readonly int ToVisit(int all) => IsComplete ? Count : all;

    /// <summary>The slot to be visited at a turn.</summary>
    public readonly int Visit(int turn) => IsComplete ? Slots[turn] : turn;

    public void Add(int slot)
    {
        if (Count < Capacity)
        {
            Slots[Count] = (ushort)slot;
        }

        Count = Math.Min(Count + 1, Overflow);
    }
}
