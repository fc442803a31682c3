namespace Introspect.Hypervisor.Linux;

/// <summary>
/// The short way to raise a counter, for a ring's responses: one thread at a time signals, any thread disposes. The
/// signaller only notes that it is inside, without an atomic instruction; whoever disposes makes every processor's
/// notes visible and waits until nobody is inside, so that no write goes to a descriptor that was closed and given
/// to another file.
/// </summary>
internal sealed class EventFdSignaller : IDisposable
{
    private readonly EventFd _counter;
    private readonly int _descriptor;
    private bool _inside;
    private bool _closed;

    /// <param name="counter">The counter; owned from now on.</param>
    public EventFdSignaller(EventFd counter)
    {
        _counter = counter;
        _descriptor = (int)counter.Handle.DangerousGetHandle();
    }

    /// <summary>Raises the counter.</summary>
    /// <exception cref="ObjectDisposedException">The counter is closed.</exception>
    public unsafe void Signal()
    {
        ulong one = 1;
        Volatile.Write(ref _inside, true);
        if (Volatile.Read(ref _closed))
        {
            Volatile.Write(ref _inside, false);
            throw new ObjectDisposedException(nameof(EventFdSignaller));
        }

        // SAFETY: the kernel reads 8 bytes of a local, and the descriptor is not closed while somebody is inside.
        var written = Libc.WriteQuick(_descriptor, &one, sizeof(ulong));
        Volatile.Write(ref _inside, false);
        if (written != sizeof(ulong))
        {
            _counter.Signal(); // finds out why, and tries again
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Volatile.Read(ref _closed))
        {
            return;
        }

        Volatile.Write(ref _closed, true);
        Interlocked.MemoryBarrierProcessWide();
        var spin = default(SpinWait);
        while (Volatile.Read(ref _inside))
        {
            spin.SpinOnce();
        }

        _counter.Dispose();
    }
}
