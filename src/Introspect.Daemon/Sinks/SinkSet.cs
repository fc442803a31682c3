using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Output;
using Introspect.Daemon.Sinks.Otlp;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Sinks;

/// <summary>The sinks of a configuration.</summary>
internal sealed class SinkSet : IAsyncDisposable
{
    private readonly List<SinkQueue> _queues = [];
    private readonly ILogger _logger;

    /// <summary>Opens the sinks.</summary>
    /// <param name="options">Which, and how.</param>
    /// <param name="logger">Told when one fails.</param>
    /// <param name="otlp">A collector.</param>
    /// <param name="stopPatience">How long the end waits for what is queued.</param>
    /// <exception cref="UserError">A file cannot be opened.</exception>
    public SinkSet(SinkOptions options, ILogger logger, OtlpOptions? otlp = null, TimeSpan? stopPatience = null)
    {
        _logger = logger;
        if (options.Text)
        {
            Add(new TextSink(Console.OpenStandardOutput(), new(Palette.For(!Console.IsOutputRedirected, Environment.GetEnvironmentVariable), symbols: null)));
        }

        if (options.JsonFile is { } file)
        {
            Add(SinkFactory.Json(options, file));
        }

        foreach (var sink in SinkFactory.Exports(options, otlp))
        {
            Add(sink);
        }

        void Add(IEventSink sink)
        {
            var queue = options.QueueOf(sink.Name) with { StopPatience = stopPatience };
            _queues.Add(new(sink, queue, (name, e) => Tell(name, queue.Policy, e)));
        }
    }

    private void Tell(string sink, QueuePolicy policy, Exception e)
    {
        if (e is RefusedException)
        {
            // Whatever the policy: to wait would not help.
            Log.SinkRefused(_logger, sink, UserError.OneLine(e.Message));
            return;
        }

        Log.SinkFailed(_logger, sink, policy == QueuePolicy.Block ? "wait" : "are lost and counted", UserError.OneLine(e.Message));
    }

    /// <summary>The sinks' queues.</summary>
    public IReadOnlyList<SinkQueue> Queues => _queues;

    /// <summary>What the sinks counted.</summary>
    public IEnumerable<SinkCounts> Count() => _queues.Select(q => q.Counts);

    /// <summary>Opens files anew, after they were rotated.</summary>
    public void Reopen() => _queues.ForEach(q => q.Reopen());

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        // All at once: one that waits for its receiver takes no time from the others.
        await Task.WhenAll(_queues.Select(queue => queue.DisposeAsync().AsTask())).ConfigureAwait(false);
        foreach (var queue in _queues)
        {
            if (queue.Counts is { Dropped: > 0 } counts)
            {
                Log.SinkLost(_logger, counts.Sink, counts.Written, counts.Dropped);
            }
        }
    }
}
