using Introspect.Rules.Names;

namespace Introspect.Rules.Plugins;

/// <summary>
/// The lines of a plugin on their way to the monitor's log: so many a second, each of bounded length and with nothing in it that a
/// terminal would obey. They are told elsewhere, in order: a log that is slow keeps nobody waiting. Any thread.
/// </summary>
internal sealed class PluginLog : IDisposable
{
    /// <summary>Most lines of the plugin's own in a second.</summary>
    public const int MostLines = 50;

    // A log that takes nothing has no more than these wait for it.
    private const int MostWaiting = 4 * MostLines;

    private static readonly TimeSpan Span = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan EndPatience = TimeSpan.FromSeconds(2);

    private readonly Action<PluginLogLevel, string> _log;
    private readonly TimeProvider _clock;
    private readonly ITimer _timer;
    private readonly object _gate = new();
    private readonly Queue<(PluginLogLevel Level, string Text)> _waiting = new();
    private long _since;
    private int _lines;
    private long _leftOut;
    private bool _isTimed;
    private bool _isTelling;
    private bool _isDisposed;

    /// <param name="log">Where the lines go.</param>
    /// <param name="clock">What a second is.</param>
    public PluginLog(Action<PluginLogLevel, string> log, TimeProvider? clock = null)
    {
        (_log, _clock) = (log, clock ?? TimeProvider.System);
        _since = _clock.GetTimestamp();
        _timer = _clock.CreateTimer(static state => ((PluginLog)state!).TellLeftOut(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>A line that the plugin logs.</summary>
    public void Say(PluginLogLevel level, string text)
    {
        if (MayTell())
        {
            Tell(level, text);
        }
    }

    /// <summary>A line that the plugin writes to its standard output or error.</summary>
    public void Print(ReadOnlySpan<byte> line)
    {
        // Of what is left out nothing is made.
        if (MayTell())
        {
            Take(PluginLogLevel.Information, $"output: {PrintableText.Of(line, PrintableText.LongestLine)}");
        }
    }

    /// <summary>A line about the plugin, which does not count.</summary>
    public void Tell(PluginLogLevel level, string text) => Take(level, PrintableText.Line(text));

    /// <summary>Tells what waits, if the log takes it. What comes later is told no more.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_isDisposed)
            {
                return;
            }

            AddLeftOut();
            _isDisposed = true;
            if (_isTelling)
            {
                // Who tells wakes this up once; a log that takes nothing does not keep the monitor.
                Monitor.Wait(_gate, EndPatience);
            }
        }

        _timer.Dispose();
    }

    private void Take(PluginLogLevel level, string line)
    {
        lock (_gate)
        {
            Add(level, line);
        }
    }

    private bool MayTell()
    {
        lock (_gate)
        {
            var elapsed = _clock.GetElapsedTime(_since);
            if (elapsed >= Span)
            {
                Begin();
                elapsed = TimeSpan.Zero;
            }

            if (_lines < MostLines && _waiting.Count < MostWaiting)
            {
                _lines++;
                return true;
            }

            LeaveOut(Span - elapsed);
            return false;
        }
    }

    // With a line that is left out comes the time at which that is told, though the plugin be silent then.
    private void LeaveOut(TimeSpan left)
    {
        _leftOut++;
        if (!_isTimed && !_isDisposed)
        {
            _isTimed = true;
            _timer.Change(left, Timeout.InfiniteTimeSpan);
        }
    }

    private void TellLeftOut()
    {
        lock (_gate)
        {
            _isTimed = false;
            Begin();
        }
    }

    private void Begin()
    {
        AddLeftOut();
        (_since, _lines) = (_clock.GetTimestamp(), 0);
    }

    private void AddLeftOut()
    {
        if (_leftOut == 0 || _isDisposed)
        {
            return;
        }

        if (_waiting.Count < MostWaiting)
        {
            var count = _leftOut;
            _leftOut = 0;
            Add(PluginLogLevel.Warning, $"{count} lines were left out: it may write {MostLines} a second");
        }
        else if (!_isTimed)
        {
            // The log takes nothing: later, then.
            _isTimed = true;
            _timer.Change(Span, Timeout.InfiniteTimeSpan);
        }
    }

    private void Add(PluginLogLevel level, string line)
    {
        if (_isDisposed)
        {
            return;
        }

        if (_waiting.Count >= MostWaiting)
        {
            LeaveOut(Span);
            return;
        }

        _waiting.Enqueue((level, line));
        if (!_isTelling)
        {
            _isTelling = true;
            ThreadPool.UnsafeQueueUserWorkItem(static log => log.TellWaiting(), this, preferLocal: false);
        }
    }

    private void TellWaiting()
    {
        while (true)
        {
            (PluginLogLevel Level, string Text) line;
            lock (_gate)
            {
                if (!_waiting.TryDequeue(out line))
                {
                    _isTelling = false;
                    Monitor.PulseAll(_gate);
                    return;
                }
            }

            _log(line.Level, line.Text);
        }
    }
}
