using Introspect.Daemon.Output;
using Introspect.Hypervisor;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Sinks;

/// <summary>Events as lines for people.</summary>
internal sealed class TextSink(TextWriter writer, TextFormatter formatter) : IEventSink
{
    /// <inheritdoc/>
    public string Name => "text";

    /// <inheritdoc/>
    public void Write(in EventRecord record, DomainInfo domain)
    {
        writer.Write(formatter.Event(record.Event, RecordContext.Of(record, domain)));
        writer.Write('\n');
    }

    /// <inheritdoc/>
    public void Write(AlertRecord alert, DomainInfo domain)
    {
        writer.Write(formatter.Alert(alert));
        writer.Write('\n');
    }

    /// <inheritdoc/>
    public void Flush() => writer.Flush();

    /// <inheritdoc/>
    public void Reopen()
    {
    }

    /// <inheritdoc/>
    public void Dispose() => writer.Flush();
}
