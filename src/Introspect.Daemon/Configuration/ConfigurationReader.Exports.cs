using Introspect.Daemon.Output;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Sinks.Otlp;
using Introspect.Daemon.Sinks.Syslog;
using Microsoft.Extensions.Configuration;

namespace Introspect.Daemon.Configuration;

/// <summary>What leads out of the program: files that rotate, the journal, syslog, a collector.</summary>
internal sealed partial class ConfigurationReader
{
    private const int Mebibyte = 1 << 20;

    private static readonly string[] Facilities =
    [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
        "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
    ];

    private SinkOptions WithExports(SinkOptions options, IConfigurationSection section) => options with
    {
        JsonFormat = Choice(section, "json_format", JsonShape.Introspect),
        JsonRotation = ReadRotation(section),
        Journald = Flag(section, "journald", false),
        JournaldSocket = Text(section, "journald_socket") ?? JournaldSink.DefaultSocket,
        Syslog = ReadSyslog(section),
    };

    private FileRotation? ReadRotation(IConfigurationSection section)
    {
        var most = (long)Number(section, "json_max_mib", 0, 1, 1 << 20) * Mebibyte;
        var keep = (int)Number(section, "json_keep", 5, 0, 1000);
        if (most != 0 && Text(section, "json_file") is null or "-")
        {
            Mistake($"{section.Path}:json_max_mib", null, "has no file to keep small; give json_file a path");
        }

        return most == 0 ? null : new(most, keep);
    }

    private SyslogOptions? ReadSyslog(IConfigurationSection section)
    {
        var facility = Text(section, "syslog_facility") ?? "local0";
        var number = Array.IndexOf(Facilities, facility);
        if (number < 0)
        {
            Mistake($"{section.Path}:syslog_facility", facility, $"is none of {string.Join(", ", Facilities)}");
        }

        JsonShape? shape = Text(section, "syslog_format") is null or "text" ? null : Choice(section, "syslog_format", JsonShape.Introspect);
        if (Text(section, "syslog") is not { } text)
        {
            return null;
        }

        if (SyslogAddress.NeedsTls(text))
        {
            Mistake($"{section.Path}:syslog", text, "needs TLS, which this program does not speak; write unix:/dev/log, and have the syslog server of this machine relay by TLS (docs/sinks.md)");
            return null;
        }

        if (SyslogAddress.Parse(text) is { } address)
        {
            return new(address, number, shape);
        }

        Mistake($"{section.Path}:syslog", text, "is no address; write unix:/dev/log, udp://HOST:514 or tcp://HOST:601");
        return null;
    }

    private OtlpOptions? ReadOtlp(IConfigurationSection section)
    {
        var protocol = Choice(section, "protocol", OtlpProtocol.Http);
        var headers = Text(section, "headers");
        if (OtlpClient.Headers(headers).Any(h => h.Name.Length == 0 || h.Value.Length == 0))
        {
            Mistake($"{section.Path}:headers", null, "are not NAME=VALUE with commas between them");
        }

        var timeout = Duration(section, "timeout", TimeSpan.FromSeconds(10));
        var interval = Duration(section, "metrics_interval", TimeSpan.FromSeconds(60));
        if (interval < TimeSpan.FromSeconds(1))
        {
            Mistake($"{section.Path}:metrics_interval", null, "is shorter than 1s");
        }

        var (logs, metrics) = (Flag(section, "logs", true), Flag(section, "metrics", true));
        var traces = Flag(section, "traces", true);
        if (Text(section, "endpoint") is not { } text)
        {
            if (section.GetChildren().Any())
            {
                Mistake($"{section.Path}:endpoint", null, "is missing; write the collector's address, as http://127.0.0.1:4318");
            }

            return null;
        }

        if (Uri.TryCreate(text, UriKind.Absolute, out var endpoint) && endpoint.Scheme is "http" or "https")
        {
            return new(endpoint, protocol, headers, timeout, logs, metrics, interval) { Traces = traces };
        }

        Mistake($"{section.Path}:endpoint", text, "is no address; write http://HOST:4318, or with protocol: grpc http://HOST:4317");
        return null;
    }
}
