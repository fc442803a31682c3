using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Service;

/// <summary>
/// Reloads when a file of the configuration changed: some time after the last change, so that an editor or a package
/// manager has finished, and only when what is in the files is different.
/// </summary>
internal sealed class ConfigurationWatch(Reloader reloader, byte[] started, TimeSpan settle, TimeProvider time, ILogger<ConfigurationWatch> logger) : BackgroundService
{
    /// <summary>How long the files must be left alone.</summary>
    public static readonly TimeSpan Settle = TimeSpan.FromMilliseconds(500);

    private readonly Dictionary<string, FileSystemWatcher> _watchers = [];
    private readonly SemaphoreSlim _touched = new(0);
    private byte[] _seen = [];

    /// <inheritdoc/>
    public override Task StartAsync(CancellationToken cancellationToken)
    {
        // What changed between the reading of the files and now is a change, too.
        WatchFolders();
        if (ConfigurationContents.Of(reloader.Path).AsSpan().SequenceEqual(started))
        {
            _seen = Contents();
        }
        else
        {
            _touched.Release();
        }

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
                do
                {
                    await Task.Delay(settle, time, stoppingToken).ConfigureAwait(false);
                }
                while (WasTouched());

                // A folder that came may hold files whose coming nobody was told of.
                WatchFolders();
                var now = Contents();
                if (!now.AsSpan().SequenceEqual(_seen))
                {
                    _seen = now;
                    await reloader.ReloadAsync("a change of its files").ConfigureAwait(false);
                    WatchFolders();
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The service stops.
        }
    }

    private bool WasTouched()
    {
        var was = false;
        while (_touched.Wait(0))
        {
            was = true;
        }

        return was;
    }

    // Whole folders, since files are replaced by renaming others, and reached by links that change.
    private void WatchFolders()
    {
        var conf = ConfigurationFiles.FolderOf(reloader.Path);
        var folders = reloader.Files.Select(file => Path.GetDirectoryName(Path.GetFullPath(file))!).Append(conf).Where(Directory.Exists).ToHashSet();
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

    private byte[] Contents() => ConfigurationContents.Of(reloader.Path, reloader.Files);
}
