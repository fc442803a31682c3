using Introspect.Daemon.Output;
using Introspect.Hypervisor;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Tracing;

/// <summary>What is watched, and since when.</summary>
/// <param name="Domain">The domain.</param>
/// <param name="Hypervisor">Its hypervisor.</param>
/// <param name="Time">When it began, UTC.</param>
/// <param name="Watched">What is watched.</param>
internal sealed record TraceStart(DomainInfo Domain, HypervisorInfo Hypervisor, DateTime Time, WatchedEvents Watched);

/// <summary>Where a trace is shown: lines for people, or NDJSON. Used by one thread.</summary>
internal interface ITraceOutput : IDisposable
{
    /// <summary>The output has all that it can take: the trace ends.</summary>
    bool IsFull => false;

    /// <summary>The domain is watched from here on.</summary>
    void Begin(TraceStart start)
    {
    }

    /// <summary>Events were handled here and are not shown.</summary>
    void Lost(ulong events)
    {
    }

    /// <summary>Shows an event.</summary>
    void Event(in EventRecord record, DomainInfo domain);

    /// <summary>Shows an alert.</summary>
    void Alert(AlertRecord alert, DomainInfo domain)
    {
    }

    /// <summary>Shows a line of the guest's console.</summary>
    void Console(DomainInfo domain, string line);

    /// <summary>Shows what the trace came to.</summary>
    void Summary(TraceSummary summary);

    /// <summary>Makes it all visible.</summary>
    void Flush();
}

/// <summary>A trace for people.</summary>
internal sealed class TextTraceOutput(TextWriter writer, TextFormatter formatter) : ITraceOutput
{
    /// <inheritdoc/>
    public void Event(in EventRecord record, DomainInfo domain)
    {
        writer.Write(formatter.Event(record.Event, RecordContext.Of(record, domain)));
        writer.Write('\n');
    }

    /// <inheritdoc/>
    public void Alert(AlertRecord alert, DomainInfo domain)
    {
        writer.Write(formatter.Alert(alert));
        writer.Write('\n');
    }

    /// <inheritdoc/>
    public void Console(DomainInfo domain, string line)
    {
        writer.Write(formatter.Console(line));
        writer.Write('\n');
    }

    /// <inheritdoc/>
    public void Lost(ulong events) => writer.Write($"             {events} events are not in the capture here\n");

    /// <inheritdoc/>
    public void Summary(TraceSummary summary) => writer.Write("\n" + summary.ToText());

    /// <inheritdoc/>
    public void Flush() => writer.Flush();

    /// <inheritdoc/>
    public void Dispose()
    {
    }
}

/// <summary>A trace for programs.</summary>
internal sealed class JsonTraceOutput(Stream stream, JsonFormatter formatter, TimeProvider time) : ITraceOutput
{
    /// <inheritdoc/>
    public void Event(in EventRecord record, DomainInfo domain) =>
        stream.Write(formatter.Event(record.Event, RecordContext.Of(record, domain)));

    /// <inheritdoc/>
    public void Alert(AlertRecord alert, DomainInfo domain) => stream.Write(formatter.Alert(alert, domain));

    /// <inheritdoc/>
    public void Console(DomainInfo domain, string line) => stream.Write(formatter.Console(time.GetUtcNow(), domain.Id, line));

    /// <inheritdoc/>
    public void Summary(TraceSummary summary) => stream.Write(formatter.Summary(time.GetUtcNow(), summary));

    /// <inheritdoc/>
    public void Flush() => stream.Flush();

    /// <inheritdoc/>
    public void Dispose() => formatter.Dispose();
}
