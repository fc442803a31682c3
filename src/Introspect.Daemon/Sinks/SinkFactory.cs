using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Sinks.Otlp;
using Introspect.Daemon.Sinks.Syslog;

namespace Introspect.Daemon.Sinks;

/// <summary>Makes the sinks that a configuration names.</summary>
internal static class SinkFactory
{
    /// <summary>The sink of NDJSON.</summary>
    /// <exception cref="UserError">The file cannot be opened.</exception>
    public static JsonSink Json(SinkOptions options, string file)
    {
        Func<Stream> open = file == "-" ? Console.OpenStandardOutput
            : options.JsonRotation is { } rotation ? () => new RotatingFile(file, rotation)
            : () => JsonSink.OpenFile(file);
        try
        {
            return new(open, symbols: null, options.JsonFormat);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw UserError.Failure($"sinks.json_file '{file}': {e.Message}; name a file in a directory that the service may write", e);
        }
    }

    /// <summary>The sinks that lead to other programs. None needs its receiver to be there already.</summary>
    public static IEnumerable<IEventSink> Exports(SinkOptions options, OtlpOptions? otlp)
    {
        if (options.Journald)
        {
            yield return new JournaldSink(options.JournaldSocket);
        }

        if (options.Syslog is { } syslog)
        {
            yield return new SyslogSink(syslog);
        }

        if (otlp is { Logs: true })
        {
            yield return new OtlpSink(otlp, TimeProvider.System);
        }
    }
}
