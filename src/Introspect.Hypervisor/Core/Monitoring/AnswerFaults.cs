namespace Introspect.Hypervisor.Core.Monitoring;

/// <summary>What can be wrong with a response. On Xen each of these passes in silence.</summary>
internal enum AnswerFault
{
    /// <summary>Another interface version: the response is dropped.</summary>
    WrongVersion,

    /// <summary>No such vCPU: the response is dropped.</summary>
    UnknownVcpu,

    /// <summary>It asks for something and the vCPU waits for no response: it is dropped.</summary>
    NotWaiting,

    /// <summary>Flags that the interface does not have: ignored.</summary>
    UnknownFlags,

    /// <summary>Flags that mean nothing for the reason, or not together: ignored, or done as Xen does them.</summary>
    MeaninglessFlags,

    /// <summary>A write was to be denied that is not deniable, or was done already.</summary>
    IgnoredDeny,

    /// <summary>It answers a vmexit event of a kind that was switched off or changed since.</summary>
    Stale,

    /// <summary>It names an altp2m view that is not there, or any while altp2m is off: the vCPU stays where it is.</summary>
    UnknownView,
}

/// <summary>
/// Counts, for one domain, the responses that Xen would ignore in silence, and tells of them once a second at most.
/// Responses come one after the other; the counts may be read from any thread.
/// </summary>
internal sealed class AnswerFaults
{
    private static readonly int Kinds = Enum.GetValues<AnswerFault>().Length;
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private readonly string _domain;
    private readonly MonitoringOptions _options;
    private readonly long[] _counts = new long[Kinds];
    private readonly long[] _told = new long[Kinds];
    private readonly Lock _lock = new();
    private long? _lastTold;

    /// <param name="domain">What the log calls the domain.</param>
    /// <param name="options">Where the log is, and its clock.</param>
    public AnswerFaults(string domain, MonitoringOptions options) => (_domain, _options) = (domain, options);

    /// <summary>How often it happened since the domain was made.</summary>
    public long this[AnswerFault fault] => Volatile.Read(ref _counts[(int)fault]);

    /// <summary>How often anything did.</summary>
    public long Total
    {
        get
        {
            long total = 0;
            for (var kind = 0; kind < Kinds; kind++)
            {
                total += Volatile.Read(ref _counts[kind]);
            }

            return total;
        }
    }

    /// <summary>Counts one, and tells what was counted up to now when the last line is a second old.</summary>
    public void Count(AnswerFault fault)
    {
        Interlocked.Increment(ref _counts[(int)fault]);
        if (_options.Log is { } log)
        {
            Tell(log);
        }
    }

    private void Tell(Action<string> log)
    {
        string line;
        lock (_lock)
        {
            var now = _options.Clock.GetTimestamp();
            if (_lastTold is { } last && _options.Clock.GetElapsedTime(last, now) < Interval)
            {
                return;
            }

            _lastTold = now;
            line = Describe();
        }

        log(line);
    }

    // What came in a second that had its line already is in the next one.
    private string Describe()
    {
        var parts = new List<string>();
        for (var kind = 0; kind < Kinds; kind++)
        {
            var count = Volatile.Read(ref _counts[kind]);
            if (count != _told[kind])
            {
                parts.Add($"{count - _told[kind]} {Words((AnswerFault)kind)}");
                _told[kind] = count;
            }
        }

        return $"{_domain}: the monitor's responses were ignored in part: {string.Join(", ", parts)}";
    }

    private static string Words(AnswerFault fault) => fault switch
    {
        AnswerFault.WrongVersion => "of another interface version",
        AnswerFault.UnknownVcpu => "for a vCPU that does not exist",
        AnswerFault.NotWaiting => "for a vCPU that does not wait",
        AnswerFault.UnknownFlags => "with unknown flags",
        AnswerFault.MeaninglessFlags => "with flags that mean nothing for their event",
        AnswerFault.IgnoredDeny => "denying what cannot be denied",
        AnswerFault.UnknownView => "naming an altp2m view that is not there",
        _ => "to vmexit events of a kind that was switched off",
    };
}
