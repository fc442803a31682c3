using System.Net;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Output;
using Introspect.Daemon.Plugins;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Sinks.Otlp;
using Introspect.Daemon.Sinks.Syslog;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Configuration;

/// <summary>What <c>introspect run</c> does: the whole configuration, read and found right.</summary>
internal sealed record DaemonConfiguration
{
    /// <summary>The hypervisor to watch.</summary>
    public required HypervisorSpec Hypervisor { get; init; }

    /// <summary>Which domains are watched and how: the first that matches counts.</summary>
    public required IReadOnlyList<DomainPolicy> Domains { get; init; }

    /// <summary>Handlers in assemblies of their own.</summary>
    public IReadOnlyList<PluginSpec> Plugins { get; init; } = [];

    /// <summary>Where metrics and health are served.</summary>
    public required MetricsOptions Metrics { get; init; }

    /// <summary>The program's own log.</summary>
    public required LoggingOptions Logging { get; init; }

    /// <summary>Where events go.</summary>
    public required SinkOptions Sinks { get; init; }

    /// <summary>A collector that events and metrics go to; null: there is none.</summary>
    public OtlpOptions? Otlp { get; init; }

    /// <summary>The socket by which the service is controlled.</summary>
    public ControlOptions Control { get; init; } = new(null, null);

    /// <summary>Changes of the files are taken over without being told to.</summary>
    public bool WatchFiles { get; init; }

    /// <summary>What is likely not meant as it is written, and may be.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>The files that it was read from, those of rules among them.</summary>
    public IReadOnlyList<string> Files { get; init; } = [];

    /// <summary>What it was read from, folders that may get more files among it.</summary>
    public ConfigurationSources Sources { get; init; } = ConfigurationSources.None;

    /// <summary>How long stopping may take before the program gives up and says so.</summary>
    public TimeSpan ShutdownTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>After which silence of a pump its domain counts as stuck.</summary>
    public TimeSpan PumpStallTimeout { get; init; } = TimeSpan.FromSeconds(5);
}

/// <summary>How a kind of domain is watched.</summary>
/// <param name="Match">Number, UUID, or name with <c>*</c> and <c>?</c>.</param>
/// <param name="Selection">What is watched.</param>
/// <param name="DenyProtectionClears">Writes that clear CR4.SMEP or CR4.SMAP are denied.</param>
internal sealed record DomainPolicy(string Match, EventSelection Selection, bool DenyProtectionClears)
{
    /// <summary>What stands in for a handler that fails or is too slow too often.</summary>
    public FailPolicy Fail { get; init; }

    /// <summary>Rules of files; null where there are none.</summary>
    public RuleSet? Rules { get; init; }

    /// <summary>Where the symbols are that the rules know; null: they know none.</summary>
    public PolicySymbols? Symbols { get; init; }

    /// <summary>The plugins, of which those are for a domain that match it.</summary>
    public IReadOnlyList<PluginSpec> Plugins { get; init; } = [];

    /// <summary>True when the policy is for this domain.</summary>
    public bool Matches(DomainInfo domain) => Matches(Match, domain);

    /// <summary>True when a domain is meant by a number, a UUID, or a name with <c>*</c> and <c>?</c>.</summary>
    public static bool Matches(string pattern, DomainInfo domain) =>
        pattern == "*" || (DomainRef.Parse(pattern) is { Name: null } reference
            ? reference.Matches(domain)
            : System.IO.Enumeration.FileSystemName.MatchesSimpleExpression(pattern, domain.Name, ignoreCase: false));
}

/// <summary>A file of symbols, as it was when it was read. Equal ones have the same symbols.</summary>
/// <param name="Path">The file.</param>
/// <param name="Offset">What is added to each address.</param>
/// <param name="Length">Its bytes.</param>
/// <param name="Written">When it was written last, UTC.</param>
internal sealed record PolicySymbols(string Path, ulong Offset, long Length, DateTime Written);

/// <summary>The page that Prometheus scrapes.</summary>
/// <param name="Listen">Address and port; null: nothing is served.</param>
internal sealed record MetricsOptions(IPEndPoint? Listen);

/// <summary>The program's own log.</summary>
/// <param name="Level">Least severity that is logged.</param>
/// <param name="Console">Log to stderr.</param>
/// <param name="File">Log to this file, too.</param>
internal sealed record LoggingOptions(LogLevel Level, bool Console, string? File);

/// <summary>Where events go.</summary>
/// <param name="Capacity">Events that wait at each sink before some are dropped.</param>
/// <param name="Text">Events as lines on stdout.</param>
/// <param name="JsonFile">Events as NDJSON, appended to this file; <c>-</c> is stdout.</param>
internal sealed record SinkOptions(int Capacity, bool Text, string? JsonFile)
{
    /// <summary>The shape of the NDJSON.</summary>
    public JsonShape JsonFormat { get; init; }

    /// <summary>When <see cref="JsonFile"/> is put aside; null: never by this program.</summary>
    public FileRotation? JsonRotation { get; init; }

    /// <summary>Events go into systemd's journal.</summary>
    public bool Journald { get; init; }

    /// <summary>Where the journal listens.</summary>
    public string JournaldSocket { get; init; } = JournaldSink.DefaultSocket;

    /// <summary>Events go to a syslog server; null: they do not.</summary>
    public SyslogOptions? Syslog { get; init; }

    /// <summary>How thin a sample is when nothing is said.</summary>
    public const int DefaultSampleEvery = 10;

    /// <summary>The names of the sinks that there may be.</summary>
    public static IReadOnlyList<string> Names { get; } = ["text", "json", "journald", "syslog", "otlp"];

    /// <summary>What sinks do that do not keep up, where nothing else is said of one.</summary>
    public QueuePolicy Queue { get; init; }

    /// <summary>What single sinks do, by name.</summary>
    public QueuePolicies Queues { get; init; } = QueuePolicies.None;

    /// <summary>With <see cref="QueuePolicy.Sample"/>: one record in so many is kept.</summary>
    public int SampleEvery { get; init; } = DefaultSampleEvery;

    /// <summary>How a sink's queue is.</summary>
    public QueueOptions QueueOf(string sink) => new(Capacity, Queues.Of(sink) ?? Queue, SampleEvery);
}

/// <summary>The socket by which the service is controlled.</summary>
/// <param name="Socket">Its path; null: there is none.</param>
/// <param name="Group">A group whose members may use it, beside root and the service's own user.</param>
internal sealed record ControlOptions(string? Socket, string? Group)
{
    /// <summary>Where it is when nothing is said.</summary>
    public const string DefaultSocket = "/run/introspect/control.sock";

    /// <summary>Bytes of a path that fit into a socket's address.</summary>
    public const int LongestPath = 107;

    /// <summary>Nobody asked for it: the service goes on where it cannot be.</summary>
    public bool IsDefault { get; init; }
}
