using System.Text.Json.Serialization;

namespace Introspect.Daemon.Control;

/// <summary>
/// The control protocol: a line of JSON asks, a line of JSON answers, any number of times on one connection. Members that
/// one side does not know are ignored; a version says that what is known has changed its meaning.
/// </summary>
internal static class ControlProtocol
{
    /// <summary>The version of what is written here.</summary>
    public const int Version = 1;

    /// <summary>Longest line that is asked.</summary>
    public const int LongestRequest = 4096;

    /// <summary>Reads the configuration anew.</summary>
    public const string Reload = "reload";

    /// <summary>Tells how the service does.</summary>
    public const string Status = "status";
}

/// <summary>What is asked.</summary>
internal sealed record ControlRequest
{
    /// <summary>The asker's version.</summary>
    [JsonPropertyName("v")]
    public int Version { get; init; }

    /// <summary>What to do.</summary>
    public string? Op { get; init; }
}

/// <summary>The answer.</summary>
internal sealed record ControlResponse
{
    /// <summary>The service's version.</summary>
    [JsonPropertyName("v")]
    public int Version { get; init; } = ControlProtocol.Version;

    /// <summary>It was done.</summary>
    public bool Ok { get; init; }

    /// <summary>Why it was not done, a line each.</summary>
    public IReadOnlyList<string> Errors { get; init; } = [];

    /// <summary>How a reload went.</summary>
    public ReloadStatus? Reload { get; init; }

    /// <summary>How the service does.</summary>
    public ServiceStatus? Status { get; init; }

    /// <summary>An answer that says why not.</summary>
    public static ControlResponse Refuse(params IReadOnlyList<string> errors) => new() { Errors = errors };
}

/// <summary>What a reload changed.</summary>
/// <param name="Policies">Policies in force.</param>
/// <param name="ChangedDomains">Domains that are watched in another way now.</param>
/// <param name="NeedRestart">Sections that changed and take effect with a restart only.</param>
internal sealed record ReloadStatus(int Policies, int ChangedDomains, IReadOnlyList<string> NeedRestart);

/// <summary>How the service does. Counters begin when the service, or the domain's pump, began.</summary>
internal sealed record ServiceStatus
{
    /// <summary>The program's version.</summary>
    public required string Version { get; init; }

    /// <summary>Monotonic time of the answer, seconds: for rates.</summary>
    public required double Time { get; init; }

    /// <summary>One line.</summary>
    public required string Summary { get; init; }

    /// <summary>Everything that is wrong.</summary>
    public required IReadOnlyList<string> Troubles { get; init; }

    /// <summary>The last reload was taken over, or there was none.</summary>
    public required bool ReloadSuccessful { get; init; }

    /// <summary>The domains that a policy is for.</summary>
    public required IReadOnlyList<DomainStatus> Domains { get; init; }

    /// <summary>The sinks.</summary>
    public required IReadOnlyList<SinkStatus> Sinks { get; init; }
}

/// <summary>A domain.</summary>
internal sealed record DomainStatus
{
    /// <summary>Number.</summary>
    public required int Id { get; init; }

    /// <summary>The name by which logs and metrics call it.</summary>
    public required string Name { get; init; }

    /// <summary>UUID.</summary>
    public required Guid Uuid { get; init; }

    /// <summary>What its policy matches.</summary>
    public required string Policy { get; init; }

    /// <summary>Why it is not watched; null when it is.</summary>
    public string? Trouble { get; init; }

    /// <summary>Events by reason; those that did not happen are left out.</summary>
    public IReadOnlyDictionary<string, long> Events { get; init; } = new Dictionary<string, long>();

    /// <summary>Time that vCPUs stood still for the monitor, seconds.</summary>
    public double PausedSeconds { get; init; }

    /// <summary>Time in handlers and in making answers, seconds.</summary>
    public double HandlingSeconds { get; init; }

    /// <summary>Wake-ups that found the ring full.</summary>
    public long RingFull { get; init; }

    /// <summary>Records lost before any sink.</summary>
    public long DroppedRecords { get; init; }

    /// <summary>Time since the pump moved, seconds.</summary>
    public double IdleSeconds { get; init; }

    /// <summary>Its handlers, in their order.</summary>
    public IReadOnlyList<HandlerStatus> Handlers { get; init; } = [];
}

/// <summary>A handler or rule on a domain.</summary>
/// <param name="Name">Name.</param>
/// <param name="Calls">Events that it was asked about.</param>
/// <param name="Decisions">Events that it decided.</param>
/// <param name="Seconds">Time in it.</param>
/// <param name="Failures">Times it threw.</param>
/// <param name="Overruns">Times it took longer than its budget.</param>
/// <param name="IsDisabled">It is out of service for a while.</param>
internal sealed record HandlerStatus(string Name, long Calls, long Decisions, double Seconds, long Failures, long Overruns, bool IsDisabled);

/// <summary>A sink.</summary>
/// <param name="Name">Name.</param>
/// <param name="Written">Records written.</param>
/// <param name="Dropped">Records lost.</param>
/// <param name="SampledOut">Records left out of a sample.</param>
/// <param name="Blocked">Records that waited for room.</param>
/// <param name="Waiting">Records that wait now.</param>
internal sealed record SinkStatus(string Name, long Written, long Dropped, long SampledOut, long Blocked, int Waiting);

/// <summary>How the messages are written.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ControlRequest))]
[JsonSerializable(typeof(ControlResponse))]
internal sealed partial class ControlJson : JsonSerializerContext;
