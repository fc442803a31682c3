namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>
/// A stack that is read or written before it becomes the CPU's: the current one, or that of another privilege
/// level. Nothing of the CPU changes until <see cref="Commit"/>. Accesses have the current CPL's rights, so who
/// works on another level's stack enters it first (see <see cref="Privilege"/>).
/// </summary>
internal unsafe struct Stack
{
    private readonly CpuState* _s;
    private readonly Segment _segment;
    private readonly bool _flat;
    private readonly uint _faultCode;
    private ulong _pointer;

    /// <summary>
    /// A stack by its segment. Flat is that of 64-bit mode: no base, no limit, canonical addresses only. The fault
    /// code is the error code of its #SS: 0 for the current stack, the selector of a new one.
    /// </summary>
    public Stack(CpuState* s, in Segment segment, ulong pointer, bool flat, uint faultCode)
    {
        _s = s;
        _segment = segment;
        _flat = flat;
        _faultCode = faultCode;
        _pointer = pointer;
    }

    /// <summary>Where the stack pointer stands now.</summary>
    public readonly ulong Pointer => _pointer;

    private readonly ulong Mask => _flat ? ~0UL : IsWide(in _segment) ? 0xFFFFFFFF : 0xFFFF;

    /// <summary>The stack in SS:RSP.</summary>
    public static Stack Current(CpuState* s) =>
        new(s, in *s->Seg(SegmentIndex.Ss), s->Gpr[Registers.Rsp], CpuModes.Is64(s), 0);

    /// <summary>Can so many entries be pushed within the limit? Else #SS.</summary>
    public readonly bool HasRoom(int entries, int size)
    {
        for (var n = 1; n <= entries; n++)
        {
            if (!Check((_pointer - (uint)(n * size)) & Mask, size))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>Pushes a value of 2, 4 or 8 bytes.</summary>
    public bool Push(int size, ulong value)
    {
        var offset = (_pointer - (uint)size) & Mask;
        if (!Check(offset, size) || !Access.Write(_s, Linear(offset), size, value))
        {
            return false;
        }

        Move(offset);
        return true;
    }

    /// <summary>Reads an entry at a distance above the stack pointer.</summary>
    public readonly bool Peek(uint distance, int size, out ulong value)
    {
        var offset = (_pointer + distance) & Mask;
        value = 0;
        return Check(offset, size) && Access.Read(_s, Linear(offset), size, out value);
    }

    /// <summary>Takes bytes off the stack without looking at them.</summary>
    public void Discard(int bytes) => Move((_pointer + (uint)bytes) & Mask);

    /// <summary>Makes the pointer the CPU's; a 16-bit stack pointer leaves the rest of RSP alone.</summary>
    public readonly void Commit() => _s->Gpr[Registers.Rsp] = _pointer;

    private static bool IsWide(in Segment segment) => (segment.Attributes & Segment.Default32) != 0;

    private void Move(ulong offset) => _pointer = Mask == 0xFFFF ? (_pointer & ~0xFFFFUL) | offset : offset;

    private readonly ulong Linear(ulong offset) => _flat ? offset : (uint)(_segment.Base + offset);

    private readonly bool Check(ulong offset, int size)
    {
        var inside = _flat
            ? Mmu.IsCanonical(_s, offset) && Mmu.IsCanonical(_s, offset + (uint)size - 1)
            : Contains(offset, size);
        return inside || Fault.Raise(_s, Vector.StackFault, _faultCode);
    }

    private readonly bool Contains(ulong offset, int size)
    {
        var last = offset + (uint)size - 1;
        if ((_segment.Attributes & Segment.Unusable) != 0)
        {
            return false;
        }

        return (_segment.Attributes & 0xC) == 4
            ? offset > _segment.Limit && last <= Mask
            : last <= _segment.Limit;
    }
}

/// <summary>Changes of the privilege level whose rights memory accesses have.</summary>
internal static unsafe class Privilege
{
    /// <summary>Sets CPL and the TLB bank that follows from it; gives the old level, to go back to on a fault.</summary>
    public static int Enter(CpuState* s, int cpl)
    {
        var old = s->Cpl;
        if (old != cpl)
        {
            s->Cpl = cpl;
            CpuModes.SelectTlb(s);
        }

        return old;
    }
}
