namespace Introspect.Hypervisor.Core.Domains;

/// <summary>How often somebody pauses something: counted from any thread, neither below nothing nor above a limit.</summary>
internal struct PauseCounter
{
    // Xen's, for those of control tools (vcpu_pause_by_systemcontroller).
    private const int Most = 255;

    private int _count;

    /// <summary>Pauses that are not undone.</summary>
    public int Count
    {
        readonly get => Volatile.Read(in _count);
        set => Volatile.Write(ref _count, value);
    }

    /// <summary>Counts a pause.</summary>
    public void Add() => Interlocked.Increment(ref _count);

    /// <summary>Counts a pause, unless there are too many already.</summary>
    public bool TryAdd()
    {
        int old;
        do
        {
            old = Count;
            if (old >= Most)
            {
                return false;
            }
        }
        while (Interlocked.CompareExchange(ref _count, old + 1, old) != old);

        return true;
    }

    /// <summary>Undoes a pause, where there is one.</summary>
    public bool TryTake()
    {
        int old;
        do
        {
            old = Count;
            if (old <= 0)
            {
                return false;
            }
        }
        while (Interlocked.CompareExchange(ref _count, old - 1, old) != old);

        return true;
    }
}
