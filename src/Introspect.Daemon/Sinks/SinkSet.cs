using System.Text;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Output;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Sinks;

/// <summary>The sinks of a configuration.</summary>
internal sealed class SinkSet : IAsyncDisposable
{
    private readonly List<SinkQueue> _queues = [];

    /// <summary>Opens the sinks.</summary>
    /// <exception cref="UserError">A file cannot be opened.</exception>
    public SinkSet(SinkOptions options, ILogger logger)
    {
        if (options.Text)
        {
            var writer = new StreamWriter(Console.OpenStandardOutput(), new UTF8Encoding(false), bufferSize: 1 << 16);
            Add(new TextSink(writer, new(Palette.For(!Console.IsOutputRedirected, Environment.GetEnvironmentVariable), symbols: null)));
        }

        if (options.JsonFile is { } file)
        {
            Add(OpenJson(file));
        }

        void Add(IEventSink sink) =>
            _queues.Add(new(sink, options.QueueOf(sink.Name), (name, e) => Log.SinkFailed(logger, name, UserError.OneLine(e.Message))));
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
        foreach (var queue in _queues)
        {
            await queue.DisposeAsync().ConfigureAwait(false);
        }
    }

    private static JsonSink OpenJson(string file)
    {
        try
        {
            return new(file == "-" ? Console.OpenStandardOutput : () => JsonSink.OpenFile(file), symbols: null);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw UserError.Failure($"sinks.json_file '{file}': {e.Message}; name a file in a directory that the service may write", e);
        }
    }
}
