using System.Diagnostics;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Telemetry;

/// <summary>
/// What the service does, as spans of OpenTelemetry: a trace for each watch of a domain, from its appearance to its end,
/// with every try to attach, every change of handlers and the letting go; and one for each reload. Events are no spans:
/// they are log records. Where nobody listens, nothing is made.
/// </summary>
internal static class Spans
{
    /// <summary>Where they come from.</summary>
    public const string SourceName = "Introspect";

    private static readonly ActivitySource Source = new(SourceName, ProgramInfo.Version);

    /// <summary>A domain is to be watched, until the span ends.</summary>
    public static Activity? Watch(DomainInfo domain, string label, string policy)
    {
        var span = Start("watch", default);
        span?.SetTag("introspect.domain.name", label);
        span?.SetTag("introspect.domain.id", (long)domain.Id.Value);
        span?.SetTag("introspect.domain.uuid", domain.Uuid.ToString());
        span?.SetTag("introspect.policy", policy);
        return span;
    }

    /// <summary>Something is done to a domain that is watched.</summary>
    public static Activity? Of(Activity? watch, string name)
    {
        if (watch is null)
        {
            return null;
        }

        var span = Start(name, watch.Context);
        span?.SetTag("introspect.domain.name", watch.GetTagItem("introspect.domain.name"));
        return span;
    }

    /// <summary>The configuration is read anew.</summary>
    public static Activity? Reload(string by)
    {
        var span = Start("reload", default);
        span?.SetTag("introspect.reload.by", by);
        return span;
    }

    /// <summary>The hypervisor is looked for.</summary>
    public static Activity? Connect() => Start("connect", default);

    /// <summary>It came to nothing.</summary>
    public static void Fail(this Activity? span, string why) => span?.SetStatus(ActivityStatusCode.Error, why);

    // What goes on at the same time is not below it: parents are told, never guessed from the thread.
    private static Activity? Start(string name, ActivityContext parent)
    {
        var current = Activity.Current;
        Activity.Current = null;
        var span = Source.StartActivity(name, ActivityKind.Internal, parent);
        Activity.Current = current;
        return span;
    }
}
