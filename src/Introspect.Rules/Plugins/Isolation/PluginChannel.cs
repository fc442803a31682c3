using Introspect.Hypervisor.Ring;

namespace Introspect.Rules.Plugins.Isolation;

/// <summary>
/// The monitor's end of a handler's call box, and the process behind it. The pump is in it for an event; any thread
/// closes it, and the last one out disposes.
/// </summary>
internal sealed class PluginChannel(CallBox box, PluginHostProcess process)
{
    private const int Idle = 0;
    private const int InCall = 1;
    private const int Closed = 2;

    private int _state;

    /// <summary>The call box; not to be touched outside of a call.</summary>
    public CallBox Box => box;

    /// <summary>The process.</summary>
    public PluginHostProcess Process => process;

    /// <summary>Nobody answers any more.</summary>
    public bool IsClosed => Volatile.Read(ref _state) == Closed;

    /// <summary>Begins a call; false when the channel is closed.</summary>
    public bool TryEnter() => Interlocked.CompareExchange(ref _state, InCall, Idle) == Idle;

    /// <summary>Ends it.</summary>
    public void Leave()
    {
        if (Interlocked.CompareExchange(ref _state, Idle, InCall) != InCall)
        {
            box.Dispose();
        }
    }

    /// <summary>Ends the channel. A call that waits is woken, and fails.</summary>
    public void Close()
    {
        switch (Interlocked.Exchange(ref _state, Closed))
        {
            case Idle:
                box.Dispose();
                break;
            case InCall:
                try
                {
                    box.Wake();
                }
                catch (ObjectDisposedException)
                {
                    // It has just left.
                }

                break;
        }
    }
}
