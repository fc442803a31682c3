using System.Collections.Concurrent;
using Introspect.Daemon.Service;
using Introspect.Daemon.Systemd;
using Introspect.Daemon.Tests.Systemd;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Introspect.Daemon.Tests.Service;

public sealed class NotifyServiceTests
{
    [Fact]
    public async Task the_watchdog_is_fed_only_while_no_pump_hangs()
    {
        var name = $"@introspect-test-{Guid.NewGuid():N}";
        using var manager = SdNotifyTests.Listen(name);
        using var notify = SdNotify.FromEnvironment(variable => variable switch { "NOTIFY_SOCKET" => name, "WATCHDOG_USEC" => "60000", _ => null }, TimeProvider.System);
        var health = new FakeHealth();
        using var service = new NotifyService(notify, health, TimeProvider.System, NullLogger<NotifyService>.Instance);
        await service.StartAsync(CancellationToken.None);
        Assert.Equal("READY=1\nSTATUS=watching 1 of 1 domains", SdNotifyTests.Receive(manager));
        Assert.Equal("WATCHDOG=1", SdNotifyTests.Receive(manager));
        Assert.Equal("WATCHDOG=1", SdNotifyTests.Receive(manager));

        // What was sent before the hang was seen may still be on its way; after the status of the hang nothing comes.
        health.Hang("domain web: its pump has not moved for 6.0 s");
        while (SdNotifyTests.Receive(manager) is var text && !text.StartsWith("STATUS=", StringComparison.Ordinal))
        {
            Assert.Equal("WATCHDOG=1", text);
        }

        await health.AskedAgain(5);
        Assert.Equal(0, manager.Available);
        health.Recover();
        string next;
        do
        {
            next = SdNotifyTests.Receive(manager);
        }
        while (next.StartsWith("STATUS=", StringComparison.Ordinal));
        Assert.Equal("WATCHDOG=1", next);

        await service.StopAsync(CancellationToken.None);
        string last;
        do
        {
            last = SdNotifyTests.Receive(manager);
        }
        while (!last.StartsWith("STOPPING=1", StringComparison.Ordinal));
    }

    [Fact]
    public async Task a_pump_that_hangs_is_told_in_the_log_where_there_is_no_systemd_too()
    {
        using var notify = SdNotify.FromEnvironment(_ => null, TimeProvider.System);
        var health = new FakeHealth();
        health.Hang("domain web: its pump has not moved for 6.0 s, it is in handler guard");
        var log = new ListLogger();
        using var service = new NotifyService(notify, health, TimeProvider.System, log);
        await service.StartAsync(CancellationToken.None);
        await ServiceHarness.Until(() => !log.Lines.IsEmpty);
        await service.StopAsync(CancellationToken.None);
        Assert.Contains("in handler guard", Assert.Single(log.Lines), StringComparison.Ordinal);
    }

    private sealed class ListLogger : ILogger<NotifyService>
    {
        public ConcurrentQueue<string> Lines { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            Lines.Enqueue(formatter(state, exception));
    }

    private sealed class FakeHealth : IHealthSource
    {
        private string? _stall;
        private int _asked;

        public string Status => Volatile.Read(ref _stall) is null ? "watching 1 of 1 domains" : "hanging";

        public string? WhyNotReady => null;

        public HealthReport CheckHealth() => new([]);

        public IReadOnlyList<string> FindStalls()
        {
            Interlocked.Increment(ref _asked);
            return Volatile.Read(ref _stall) is { } stall ? [stall] : [];
        }

        public void Hang(string reason) => Volatile.Write(ref _stall, reason);

        public void Recover() => Volatile.Write(ref _stall, null);

        public async Task AskedAgain(int times)
        {
            var target = Volatile.Read(ref _asked) + times;
            await ServiceHarness.Until(() => Volatile.Read(ref _asked) >= target);
        }
    }
}
