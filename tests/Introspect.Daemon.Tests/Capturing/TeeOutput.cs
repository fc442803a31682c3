using Introspect.Daemon.Output;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Tests.Capturing;

/// <summary>One trace into two outputs.</summary>
internal sealed class TeeOutput(ITraceOutput first, ITraceOutput second) : ITraceOutput
{
    public bool IsFull => first.IsFull || second.IsFull;

    public void Begin(TraceStart start)
    {
        first.Begin(start);
        second.Begin(start);
    }

    public void Event(in EventRecord record, DomainInfo domain)
    {
        first.Event(in record, domain);
        second.Event(in record, domain);
    }

    public void Console(DomainInfo domain, string line)
    {
        first.Console(domain, line);
        second.Console(domain, line);
    }

    public void Summary(TraceSummary summary)
    {
        first.Summary(summary);
        second.Summary(summary);
    }

    public void Flush()
    {
        first.Flush();
        second.Flush();
    }

    public void Dispose()
    {
        first.Dispose();
        second.Dispose();
    }
}
