using System.Collections.Concurrent;
using Introspect.Rules.Plugins;
using Introspect.Rules.Plugins.Isolation;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Plugins;

/// <summary>
/// The plugins that run. A configuration that is read has those started that it names and that do not run yet, which
/// proves them; <see cref="Keep"/> ends those that nobody wants. Any thread; one configuration is read at a time.
/// </summary>
internal sealed class PluginSet(PluginHostCommand host) : IDisposable
{
    private const int MostEarlyLines = 100;

    private readonly Lock _gate = new();
    private readonly List<PluginInstance> _running = [];
    private readonly ConcurrentQueue<(string Name, PluginLogLevel Level, string Text)> _early = new();
    private IReadOnlyList<PluginEntry> _kept = [];
    private ILogger? _logger;

    /// <summary>How this program makes a process for a plugin.</summary>
    public static PluginHostCommand ThisProgram
    {
        get
        {
            var (fileName, arguments) = ProgramInfo.Again(PluginHostCommand.Word);
            return new(fileName, arguments);
        }
    }

    /// <summary>How each plugin in force fares.</summary>
    public IReadOnlyList<PluginCounts> Counts
    {
        get
        {
            lock (_gate)
            {
                return [.. _running.Where(plugin => _kept.Any(plugin.Entry.IsSame)).Select(plugin => plugin.Counts)];
            }
        }
    }

    /// <summary>Tells what the plugins say from now on, and what they said before.</summary>
    public void UseLogger(ILogger logger)
    {
        Volatile.Write(ref _logger, logger);
        while (_early.TryDequeue(out var line))
        {
            Tell(line.Name, line.Level, line.Text);
        }
    }

    /// <summary>What the plugins said while there was no log, for who will not have one.</summary>
    public IReadOnlyList<string> TakeUntold()
    {
        var untold = new List<string>();
        while (_early.TryDequeue(out var line))
        {
            untold.Add($"plugin {line.Name}: {line.Text}");
        }

        return untold;
    }

    /// <summary>Has a plugin run.</summary>
    /// <returns>What is wrong with it; nothing when it runs.</returns>
    public IReadOnlyList<OptionMistake> Prove(PluginEntry entry)
    {
        if (Find(entry) is not null)
        {
            return [];
        }

        try
        {
            // Takes its time, and who reads the counters must not wait for it.
            var plugin = PluginInstance.Start(entry, host, (level, text) => Tell(entry.Name, level, text));
            lock (_gate)
            {
                _running.Add(plugin);
            }

            return [];
        }
        catch (PluginOptionsException e)
        {
            // Half of what is said here the plugin says.
            return [.. e.Mistakes.Select(mistake => mistake with { What = PrintableText.Line(mistake.What) })];
        }
        catch (PluginException e)
        {
            return [new("", null, PrintableText.Line(e.Message))];
        }
    }

    /// <summary>The plugin that runs for an entry; null where none does.</summary>
    public PluginInstance? Find(PluginEntry entry)
    {
        lock (_gate)
        {
            return _running.Find(plugin => plugin.Entry.IsSame(entry));
        }
    }

    /// <summary>These are in force: ends all others.</summary>
    public void Keep(IEnumerable<PluginEntry> entries)
    {
        lock (_gate)
        {
            _kept = [.. entries];
        }

        KeepThose();
    }

    /// <summary>Ends all but those in force: what was proven was not taken over.</summary>
    public void KeepThose()
    {
        List<PluginInstance> ended;
        lock (_gate)
        {
            ended = _running.FindAll(plugin => !_kept.Any(plugin.Entry.IsSame));
            ended.ForEach(plugin => _running.Remove(plugin));
        }

        ended.ForEach(plugin => plugin.Dispose());
    }

    /// <inheritdoc/>
    public void Dispose() => Keep([]);

    private void Tell(string name, PluginLogLevel level, string text)
    {
        if (Volatile.Read(ref _logger) is not { } logger)
        {
            if (_early.Count < MostEarlyLines)
            {
                _early.Enqueue((name, level, text));
            }

            return;
        }

        switch (level)
        {
            case PluginLogLevel.Debug:
                Log.PluginDebug(logger, name, text);
                break;
            case PluginLogLevel.Information:
                Log.PluginTold(logger, name, text);
                break;
            case PluginLogLevel.Warning:
                Log.PluginWarned(logger, name, text);
                break;
            default:
                Log.PluginFailed(logger, name, text);
                break;
        }
    }
}
