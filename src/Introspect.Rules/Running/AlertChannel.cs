using System.Threading.Channels;

namespace Introspect.Rules.Running;

/// <summary>Alerts on their way to who writes them. One that finds the channel full is lost and counted; no guest waits.</summary>
public sealed class AlertChannel : IAlertSink
{
    private readonly Channel<AlertRecord> _channel;
    private long _dropped;

    /// <summary>Makes a channel.</summary>
    /// <param name="capacity">Alerts that wait at most.</param>
    public AlertChannel(int capacity = 1024) =>
        _channel = Channel.CreateBounded<AlertRecord>(new BoundedChannelOptions(capacity) { FullMode = BoundedChannelFullMode.Wait, AllowSynchronousContinuations = false });

    /// <summary>Where the alerts come out.</summary>
    public ChannelReader<AlertRecord> Reader => _channel.Reader;

    /// <summary>Alerts that found it full.</summary>
    public long Dropped => Volatile.Read(ref _dropped);

    /// <inheritdoc/>
    public bool TryRaise(AlertRecord alert)
    {
        if (_channel.Writer.TryWrite(alert))
        {
            return true;
        }

        Interlocked.Increment(ref _dropped);
        return false;
    }

    /// <summary>No more alerts come.</summary>
    public void Complete() => _channel.Writer.TryComplete();
}
