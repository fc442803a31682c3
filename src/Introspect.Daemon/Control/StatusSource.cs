using Introspect.Daemon.Service;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Telemetry;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Names;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Control;

/// <summary>Collects how the service does, from counters that others write.</summary>
internal sealed class StatusSource(MonitoringService monitoring, SinkSet sinks, ServiceMetrics metrics, TimeProvider time)
{
    /// <summary>How it does now.</summary>
    public ServiceStatus Read() => new()
    {
        Version = ProgramInfo.Version,
        Time = time.GetTimestamp() / (double)time.TimestampFrequency,
        Summary = monitoring.Status,
        Troubles = monitoring.CheckHealth().Reasons,
        ReloadSuccessful = metrics.LastReloadSuccessful,
        Domains = [.. monitoring.Watches.Select(Of)],
        Sinks = [.. sinks.Count().Select(s => new SinkStatus(s.Sink, s.Written, s.Dropped, s.SampledOut, s.Blocked, s.Waiting))],
    };

    private static DomainStatus Of(DomainWatch watch)
    {
        var status = new DomainStatus
        {
            Id = watch.Info.Id.Value,
            Name = watch.Label,
            Uuid = watch.Info.Uuid,
            Policy = watch.Policy.Match,
            Trouble = watch.Trouble,
        };
        return watch.Statistics is not { } statistics ? status : status with
        {
            Events = Events(statistics),
            PausedSeconds = statistics.VcpuPausedTime.TotalSeconds,
            HandlingSeconds = statistics.HandlingTime.TotalSeconds,
            RingFull = statistics.RingFullCount,
            DroppedRecords = statistics.DroppedRecords,
            IdleSeconds = statistics.SinceLastActivity.TotalSeconds,
            Handlers = [.. statistics.Handlers.Select(h => new HandlerStatus(h.Name, h.Calls, h.Decisions, h.Time.TotalSeconds, h.Failures, h.Overruns, h.IsDisabled))],
        };
    }

    private static Dictionary<string, long> Events(PumpStatistics statistics)
    {
        var events = new Dictionary<string, long>();
        for (var reason = 0; reason < PumpStatistics.ReasonCount; reason++)
        {
            if (statistics.Events((VmEventReason)reason) is > 0 and var count)
            {
                events.Add(ReasonNames.Of((VmEventReason)reason), count);
            }
        }

        return events;
    }
}
