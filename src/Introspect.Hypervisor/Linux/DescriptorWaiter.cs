using System.Diagnostics;

namespace Introspect.Hypervisor.Linux;

/// <summary>Waits until a descriptor that somebody else owns can be read. One thread at a time waits.</summary>
internal sealed class DescriptorWaiter(int descriptor) : IDisposable
{
    // Wakes a waiter whose token is cancelled; made at the first wait that has one.
    private EventFd? _cancelled;

    /// <summary>Waits.</summary>
    /// <param name="timeout">How long, or <see cref="Timeout.InfiniteTimeSpan"/>.</param>
    /// <param name="cancellationToken">Ends the wait early.</param>
    /// <returns>False when the time passed or the token was cancelled.</returns>
    public bool Wait(TimeSpan timeout, CancellationToken cancellationToken)
    {
        if (!cancellationToken.CanBeCanceled)
        {
            return Sleep(timeout, null, cancellationToken);
        }

        var cancelled = _cancelled ??= EventFd.Create();
        bool readable;

        // Disposing the registration waits for a callback in flight, so no late wake-up is left for the next wait.
        using (cancellationToken.UnsafeRegister(static state => ((EventFd)state!).Signal(), cancelled))
        {
            readable = Sleep(timeout, cancelled, cancellationToken);
        }

        cancelled.TryConsume();
        return readable;
    }

    /// <inheritdoc/>
    public void Dispose() => _cancelled?.Dispose();

    private unsafe bool Sleep(TimeSpan timeout, EventFd? cancelled, CancellationToken cancellationToken)
    {
        var started = Stopwatch.GetTimestamp();
        using var wake = new BorrowedDescriptor(cancelled?.Handle);
        var fds = stackalloc Libc.PollFd[2];
        fds[0] = new Libc.PollFd { Fd = descriptor, Events = Libc.PollIn };
        fds[1] = new Libc.PollFd { Fd = wake.Value, Events = Libc.PollIn };
        while (!cancellationToken.IsCancellationRequested)
        {
            var left = timeout < TimeSpan.Zero ? TimeSpan.Zero : timeout - Stopwatch.GetElapsedTime(started);
            if (left < TimeSpan.Zero)
            {
                left = TimeSpan.Zero;
            }

            var spec = new Libc.TimeSpec { Seconds = left.Ticks / TimeSpan.TicksPerSecond, Nanoseconds = left.Ticks % TimeSpan.TicksPerSecond * 100 };

            // SAFETY: two entries on the stack, of which a negative descriptor is ignored.
            var ready = Libc.Ppoll(fds, 2, timeout < TimeSpan.Zero ? null : &spec, null);
            if (ready < 0 && Libc.LastError != Errno.EINTR)
            {
                throw Libc.Failure("waiting for a descriptor failed");
            }

            if (ready > 0 && fds[0].Revents != 0)
            {
                return true;
            }

            if (ready == 0)
            {
                return false;
            }
        }

        return false;
    }
}
