using System.Globalization;
using System.Net.Sockets;
using System.Text;

namespace Introspect.Daemon.Systemd;

/// <summary>
/// The service side of systemd's notification protocol: assignments, one a line, in a datagram to the unix
/// socket that NOTIFY_SOCKET names (a path, or with a leading @ a name in the abstract space). Without the
/// variable every call does nothing, so that the program is the same on a terminal.
/// </summary>
internal sealed class SdNotify : IDisposable
{
    private readonly Socket? _socket;
    private readonly UnixDomainSocketEndPoint? _manager;
    private readonly TimeProvider _time;

    private SdNotify(Socket? socket, UnixDomainSocketEndPoint? manager, TimeSpan? watchdog, TimeProvider time) =>
        (_socket, _manager, WatchdogInterval, _time) = (socket, manager, watchdog, time);

    /// <summary>A service manager listens.</summary>
    public bool IsEnabled => _socket is not null;

    /// <summary>After which silence the manager gives the service up; null: it does not watch.</summary>
    public TimeSpan? WatchdogInterval { get; }

    /// <summary>Opens the notification socket that the environment names.</summary>
    public static SdNotify FromEnvironment(Func<string, string?> variable, TimeProvider time)
    {
        var name = variable("NOTIFY_SOCKET");
        // Other address families (vsock:) exist for virtual machines; a service on a host has a unix socket.
        if (string.IsNullOrEmpty(name) || (name[0] != '/' && name[0] != '@') || name.Length < 2)
        {
            return new(null, null, null, time);
        }

        var address = name[0] == '@' ? '\0' + name[1..] : name;
        var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
        return new(socket, new UnixDomainSocketEndPoint(address), ReadWatchdog(variable), time);
    }

    /// <summary>The service is up.</summary>
    public bool Ready(string status) => Send($"READY=1\nSTATUS={status}");

    /// <summary>The service goes down.</summary>
    public bool Stopping() => Send("STOPPING=1\nSTATUS=stopping");

    /// <summary>The service reads its configuration anew; <see cref="Ready"/> ends that.</summary>
    public bool Reloading()
    {
        // systemd compares this with CLOCK_MONOTONIC, which is what the timestamp counter of .NET reads on Linux.
        var microseconds = _time.GetTimestamp() / (_time.TimestampFrequency / 1_000_000.0);
        return Send(string.Create(CultureInfo.InvariantCulture, $"RELOADING=1\nMONOTONIC_USEC={(long)microseconds}"));
    }

    /// <summary>A line for <c>systemctl status</c>.</summary>
    public bool Status(string status) => Send($"STATUS={status}");

    /// <summary>The service is alive.</summary>
    public bool Watchdog() => Send("WATCHDOG=1");

    /// <inheritdoc/>
    public void Dispose() => _socket?.Dispose();

    private static TimeSpan? ReadWatchdog(Func<string, string?> variable)
    {
        // WATCHDOG_PID tells which process is meant; a child that inherits the environment must keep silent.
        var forUs = variable("WATCHDOG_PID") is not { Length: > 0 } pid
            || (int.TryParse(pid, CultureInfo.InvariantCulture, out var number) && number == Environment.ProcessId);
        return forUs
            && long.TryParse(variable("WATCHDOG_USEC"), NumberStyles.None, CultureInfo.InvariantCulture, out var microseconds)
            && microseconds > 0
            ? TimeSpan.FromMicroseconds(microseconds)
            : null;
    }

    private bool Send(string state)
    {
        if (_socket is null || _manager is null)
        {
            return false;
        }

        try
        {
            return _socket.SendTo(Encoding.UTF8.GetBytes(state), _manager) > 0;
        }
        catch (SocketException)
        {
            // The manager went away or its queue is full: no reason for a monitor to fail.
            return false;
        }
    }
}
