using System.Diagnostics;

namespace Introspect.Daemon.Tests.Guests;

/// <summary>Guests that are asked to end, by the command line.</summary>
public sealed class LabPowerTests : IDisposable
{
    private const string Unanswered = "introspect: domain 'guest' listens at control/shutdown in xenstore and did not acknowledge (1 s): give it longer with --timeout, or end it with 'introspect lab destroy guest'\n";

    private readonly LabBench _bench = new();

    public void Dispose() => _bench.Dispose();

    [Fact]
    public void Shutdown_waits_until_a_guest_that_listens_has_switched_itself_off()
    {
        Create(XenbusGuest.Build());
        Assert.Equal("domain 'guest' ended: poweroff\n", _bench.Works("lab", "shutdown", "guest", "--wait"));
    }

    [Fact]
    public void Reboot_builds_it_anew_and_shutdown_ends_that()
    {
        Create(XenbusGuest.Build());
        Assert.Equal("domain 'guest' rebooted: it is domain 2 now\n", _bench.Works("lab", "reboot", "guest", "-w"));
        Assert.Equal("domain 'guest' ended: poweroff after 2 boots\n", _bench.Works("lab", "shutdown", "2", "-w"));
    }

    [Fact]
    public void A_reboot_that_ends_the_guest_is_what_was_asked_for()
    {
        Create(XenbusGuest.Build(), "on_reboot=\"destroy\"");
        Assert.Equal("domain 'guest' ended: reboot\n", _bench.Works("lab", "reboot", "guest", "-w"));
    }

    [Fact]
    public void A_guest_that_was_saved_listens_when_it_is_restored()
    {
        Create(XenbusGuest.Build());
        Assert.StartsWith("domain 'guest' rebooted", _bench.Works("lab", "reboot", "guest", "-w"), StringComparison.Ordinal);
        _bench.Works("lab", "save", "guest", _bench.PathOf("saved"));
        _bench.Works("lab", "restore", _bench.PathOf("saved"));
        Assert.Equal("domain 'guest' ended: poweroff\n", _bench.Works("lab", "shutdown", "guest", "-w"));
    }

    [Fact]
    public void Where_nothing_listens_is_said_in_a_line()
    {
        _bench.Works("lab", "create", _bench.Write("demo.cfg", "name = \"demo\"\nkernel = \"builtin:demo-forever\"\nmemory = 8\n"), "-p");
        var (exitCode, output, error) = _bench.Run("lab", "shutdown", "demo", "--timeout", "1");
        Assert.Equal((1, ""), (exitCode, output));
        Assert.Equal("introspect: domain 'demo' has no PV driver that listens at control/shutdown in xenstore (1 s): give it longer with --timeout, or end it with 'introspect lab destroy demo'\n", error);
    }

    [Fact]
    public void A_guest_that_does_not_acknowledge_is_said_in_a_line_and_not_asked_any_longer()
    {
        Create(XenbusGuest.Build(acknowledges: false));
        Assert.Equal((1, "", Unanswered), AskInVain());
    }

    [Fact]
    public void A_guest_that_was_saved_is_still_told_what_it_watched_before()
    {
        // It sets its watch once, at its beginning.
        Create(XenbusGuest.Build(acknowledges: false));
        Assert.Equal((1, "", Unanswered), AskInVain());
        _bench.Works("lab", "save", "guest", _bench.PathOf("saved"));
        Assert.Equal("domain 2 'guest' restored\n", _bench.Works("lab", "restore", _bench.PathOf("saved")));
        Assert.Equal((1, "", Unanswered), _bench.Run("lab", "shutdown", "guest", "--timeout", "1"));
    }

    [Theory]
    [InlineData("0")]
    [InlineData("x")]
    public void A_wrong_timeout_is_a_wrong_use(string timeout) =>
        Assert.Equal(2, _bench.Run("lab", "shutdown", "guest", "--timeout", timeout).ExitCode);

    private void Create(byte[] image, string setting = "on_reboot=\"restart\"")
    {
        File.WriteAllBytes(_bench.PathOf("guest.elf"), image);
        var config = _bench.Write("guest.cfg", $"name = \"guest\"\nkernel = \"{_bench.PathOf("guest.elf")}\"\nmemory = 8\n");
        _bench.Works("lab", "create", config, setting);
    }

    // Until it has come so far that it listens.
    private (int ExitCode, string Output, string Error) AskInVain()
    {
        var watch = Stopwatch.StartNew();
        while (true)
        {
            var result = _bench.Run("lab", "shutdown", "guest", "--timeout", "1");
            if (!result.Error.Contains("no PV driver", StringComparison.Ordinal) || watch.Elapsed > TimeSpan.FromMinutes(2))
            {
                return result;
            }
        }
    }
}
