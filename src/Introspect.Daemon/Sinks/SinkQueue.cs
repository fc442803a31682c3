using System.Diagnostics;
using System.Threading.Channels;
using Introspect.Hypervisor;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Sinks;

/// <summary>How a queue treats its sink's records.</summary>
/// <param name="Capacity">Records that wait at most.</param>
/// <param name="Policy">What happens when the sink does not keep up.</param>
/// <param name="SampleEvery">With <see cref="QueuePolicy.Sample"/>: one in so many is kept.</param>
/// <param name="StopPatience">How long the end waits for what is queued to be written, all of it together; nothing: ten seconds.</param>
internal readonly record struct QueueOptions(
    int Capacity, QueuePolicy Policy = QueuePolicy.DropNewest, int SampleEvery = Configuration.SinkOptions.DefaultSampleEvery, TimeSpan? StopPatience = null);

/// <summary>
/// A sink with a bounded queue before it and a task of its own, so that a slow sink does not slow the other sinks; and,
/// unless its policy is to wait, neither the pumps.
/// </summary>
internal sealed class SinkQueue : IAsyncDisposable
{
    // When a sink that could not deliver is asked again, though nothing new came.
    private static readonly TimeSpan FlushAgain = TimeSpan.FromSeconds(1);

    // How long a sink that must not lose anything rests before it tries again.
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(200);

    // How long the end waits where nothing else is said.
    private static readonly TimeSpan DefaultStopPatience = TimeSpan.FromSeconds(10);

    // How long one write, which began before the patience ended, may go on; one that does not return is left behind.
    private static readonly TimeSpan LastWrite = TimeSpan.FromSeconds(2);

    // How long whoever gave up waits for a sink that works, for one record and for all of them: it is mostly another sink that
    // the giving up is for.
    private static readonly TimeSpan LateMoment = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan LateInAll = TimeSpan.FromSeconds(1);

    // When another giving up is another one.
    private static readonly TimeSpan LateAnew = TimeSpan.FromMinutes(1);

    private readonly SinkTrouble _trouble;
    private readonly TimeProvider _time;
    private readonly Channel<SinkItem> _queue;
    private readonly IEventSink _sink;
    private readonly QueueOptions _options;
    private readonly CancellationTokenSource _closing = new();
    private readonly Action _flush;
    private readonly Action _reopenSink;
    private readonly Task _loop;
    private long _taken;
    private long _held;
    private long _lost;
    private long _written;
    private long _dropped;
    private long _sampledOut;
    private long _blocked;
    private long _sampleCursor;
    private long _closedAt;
    private long _standsAt = -1;
    private long _lateSince;
    private int _inHand;
    private int _reopen;
    private bool _undelivered;

    /// <summary>Starts a sink.</summary>
    /// <param name="sink">The sink, which the queue owns.</param>
    /// <param name="options">Size and policy.</param>
    /// <param name="failed">Told when the sink begins to fail, and while it does when its cause is another, as <see cref="SinkTrouble"/> says.</param>
    /// <param name="time">A clock; nothing: the system's.</param>
    public SinkQueue(IEventSink sink, QueueOptions options, Action<string, Exception> failed, TimeProvider? time = null)
    {
        _sink = sink;
        _flush = sink.Flush;
        _reopenSink = sink.Reopen;
        _options = options;
        _time = time ?? TimeProvider.System;
        _trouble = new(e => failed(sink.Name, e), _time);
        _queue = Channel.CreateBounded<SinkItem>(new BoundedChannelOptions(options.Capacity) { SingleReader = true });
        _loop = Task.Factory.StartNew(Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    /// <summary>The sink's name.</summary>
    public string Name => _sink.Name;

    /// <summary>True when posting waits for room.</summary>
    public bool Blocks => _options.Policy == QueuePolicy.Block;

    /// <summary>What was counted up to now.</summary>
    public SinkCounts Counts => new(
        Name, Volatile.Read(ref _written), Volatile.Read(ref _dropped) + Volatile.Read(ref _lost), Volatile.Read(ref _sampledOut), Volatile.Read(ref _blocked), _queue.Reader.Count + (int)Volatile.Read(ref _held));

    /// <summary>
    /// Hands a record over. Waits only where that is the policy; gives up then, and counts the record as lost, when the
    /// token is cancelled and the sink stands still, or the queue closes. Any thread.
    /// </summary>
    public ValueTask PostAsync(in EventRecord record, DomainInfo domain, CancellationToken giveUp)
    {
        if (_options.Policy == QueuePolicy.Sample && _queue.Reader.Count * 2 > _options.Capacity && Interlocked.Increment(ref _sampleCursor) % _options.SampleEvery != 0)
        {
            Interlocked.Increment(ref _sampledOut);
            return ValueTask.CompletedTask;
        }

        return PutAsync(new(record, null, domain), giveUp);
    }

    /// <summary>Hands an alert over, as a record; alerts are never left out of a sample.</summary>
    public ValueTask PostAsync(AlertRecord alert, DomainInfo domain, CancellationToken giveUp) => PutAsync(new(default, alert, domain), giveUp);

    /// <summary>Opens the sink's files anew before the next record.</summary>
    public void Reopen() => Volatile.Write(ref _reopen, 1);

    /// <summary>Writes what waits, and ends. What cannot be written in time is lost and counted.</summary>
    public async ValueTask DisposeAsync()
    {
        _queue.Writer.TryComplete();
        _closedAt = Stopwatch.GetTimestamp();
        await _closing.CancelAsync().ConfigureAwait(false);
        try
        {
            await _loop.WaitAsync(StopPatience + LastWrite).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            // A write that does not return (a pipe that nobody reads) must not keep the program: its thread ends with it.
            Interlocked.Add(ref _dropped, Volatile.Read(ref _held) + Volatile.Read(ref _inHand) + _queue.Reader.Count);
            return;
        }

        _sink.Dispose();
        Settle();
        _closing.Dispose();
    }

    private TimeSpan StopPatience => _options.StopPatience ?? DefaultStopPatience;

    // The service stops, and has waited long enough.
    private bool IsOver => _closing.IsCancellationRequested && Stopwatch.GetElapsedTime(_closedAt) >= StopPatience;

    private ValueTask PutAsync(in SinkItem item, CancellationToken giveUp)
    {
        if (_queue.Writer.TryWrite(item))
        {
            return ValueTask.CompletedTask;
        }

        if (!Blocks)
        {
            Interlocked.Increment(ref _dropped);
            return ValueTask.CompletedTask;
        }

        Interlocked.Increment(ref _blocked);
        return WaitAsync(item, giveUp);
    }

    private async ValueTask WaitAsync(SinkItem item, CancellationToken giveUp)
    {
        try
        {
            while (await _queue.Writer.WaitToWriteAsync(giveUp).ConfigureAwait(false))
            {
                if (_queue.Writer.TryWrite(item))
                {
                    return;
                }
            }
        }
        catch (OperationCanceledException)
        {
            if (await PutLateAsync(item).ConfigureAwait(false))
            {
                return;
            }
        }

        Interlocked.Increment(ref _dropped);
    }

    // Records come fast from who gives up. A sink that works has room for each in a moment; one that stands still, and has
    // let one moment pass, is not waited for again.
    private async ValueTask<bool> PutLateAsync(SinkItem item)
    {
        if (Volatile.Read(ref _written) == Volatile.Read(ref _standsAt) || IsTooLate())
        {
            return false;
        }

        using var moment = new CancellationTokenSource(LateMoment, _time);
        try
        {
            while (await _queue.Writer.WaitToWriteAsync(moment.Token).ConfigureAwait(false))
            {
                if (_queue.Writer.TryWrite(item))
                {
                    return true;
                }
            }
        }
        catch (OperationCanceledException)
        {
            Volatile.Write(ref _standsAt, Volatile.Read(ref _written));
        }

        return false;
    }

    private bool IsTooLate()
    {
        var since = Volatile.Read(ref _lateSince);
        if (since == 0 || _time.GetElapsedTime(since) >= LateAnew)
        {
            Volatile.Write(ref _lateSince, _time.GetTimestamp());
            return false;
        }

        return _time.GetElapsedTime(since) >= LateInAll;
    }

    // A thread of its own, since sinks block in writes.
    private void Run()
    {
        while (WaitForMore())
        {
            ReopenWhereAsked();
            while (_queue.Reader.TryRead(out var item))
            {
                Volatile.Write(ref _inHand, 1);
                Write(in item);
                Volatile.Write(ref _inHand, 0);
            }

            Flush();
        }

        if (_undelivered && !IsOver)
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

    private void Write(in SinkItem item)
    {
        while (!IsOver)
        {
            try
            {
                if (item.Alert is { } alert)
                {
                    _sink.Write(alert, item.Domain);
                }
                else
                {
                    _sink.Write(in item.Record, item.Domain);
                }

                _taken++;
                Settle();
                return;
            }
            catch (RefusedException e) when (!e.IsOfThisRecord)
            {
                // Those before it are gone and made room for this one.
                Tell(e);
                continue;
            }
            catch (RefusedException e)
            {
                Tell(e);
                break;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                Tell(e);
            }
#pragma warning disable CA1031 // A mistake in a sink costs the record that brought it about, never the thread: whoever waits for room would wait for ever.
            catch (Exception e)
#pragma warning restore CA1031
            {
                Tell(new RefusedException($"{e.GetType().Name}: {e.Message}", e) { IsOfThisRecord = true });
                break;
            }

            if (GivesUp())
            {
                break;
            }

            // Who makes room on a full disk puts the file aside first.
            ReopenWhereAsked();
        }

        Interlocked.Increment(ref _dropped);
    }

    private void ReopenWhereAsked()
    {
        if (Interlocked.Exchange(ref _reopen, 0) != 0)
        {
            Try(_reopenSink);
            Settle();
        }
    }

    // What a sink only holds is not written, and can still be lost.
    private void Settle()
    {
        var (held, lost) = (_sink.Held, _sink.Lost);
        Volatile.Write(ref _lost, lost);
        Volatile.Write(ref _held, held);
        Volatile.Write(ref _written, _taken - held - lost);
    }

    private void Flush()
    {
        while ((_undelivered = !Try(_flush)) && !GivesUp())
        {
            ReopenWhereAsked();
        }

        Settle();

        if (!_undelivered)
        {
            _trouble.Delivered(Volatile.Read(ref _written));
        }
    }

    // A sink that must not lose anything is tried until it works, or the service ends without it. Not at once, whether the
    // service stops or not: what failed now fails again.
    private bool GivesUp()
    {
        if (!Blocks || IsOver)
        {
            return true;
        }

        Thread.Sleep(RetryDelay);
        return false;
    }

    private bool Try(Action action)
    {
        try
        {
            action();
            return true;
        }
        catch (RefusedException e)
        {
            // What is lost for good is not tried again.
            Tell(e);
            return true;
        }
#pragma warning disable CA1031 // What it was is told; the thread serves whoever waits for room.
        catch (Exception e)
#pragma warning restore CA1031
        {
            Tell(e);
            return false;
        }
    }

    private void Tell(Exception e)
    {
        // Of a request that was taken in part, what was taken is no proof that the sink works again.
        Settle();
        _trouble.Tell(e, Volatile.Read(ref _written));
    }
}

/// <summary>What waits in a queue: a record or an alert. A structure, so that a record in it costs no memory of its own.</summary>
internal readonly struct SinkItem(in EventRecord record, AlertRecord? alert, DomainInfo domain)
{
    /// <summary>The record; nothing where there is an alert.</summary>
    public readonly EventRecord Record = record;

    /// <summary>The alert.</summary>
    public readonly AlertRecord? Alert = alert;

    /// <summary>The domain.</summary>
    public readonly DomainInfo Domain = domain;
}

/// <summary>What a sink's queue has counted.</summary>
/// <param name="Sink">The sink's name.</param>
/// <param name="Written">Records that the sink wrote, or its receiver took.</param>
/// <param name="Dropped">Records lost: the queue was full, the sink failed, or its receiver refused them.</param>
/// <param name="SampledOut">Records left out of a sample.</param>
/// <param name="Blocked">Records that had to wait for room.</param>
/// <param name="Waiting">Records in the queue now, and those that the sink gathers.</param>
internal readonly record struct SinkCounts(string Sink, long Written, long Dropped, long SampledOut, long Blocked, int Waiting);
