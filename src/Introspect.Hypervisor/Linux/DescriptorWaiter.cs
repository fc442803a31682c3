using System.Diagnostics;

namespace Introspect.Hypervisor.Linux;

/// <summary>Waits until a descriptor can be read, the time passes, or a token is cancelled. One thread at a time waits.</summary>
internal sealed class DescriptorWaiter : IDisposable
{
    /// <summary>A descriptor that stands for none.</summary>
    public const int None = -1;

    // Wakes a waiter whose token is cancelled; made at the first wait that has one.
    private EventFd? _cancelled;

    /// <summary>Waits.</summary>
    /// <param name="descriptor">What is to be readable; open until the wait ends.</param>
    /// <param name="lifeline">A socket whose hang-up ends the wait, or <see cref="None"/>.</param>
    /// <param name="timeout">How long, or <see cref="Timeout.InfiniteTimeSpan"/>.</param>
    /// <param name="cancellationToken">Ends the wait early.</param>
    public WaitResult Wait(int descriptor, int lifeline, TimeSpan timeout, CancellationToken cancellationToken)
    {
        if (!cancellationToken.CanBeCanceled)
        {
            return Sleep(descriptor, lifeline, null, timeout, cancellationToken);
        }

        var cancelled = _cancelled ??= EventFd.Create();
        WaitResult result;

        // Disposing the registration waits for a callback in flight, so no late wake-up is left for the next wait.
        using (cancellationToken.UnsafeRegister(static state => ((EventFd)state!).Signal(), cancelled))
        {
            result = Sleep(descriptor, lifeline, cancelled, timeout, cancellationToken);
        }

        cancelled.TryConsume();
        return result;
    }

    /// <inheritdoc/>
    public void Dispose() => _cancelled?.Dispose();

    private static unsafe WaitResult Sleep(int descriptor, int lifeline, EventFd? cancelled, TimeSpan timeout, CancellationToken cancellationToken)
    {
        var infinite = timeout < TimeSpan.Zero;
        var started = Stopwatch.GetTimestamp();
        using var wake = new BorrowedDescriptor(cancelled?.Handle);

        // A negative descriptor is ignored by poll.
        var fds = stackalloc Libc.PollFd[3];
        fds[0] = new Libc.PollFd { Fd = descriptor, Events = Libc.PollIn };
        fds[1] = new Libc.PollFd { Fd = wake.Value, Events = Libc.PollIn };
        fds[2] = new Libc.PollFd { Fd = lifeline, Events = Libc.PollRdHup };
        while (!cancellationToken.IsCancellationRequested)
        {
            var left = infinite ? TimeSpan.Zero : timeout - Stopwatch.GetElapsedTime(started);
            if (left < TimeSpan.Zero)
            {
                left = TimeSpan.Zero;
            }

            var spec = new Libc.TimeSpec { Seconds = left.Ticks / TimeSpan.TicksPerSecond, Nanoseconds = left.Ticks % TimeSpan.TicksPerSecond * 100 };

            // SAFETY: three entries on the stack, and descriptors that are held open for the call.
            var ready = Libc.Ppoll(fds, 3, infinite ? null : &spec, null);
            if (ready < 0 && Libc.LastError != Errno.EINTR)
            {
                throw Libc.Failure("waiting for a descriptor failed");
            }

            if (ready > 0 && fds[0].Revents != 0)
            {
                return WaitResult.Signalled;
            }

            if (ready > 0 && fds[2].Revents != 0)
            {
                return WaitResult.HungUp;
            }

            if (ready == 0)
            {
                break;
            }
        }

        return WaitResult.NotSignalled;
    }
}

/// <summary>How a wait ended.</summary>
internal enum WaitResult
{
    /// <summary>The time passed or the token was cancelled.</summary>
    NotSignalled,

    /// <summary>The descriptor can be read.</summary>
    Signalled,

    /// <summary>The other end of the lifeline is gone.</summary>
    HungUp,
}
