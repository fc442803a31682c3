using System.Threading.Channels;

namespace Introspect.Rules.Pump;

/// <summary>Puts records into the bounded channel, by the policy for the case that it is full.</summary>
internal sealed class RecordPublisher
{
    private readonly Channel<EventRecord> _channel;
    private readonly PumpOptions _options;
    private readonly PumpStatistics _statistics;
    private readonly CancellationToken _stopping;
    private long _giveUpAt = long.MaxValue;

    public RecordPublisher(PumpOptions options, PumpStatistics statistics, CancellationToken stopping)
    {
        _options = options;
        _statistics = statistics;
        _stopping = stopping;
        _channel = Channel.CreateBounded<EventRecord>(new BoundedChannelOptions(options.RecordCapacity)
        {
            FullMode = BoundedChannelFullMode.Wait,
            SingleWriter = true,
            AllowSynchronousContinuations = false,
        });
    }

    public ChannelReader<EventRecord> Reader => _channel.Reader;

    public void Publish(in EventRecord record)
    {
        if (_channel.Writer.TryWrite(record) || (_options.RecordPolicy == RecordPolicy.Block && WaitAndWrite(in record)))
        {
            _statistics.CountPublished();
        }
        else
        {
            _statistics.CountDropped();
        }
    }

    public void Complete(Exception? failure) => _channel.Writer.TryComplete(failure);

    // The guest was answered already. A watchdog must not take the wait for a hang, and a stop must not wait for
    // sinks that died for longer than it was told to.
    private bool WaitAndWrite(in EventRecord record)
    {
        do
        {
            var room = _channel.Writer.WaitToWriteAsync().AsTask();
            while (!Wait(room))
            {
                _statistics.MarkActivity(_options.Clock.GetTimestamp());
                if (_stopping.IsCancellationRequested)
                {
                    _giveUpAt = Math.Min(_giveUpAt, Environment.TickCount64 + (long)_options.StopTimeout.TotalMilliseconds);
                    if (Environment.TickCount64 >= _giveUpAt)
                    {
                        return _channel.Writer.TryWrite(record);
                    }
                }
            }
        }
        while (!_channel.Writer.TryWrite(record));
        return true;
    }

    private bool Wait(Task room)
    {
        if (_stopping.IsCancellationRequested)
        {
            return room.Wait(TimeSpan.FromMilliseconds(10), CancellationToken.None);
        }

        try
        {
            return room.Wait(_options.IdleInterval, _stopping);
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }
}
