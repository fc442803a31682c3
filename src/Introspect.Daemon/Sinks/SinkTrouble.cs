using Introspect.Daemon.Cli;

namespace Introspect.Daemon.Sinks;

/// <summary>
/// What a sink's failures come to in the log: the first of them, and then each time that the cause is another than the one
/// that was told last, for a collector that is first not there and then refuses everything is another trouble. Of those that
/// wait and of those that refuse for good one each in ten seconds at most, however fast they change.
/// </summary>
/// <param name="tell">Where a failure is told.</param>
/// <param name="time">A clock.</param>
internal sealed class SinkTrouble(Action<Exception> tell, TimeProvider time)
{
    /// <summary>How long it takes at least from one telling to the next of its kind.</summary>
    public static readonly TimeSpan Pause = TimeSpan.FromSeconds(10);

    private (bool Refused, string Why)? _current;
    private long? _waitTold;
    private long? _refusalTold;
    private long _writtenBefore;

    /// <summary>The sink failed.</summary>
    /// <param name="failure">How.</param>
    /// <param name="written">Records written up to now: none of them is proof that the sink works after this.</param>
    public void Tell(Exception failure, long written)
    {
        _writtenBefore = written;
        var refused = failure is RefusedException;
        var cause = (refused, UserError.OneLine(failure.Message));

        // A loss is not passed over because something that only waits was just told.
        ref var told = ref refused ? ref _refusalTold : ref _waitTold;
        if (cause == _current || (told is { } last && time.GetElapsedTime(last) < Pause))
        {
            return;
        }

        (_current, told) = (cause, time.GetTimestamp());
        tell(failure);
    }

    /// <summary>Nothing is left to be delivered; where more is written than before, the sink works.</summary>
    public void Delivered(long written)
    {
        if (written > _writtenBefore)
        {
            _current = null;
        }
    }
}
