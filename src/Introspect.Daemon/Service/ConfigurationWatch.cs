using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Service;

/// <summary>
/// Reloads when a file of the configuration changed: some time after the last change, so that an editor or a package
/// manager has finished, and only when what is in the files is different.
/// </summary>
internal sealed class ConfigurationWatch(Reloader reloader, TimeSpan settle, TimeProvider time, ILogger<ConfigurationWatch> logger) : BackgroundService
{
    /// <summary>How long the files must be left alone.</summary>
    public static readonly TimeSpan Settle = TimeSpan.FromMilliseconds(500);

    private readonly Dictionary<string, FileSystemWatcher> _watchers = [];
    private readonly SemaphoreSlim _touched = new(0);

    /// <inheritdoc/>
    public override Task StartAsync(CancellationToken cancellationToken)
    {
        // What changed between the reading of the files and now is a change, too.
        WatchFolders();
        _touched.Release();
        return base.StartAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        foreach (var watcher in _watchers.Values)
        {
            watcher.Dispose();
        }

        _touched.Dispose();
        base.Dispose();
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        try
        {
            while (true)
            {
                await _touched.WaitAsync(stoppingToken).ConfigureAwait(false);
                ConfigurationSources before, now = reloader.Sources.Now();
                do
                {
                    before = now;
                    await Task.Delay(settle, time, stoppingToken).ConfigureAwait(false);
                    Forget();

                    // A folder that came may hold files whose coming nobody was told of.
                    WatchFolders();
                    now = reloader.Sources.Now();
                }
                while (!now.IsSame(before));

                if (!now.IsSame(reloader.Sources))
                {
                    await reloader.ReloadAsync("a change of its files").ConfigureAwait(false);

                    // Other folders may be named now, and what came into them before they were watched was told by nobody.
                    WatchFolders();
                    _touched.Release();
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The service stops.
        }
    }

    // What is looked at from here on has all that was told before. Other files of the folders, logs perhaps, may change without end.
    private void Forget()
    {
        while (_touched.Wait(0))
        {
            // On to the next.
        }
    }

    // Whole folders, since files are replaced by renaming others, and reached by links that change.
    private void WatchFolders()
    {
        var folders = reloader.Sources.Folders.ToHashSet();
        foreach (var gone in _watchers.Keys.Except(folders).ToArray())
        {
            _watchers.Remove(gone, out var watcher);
            watcher!.Dispose();
        }

        foreach (var folder in folders.Where(folder => !_watchers.ContainsKey(folder)))
        {
            try
            {
                var watcher = new FileSystemWatcher(folder);
                watcher.Changed += (_, _) => _touched.Release();
                watcher.Created += (_, _) => _touched.Release();
                watcher.Deleted += (_, _) => _touched.Release();
                watcher.Renamed += (_, _) => _touched.Release();
                watcher.Error += (_, _) => _touched.Release();
                watcher.EnableRaisingEvents = true;
                _watchers.Add(folder, watcher);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                Log.FilesNotWatched(logger, folder, UserError.OneLine(e.Message));
            }
        }
    }
}
