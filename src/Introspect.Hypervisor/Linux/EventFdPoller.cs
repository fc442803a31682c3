namespace Introspect.Hypervisor.Linux;

/// <summary>Waits for any of a number of eventfds. One thread uses it.</summary>
internal sealed unsafe class EventFdPoller
{
    private Libc.PollFd[] _polled = new Libc.PollFd[8];
    private bool[] _held = new bool[8];

    /// <summary>Waits until one of them was signalled, without consuming the signal.</summary>
    /// <param name="fds">What to wait for. One that is disposed meanwhile ends the wait with <see cref="ObjectDisposedException"/> or is ignored.</param>
    /// <param name="block">False: only look.</param>
    /// <returns>Whether any was.</returns>
    public bool Wait(ReadOnlySpan<EventFd> fds, bool block)
    {
        if (_polled.Length < fds.Length)
        {
            _polled = new Libc.PollFd[fds.Length * 2];
            _held = new bool[fds.Length * 2];
        }

        try
        {
            for (var i = 0; i < fds.Length; i++)
            {
                fds[i].Handle.DangerousAddRef(ref _held[i]);
                _polled[i] = new Libc.PollFd { Fd = (int)fds[i].Handle.DangerousGetHandle(), Events = Libc.PollIn };
            }

            // SAFETY: the array is pinned and holds at least as many entries as are said; the descriptors are held open.
            fixed (Libc.PollFd* polled = _polled)
            {
                var now = default(Libc.TimeSpec);
                var ready = Libc.Ppoll(polled, (nuint)fds.Length, block ? null : &now, null);
                return ready >= 0 || Libc.LastError == Errno.EINTR ? ready > 0 : throw Libc.Failure("waiting for eventfds failed");
            }
        }
        finally
        {
            for (var i = 0; i < fds.Length; i++)
            {
                if (_held[i])
                {
                    fds[i].Handle.DangerousRelease();
                    _held[i] = false;
                }
            }
        }
    }

    /// <summary>Whether the last wait saw a signal at this place.</summary>
    public bool WasReady(int index) => (_polled[index].Revents & Libc.PollIn) != 0;
}
