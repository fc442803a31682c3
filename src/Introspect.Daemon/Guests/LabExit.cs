using Introspect.Daemon.Cli;
using Introspect.Hypervisor.Core.Host;

namespace Introspect.Daemon.Guests;

/// <summary>What a domain's end is to whoever followed it.</summary>
internal static class LabExit
{
    /// <summary>The guest asked for a reboot, and its configuration does not want one.</summary>
    public const int Reboot = 3;

    /// <summary>The guest crashed.</summary>
    public const int Crash = 4;

    /// <summary>The guest's watchdog fired.</summary>
    public const int Watchdog = 5;

    /// <summary>Somebody destroyed it.</summary>
    public const int Destroyed = 6;

    /// <summary>The exit code.</summary>
    public static int CodeOf(LabReport report) => report.Failure is not null ? ExitCode.Failure : report.Reason switch
    {
        "reboot" => Reboot,
        "crash" => Crash,
        "watchdog" => Watchdog,
        "destroyed" => Destroyed,
        _ => ExitCode.Ok,
    };

    /// <summary>One line.</summary>
    public static string Describe(LabReport report)
    {
        var boots = report.Boot > 1 ? $" after {report.Boot} boots" : "";
        var failure = report.Failure is { } what ? $"; {what}" : "";
        return $"domain '{report.Name}' ended: {report.Reason ?? "unknown"}{boots}{failure}";
    }
}
