using System.Threading.Channels;
using Introspect.Hypervisor;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Sinks;

/// <summary>
/// A sink with a bounded queue before it and a task of its own: a slow sink loses its own records and slows neither
/// the pumps nor the other sinks.
/// </summary>
internal sealed class SinkQueue : IAsyncDisposable
{
    private static readonly TimeSpan FlushAgain = TimeSpan.FromSeconds(1);

    private readonly Channel<(EventRecord Record, DomainInfo Domain)> _queue;
    private readonly IEventSink _sink;
    private readonly Action<string, Exception> _failed;
    private readonly Task _loop;
    private long _written;
    private long _dropped;
    private int _reopen;
    private bool _failing;
    private bool _undelivered;

    /// <summary>Starts a sink.</summary>
    /// <param name="sink">The sink, which the queue owns.</param>
    /// <param name="capacity">Records that wait at most.</param>
    /// <param name="failed">Told when the sink begins to fail; not again until it worked in between.</param>
    public SinkQueue(IEventSink sink, int capacity, Action<string, Exception> failed)
    {
        _sink = sink;
        _failed = failed;
        _queue = Channel.CreateBounded<(EventRecord, DomainInfo)>(new BoundedChannelOptions(capacity) { SingleReader = true });
        _loop = Task.Factory.StartNew(Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    /// <summary>The sink's name.</summary>
    public string Name => _sink.Name;

    /// <summary>Records that the sink took.</summary>
    public long Written => Volatile.Read(ref _written);

    /// <summary>Records lost: the queue was full, the sink failed, or its receiver refused them.</summary>
    public long Dropped => Volatile.Read(ref _dropped) + _sink.Lost;

    /// <summary>Hands a record over; never blocks. Any thread.</summary>
    public void Post(in EventRecord record, DomainInfo domain)
    {
        if (!_queue.Writer.TryWrite((record, domain)))
        {
            Interlocked.Increment(ref _dropped);
        }
    }

    /// <summary>Opens the sink's files anew before the next record.</summary>
    public void Reopen() => Volatile.Write(ref _reopen, 1);

    /// <summary>Writes what waits, and ends.</summary>
    public async ValueTask DisposeAsync()
    {
        _queue.Writer.TryComplete();
        await _loop.ConfigureAwait(false);
        _sink.Dispose();
    }

    // A thread of its own, since sinks block in writes.
    private void Run()
    {
        while (WaitForMore())
        {
            if (Interlocked.Exchange(ref _reopen, 0) != 0)
            {
                Try(_sink.Reopen);
            }

            while (_queue.Reader.TryRead(out var item))
            {
                Write(in item.Record, item.Domain);
            }

            Flush();
        }

        if (_undelivered)
        {
            Flush();
        }
    }

    // A sink that could not deliver is asked again after a while, also when nothing new comes: the last event before the
    // receiver went must not wait for the first one after it came back.
    private bool WaitForMore()
    {
        var more = _queue.Reader.WaitToReadAsync().AsTask();
        while (_undelivered && !more.Wait(FlushAgain))
        {
            Flush();
        }

        return more.GetAwaiter().GetResult();
    }

    private void Flush()
    {
        _undelivered = true;
        Try(() =>
        {
            _sink.Flush();
            _undelivered = false;
        });
    }

    private void Write(in EventRecord record, DomainInfo domain)
    {
        try
        {
            _sink.Write(record, domain);
            Volatile.Write(ref _written, _written + 1);
            _failing = false;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Interlocked.Increment(ref _dropped);
            Tell(e);
        }
    }

    private void Try(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Tell(e);
        }
    }

    private void Tell(Exception e)
    {
        if (!_failing)
        {
            _failing = true;
            _failed(Name, e);
        }
    }
}
