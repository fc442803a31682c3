using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Introspect.Daemon.Systemd;

namespace Introspect.Daemon.Tests.Systemd;

public sealed class SdNotifyTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-notify-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void states_reach_the_socket_of_a_path_and_of_the_abstract_space(bool isAbstract)
    {
        var name = isAbstract ? $"@introspect-test-{Guid.NewGuid():N}" : Path.Combine(_folder, "notify");
        using var manager = Listen(name);
        using var notify = From(("NOTIFY_SOCKET", name));
        Assert.True(notify.IsEnabled);

        Assert.True(notify.Ready("watching 2 of 2 domains"));
        Assert.Equal("READY=1\nSTATUS=watching 2 of 2 domains", Receive(manager));
        Assert.True(notify.Status("x"));
        Assert.Equal("STATUS=x", Receive(manager));
        Assert.True(notify.Watchdog());
        Assert.Equal("WATCHDOG=1", Receive(manager));
        Assert.True(notify.Stopping());
        Assert.StartsWith("STOPPING=1\n", Receive(manager), StringComparison.Ordinal);
    }

    [Fact]
    public void reloading_carries_the_monotonic_clock()
    {
        var name = Path.Combine(_folder, "notify");
        using var manager = Listen(name);
        using var notify = From(("NOTIFY_SOCKET", name));
        var before = UptimeMicroseconds();
        Assert.True(notify.Reloading());
        var text = Receive(manager);
        Assert.StartsWith("RELOADING=1\nMONOTONIC_USEC=", text, StringComparison.Ordinal);
        // CLOCK_MONOTONIC starts with the machine and stands still while that sleeps, unlike /proc/uptime.
        Assert.InRange(long.Parse(text.Split('=')[^1], CultureInfo.InvariantCulture), 1, UptimeMicroseconds() + 1_000_000);
        Assert.True(before > 0);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("")]
    [InlineData("@")]
    [InlineData("relative")]
    [InlineData("vsock:2:1234")]
    public void without_a_manager_nothing_happens(string? name)
    {
        using var notify = From(("NOTIFY_SOCKET", name));
        Assert.False(notify.IsEnabled);
        Assert.False(notify.Ready("x"));
        Assert.False(notify.Watchdog());
    }

    [Fact]
    public void a_manager_that_went_away_is_no_error()
    {
        var name = Path.Combine(_folder, "notify");
        using var notify = From(("NOTIFY_SOCKET", name));
        Assert.False(notify.Ready("x"));
        Listen(name).Dispose();
        Assert.False(notify.Ready("x"));
    }

    [Theory]
    [InlineData("30000000", null, 30.0)]
    [InlineData("30000000", "self", 30.0)]
    [InlineData("30000000", "1", null)]
    [InlineData("0", null, null)]
    [InlineData("-1", null, null)]
    [InlineData("soon", null, null)]
    [InlineData(null, null, null)]
    public void the_watchdog_is_ours_only_when_it_names_us(string? microseconds, string? pid, double? seconds)
    {
        var process = pid == "self" ? Environment.ProcessId.ToString(CultureInfo.InvariantCulture) : pid;
        using var notify = From(("NOTIFY_SOCKET", "@x"), ("WATCHDOG_USEC", microseconds), ("WATCHDOG_PID", process));
        Assert.Equal(seconds, notify.WatchdogInterval?.TotalSeconds);
    }

    internal static Socket Listen(string name)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified) { ReceiveTimeout = 60_000 };
        socket.Bind(new UnixDomainSocketEndPoint(name[0] == '@' ? '\0' + name[1..] : name));
        return socket;
    }

    internal static string Receive(Socket manager)
    {
        var buffer = new byte[4096];
        return Encoding.UTF8.GetString(buffer, 0, manager.Receive(buffer));
    }

    private static long UptimeMicroseconds() =>
        (long)(double.Parse(File.ReadAllText("/proc/uptime").Split(' ')[0], CultureInfo.InvariantCulture) * 1e6);

    private static SdNotify From(params (string Name, string? Value)[] variables) =>
        SdNotify.FromEnvironment(name => variables.FirstOrDefault(v => v.Name == name).Value, TimeProvider.System);
}
