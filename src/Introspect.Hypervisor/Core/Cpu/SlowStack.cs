namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// The stack of any mode, for instructions that are not worth a fast path. Pushes and pops move a local stack
/// pointer; the caller commits it with <see cref="Commit"/> when nothing can fail any more.
/// </summary>
internal unsafe ref struct SlowStack
{
    private readonly CpuState* _state;
    private readonly ulong _mask;

    public SlowStack(CpuState* s)
    {
        _state = s;
        _mask = CpuModes.Is64(s) ? ~0UL
            : (s->Seg(SegmentIndex.Ss)->Attributes & Segment.Default32) != 0 ? 0xFFFFFFFF : 0xFFFF;
        Pointer = s->Gpr[4];
    }

    /// <summary>The stack pointer, not masked.</summary>
    public ulong Pointer { get; set; }

    public bool Push(int size, ulong value)
    {
        var next = Move(-size);
        if (!Access.Linear(_state, SegmentIndex.Ss, next & _mask, size, true, out var linear)
            || !SlowAccess.Write(_state, SegmentIndex.Ss, linear, value, size))
        {
            return false;
        }

        Pointer = next;
        return true;
    }

    public bool Pop(int size, out ulong value)
    {
        value = 0;
        if (!Access.Linear(_state, SegmentIndex.Ss, Pointer & _mask, size, false, out var linear))
        {
            return false;
        }

        var p = SlowAccess.Read(_state, SegmentIndex.Ss, linear, size);
        if (p == null)
        {
            return false;
        }

        value = SlowAccess.Load(p, size);
        Pointer = Move(size);
        return true;
    }

    /// <summary>Moves the pointer over so many bytes.</summary>
    public void Skip(int bytes) => Pointer = Move(bytes);

    /// <summary>Writes the pointer back.</summary>
    public readonly void Commit() => _state->Gpr[4] = Pointer;

    private readonly ulong Move(int bytes) =>
        (Pointer & ~_mask) | ((Pointer + (ulong)bytes) & _mask);
}
