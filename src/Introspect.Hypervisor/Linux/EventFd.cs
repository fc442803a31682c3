using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Introspect.Hypervisor.Linux;

/// <summary>
/// A counter in the kernel that one side raises and another waits for. Any thread may signal; one thread at a
/// time waits.
/// </summary>
internal sealed class EventFd : IDisposable
{
    private const int MaxSpins = 256;

    private static readonly bool SpinPays = Environment.ProcessorCount > 1;

    // Made at the first wait that sleeps.
    private DescriptorWaiter? _waiter;
    private int _spins = 8;

    private EventFd(SafeFileHandle handle) => Handle = handle;

    /// <summary>The descriptor.</summary>
    public SafeFileHandle Handle { get; }

    /// <summary>Makes a counter that stands at 0.</summary>
    public static EventFd Create()
    {
        var fd = Libc.EventFdCreate(0, Libc.EfdCloexec | Libc.EfdNonBlock);
        return fd < 0 ? throw Libc.Failure("creating an eventfd failed: are too many files open?") : new(new SafeFileHandle(fd, ownsHandle: true));
    }

    /// <summary>Takes over a descriptor that another process passed. It must be a non-blocking eventfd, as <see cref="Create"/> makes it.</summary>
    public static EventFd Adopt(SafeFileHandle handle) => new(handle);

    /// <summary>The same counter behind a descriptor of its own.</summary>
    public EventFd Duplicate()
    {
        var fd = Libc.DuplicateCloexec(Handle, Libc.FDupFdCloexec, 0);
        return fd < 0 ? throw Libc.Failure("duplicating an eventfd failed: are too many files open?") : new(new SafeFileHandle(fd, ownsHandle: true));
    }

    /// <summary>Raises the counter. Signals which nobody consumed yet add up to one wake-up.</summary>
    public unsafe void Signal()
    {
        ulong one = 1;
        if (TrySignal(&one))
        {
            return;
        }

        // SAFETY: the kernel reads 8 bytes of a local. EAGAIN means that the counter is full, so a wake-up is certain.
        while (Libc.Write(Handle, &one, sizeof(ulong)) < 0)
        {
            if (Libc.LastError == Errno.EAGAIN)
            {
                return;
            }

            if (Libc.LastError != Errno.EINTR)
            {
                throw Libc.Failure("signalling an eventfd failed");
            }
        }
    }

    // Every response of a monitor is signalled, so the way there is the short one. The descriptor never blocks, and
    // whatever goes wrong is looked at by the long way, which tries again.
    private unsafe bool TrySignal(ulong* one)
    {
        var held = false;
        try
        {
            Handle.DangerousAddRef(ref held);

            // SAFETY: the kernel reads 8 bytes of the caller's local, and the descriptor is held open.
            return Libc.WriteQuick((int)Handle.DangerousGetHandle(), one, sizeof(ulong)) == sizeof(ulong);
        }
        finally
        {
            if (held)
            {
                Handle.DangerousRelease();
            }
        }
    }

    /// <summary>Takes the counter back to 0.</summary>
    /// <returns>False when it stood at 0.</returns>
    public unsafe bool TryConsume()
    {
        while (true)
        {
            ulong count;

            // SAFETY: the kernel writes 8 bytes to a local.
            if (Libc.Read(Handle, &count, sizeof(ulong)) == sizeof(ulong))
            {
                return true;
            }

            switch (Libc.LastError)
            {
                case Errno.EAGAIN:
                    return false;
                case Errno.EINTR:
                    continue;
                default:
                    throw Libc.Failure("reading an eventfd failed");
            }
        }
    }

    /// <summary>Waits for a signal and consumes it.</summary>
    /// <param name="timeout">How long, or <see cref="Timeout.InfiniteTimeSpan"/>.</param>
    /// <param name="cancellationToken">Ends the wait early.</param>
    /// <returns>False when the time passed or the token was cancelled.</returns>
    public bool Wait(TimeSpan timeout, CancellationToken cancellationToken) =>
        Wait(timeout, lifeline: null, cancellationToken) == WaitResult.Signalled;

    /// <summary>Waits for a signal and consumes it, or for the other end of a socket to go away.</summary>
    public WaitResult Wait(TimeSpan timeout, SafeHandle? lifeline, CancellationToken cancellationToken)
    {
        if (TryConsume())
        {
            return WaitResult.Signalled;
        }

        if (timeout == TimeSpan.Zero || cancellationToken.IsCancellationRequested)
        {
            return WaitResult.NotSignalled;
        }

        if (SpinPays && Spin())
        {
            return WaitResult.Signalled;
        }

        return Sleep(timeout, lifeline, cancellationToken);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Handle.Dispose();
        _waiter?.Dispose();
    }

    // The other side often answers within a microsecond or two, and a sleep costs more than that. What spinning
    // was good for the last times decides how long it is tried.
    private bool Spin()
    {
        for (var i = 0; i < _spins; i++)
        {
            Thread.SpinWait(20);
            if (TryConsume())
            {
                _spins = Math.Min(_spins * 2, MaxSpins);
                return true;
            }
        }

        _spins = Math.Max(_spins / 2, 1);
        return false;
    }

    private WaitResult Sleep(TimeSpan timeout, SafeHandle? lifeline, CancellationToken cancellationToken)
    {
        using var own = new BorrowedDescriptor(Handle);
        using var life = new BorrowedDescriptor(lifeline);
        _waiter ??= new();
        var started = Stopwatch.GetTimestamp();
        var left = timeout;
        while (true)
        {
            var result = _waiter.Wait(own.Value, life.Value, left, cancellationToken);

            // A signal counts though the wait ended otherwise. One that another end of the counter took does not.
            if (TryConsume())
            {
                return WaitResult.Signalled;
            }

            if (result != WaitResult.Signalled)
            {
                return result;
            }

            if (timeout >= TimeSpan.Zero)
            {
                var passed = Stopwatch.GetElapsedTime(started);
                left = passed < timeout ? timeout - passed : TimeSpan.Zero;
            }
        }
    }
}

/// <summary>A descriptor's number, kept from being closed (and given to another file) while it is in use.</summary>
internal readonly ref struct BorrowedDescriptor
{
    private readonly SafeHandle? _handle;

    public BorrowedDescriptor(SafeHandle? handle)
    {
        Value = -1;
        if (handle is not null)
        {
            var added = false;
            handle.DangerousAddRef(ref added);
            _handle = handle;
            Value = (int)handle.DangerousGetHandle();
        }
    }

    /// <summary>The number, or -1 for none.</summary>
    public int Value { get; }

    public void Dispose() => _handle?.DangerousRelease();
}
