namespace Introspect.Hypervisor.Ring;

/// <summary>One end of an interdomain event channel: signals the other end, and waits for its signals.</summary>
public abstract class EventChannel : IDisposable
{
    /// <summary>Local port number.</summary>
    public abstract uint Port { get; }

    /// <summary>
    /// Whether it pays to look for what is to be signalled for a while before <see cref="Wait"/>: true where a signal takes
    /// several system calls, and a channel does not look by itself.
    /// </summary>
    public virtual bool SleepIsDear => false;

    /// <summary>Signals the other end (<c>xenevtchn_notify</c>).</summary>
    public abstract void Notify();

    /// <summary>Waits for a signal and consumes it (<c>xenevtchn_pending</c> and <c>xenevtchn_unmask</c>).</summary>
    /// <returns>False when the time passed or the token was cancelled.</returns>
    public abstract bool Wait(TimeSpan timeout, CancellationToken cancellationToken);

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Unbinds the port.</summary>
    protected abstract void Dispose(bool disposing);
}
