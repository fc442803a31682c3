using System.Text.Json;
using Introspect.Daemon.Guests;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Daemon.Tests.Guests;

/// <summary>Whole domains by the command line, from their configuration to their end.</summary>
public sealed class LabCommandTests : IDisposable
{
    private const string Forever = "name = \"demo\"\nkernel = \"builtin:demo-forever\"\nmemory = 8\nvcpus = 2\nviridian = [ \"base\", \"freq\" ]\ncpuid = \"host,smep=0\"\n";
    private const string Short = "name = \"short\"\nkernel = \"builtin:demo\"\nmemory = 8\n";

    private readonly LabBench _bench = new();

    public void Dispose() => _bench.Dispose();

    [Fact]
    public void Create_paused_list_unpause_pause_save_restore_destroy()
    {
        var config = _bench.Write("demo.cfg", Forever);
        Assert.EndsWith("domain 1 'demo' created, paused\n", _bench.Works("lab", "create", config, "-p"), StringComparison.Ordinal);
        Assert.Matches(@"(?m)^demo +1 +8 +2  --p---  ", _bench.Works("lab", "list"));
        Assert.Equal("", _bench.Works("lab", "unpause", "demo"));
        Assert.DoesNotContain("--p---", _bench.Works("lab", "list", "demo"), StringComparison.Ordinal);
        _bench.Works("lab", "pause", "demo");
        Assert.Contains("--p---", _bench.Works("lab", "list", "1"), StringComparison.Ordinal);
        _bench.Works("lab", "save", "demo", _bench.PathOf("saved"));
        Assert.DoesNotContain("demo", _bench.Works("lab", "list"), StringComparison.Ordinal);
        Assert.Equal("domain 2 'demo' restored, paused\n", _bench.Works("lab", "restore", _bench.PathOf("saved"), "-p"));
        Assert.Equal("", _bench.Works("lab", "destroy", "demo"));
        Assert.DoesNotContain("demo", _bench.Works("lab", "list"), StringComparison.Ordinal);
        Assert.Equal("domain 3 'other' restored, paused\n", _bench.Works("lab", "restore", _bench.PathOf("saved"), "-p", "--name", "other"));
    }

    [Fact]
    public void A_restored_viridian_guest_has_exactly_the_features_it_had_and_list_prints_them()
    {
        var config = _bench.Write("demo.cfg", Forever);
        _bench.Works("lab", "create", config, "-p");
        var before = _bench.Works("lab", "list", "--long");
        Assert.Contains("    (viridian base freq)\n", before, StringComparison.Ordinal);
        Assert.Contains("    (without_cpu_features smep)\n", before, StringComparison.Ordinal);
        _bench.Works("lab", "save", "demo", _bench.PathOf("saved"));
        _bench.Works("lab", "restore", _bench.PathOf("saved"), "-p");
        Assert.Equal(before.Replace("(domid 1)", "(domid 2)", StringComparison.Ordinal), _bench.Works("lab", "list", "-l"));
        using var json = JsonDocument.Parse(_bench.Works("lab", "list", "--json"));
        Assert.Equal(["base", "freq"], json.RootElement.GetProperty("viridian").EnumerateArray().Select(e => e.GetString()));
    }

    [Fact]
    public void Viridian_as_a_boolean_warns_and_gives_base_and_freq()
    {
        var (exitCode, _, error) = _bench.Run("lab", "create", _bench.Write("demo.cfg", Short + "viridian = 1\n"), "-p");
        Assert.Equal((0, $"introspect: warning: {_bench.PathOf("demo.cfg")}:4:1: viridian=1 is deprecated and means viridian=[\"base\",\"freq\"]: write the list\n"), (exitCode, error));
        Assert.Contains("(viridian base freq)", _bench.Works("lab", "list", "-l"), StringComparison.Ordinal);
    }

    [Fact]
    public void A_kernel_with_a_damaged_symbol_table_is_warned_of_and_boots()
    {
        var image = DemoGuest.Build().Image;
        const int SymbolSection = 4, SectionHeader = 64, Link = 40;
        var sections = (int)BitConverter.ToUInt64(image, 40);
        image.AsSpan(sections + (SymbolSection * SectionHeader) + Link, sizeof(uint)).Clear();
        var kernel = _bench.PathOf("kernel");
        File.WriteAllBytes(kernel, image);
        var (exitCode, output, error) = _bench.Run("lab", "create", _bench.Write("short.cfg", $"name = \"short\"\nkernel = \"{kernel}\"\nmemory = 8\n"), "-c");

        Assert.Equal(0, exitCode);
        Assert.StartsWith($"introspect: warning: kernel '{kernel}' boots without symbols: the symbols in section 4 have no section of names (sh_link is 0); ", error, StringComparison.Ordinal);
        Assert.Contains("introspect demo guest: done", output, StringComparison.Ordinal);
    }

    [Fact]
    public void Create_with_the_console_returns_at_the_guests_end_with_all_that_it_wrote()
    {
        var output = _bench.Works("lab", "create", _bench.Write("short.cfg", Short), "-c");
        Assert.Contains("introspect demo guest: long mode", output, StringComparison.Ordinal);
        Assert.EndsWith("introspect demo guest: done\ndomain 'short' ended: poweroff\n", output.Replace("\r", "", StringComparison.Ordinal), StringComparison.Ordinal);
    }

    [Fact]
    public void Saved_and_restored_a_guest_comes_to_the_same_end()
    {
        _bench.Works("lab", "create", _bench.Write("short.cfg", Short), "-p");
        _bench.Works("lab", "save", "-p", "short", _bench.PathOf("saved"));
        Assert.Contains("short", _bench.Works("lab", "list"), StringComparison.Ordinal);
        _bench.Works("lab", "destroy", "short");
        var output = _bench.Works("lab", "restore", _bench.PathOf("saved"), "-c");
        Assert.Contains("introspect demo guest: done", output, StringComparison.Ordinal);
        Assert.EndsWith("domain 'short' ended: poweroff\n", output, StringComparison.Ordinal);
    }

    [Fact]
    public void Ctrl_closing_bracket_leaves_the_console_and_the_guest_goes_on()
    {
        _bench.Works("lab", "create", _bench.Write("demo.cfg", Forever));
        var (exitCode, output, error) = _bench.Run([(byte)'x', ConsoleAttachment.Escape, (byte)'y'], "lab", "console", "demo");
        Assert.Equal((0, ""), (exitCode, error));
        Assert.DoesNotContain("ended", output, StringComparison.Ordinal);
        Assert.Contains("demo", _bench.Works("lab", "list"), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false, "on_reboot = 'destroy'", "reboot", LabExit.Reboot)]
    [InlineData(false, "on_reboot = 'preserve'", "reboot", LabExit.Reboot)]
    [InlineData(true, "viridian = [ 'base', 'crash_ctl' ]; on_reboot = 'destroy'", "crash", LabExit.Crash)]
    [InlineData(true, "viridian = [ 'base', 'crash_ctl' ]; on_crash = 'preserve'", "crash", LabExit.Crash)]
    public void How_a_guest_ended_is_the_exit_code_and_its_action_is_done(bool tellsCrash, string settings, string reason, int exitCode)
    {
        File.WriteAllBytes(_bench.PathOf("kernel"), TripleFaultGuest.Build(tellsCrash));
        var config = _bench.Write("guest.cfg", $"name='faulty'\nkernel='{_bench.PathOf("kernel")}'\nmemory=8\n{settings}\n");
        var (code, output, error) = _bench.Run("lab", "create", config, "-c");
        Assert.Equal((exitCode, ""), (code, error));
        Assert.EndsWith($"domain 'faulty' ended: {reason}\n", output, StringComparison.Ordinal);
        var isPreserved = settings.Contains("preserve", StringComparison.Ordinal);
        Assert.True(SpinWait.SpinUntil(() => _bench.Works("lab", "list").Contains("faulty", StringComparison.Ordinal) == isPreserved, TimeSpan.FromSeconds(60)));
    }

    [Fact]
    public void A_saved_file_that_was_cut_off_or_altered_is_refused_and_nothing_is_touched()
    {
        _bench.Works("lab", "create", _bench.Write("demo.cfg", Forever), "-p");
        _bench.Works("lab", "save", "-c", "demo", _bench.PathOf("saved"));
        var bytes = File.ReadAllBytes(_bench.PathOf("saved"));
        var before = _bench.Works("lab", "list", "-l");
        File.WriteAllBytes(_bench.PathOf("cut"), bytes[..^20]);
        bytes[bytes.Length / 2] ^= 1;
        File.WriteAllBytes(_bench.PathOf("altered"), bytes);
        foreach (var name in new[] { "cut", "altered" })
        {
            var (exitCode, output, error) = _bench.Run("lab", "restore", _bench.PathOf(name), "--name", "other");
            Assert.Equal((1, ""), (exitCode, output));
            Assert.Contains(_bench.PathOf(name), error, StringComparison.Ordinal);
            Assert.Single(error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        }

        Assert.Equal(before, _bench.Works("lab", "list", "-l"));
    }

    [Fact]
    public void A_configuration_with_mistakes_starts_nothing()
    {
        var config = _bench.Write("demo.cfg", Short + "memory = 1\nvcpus = 'x'\n");
        var (exitCode, output, error) = _bench.Run("lab", "create", config);
        Assert.Equal((2, ""), (exitCode, output));
        Assert.Equal([$"introspect: {config}:4:10", $"introspect: {config}:5:9"], error.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => string.Join(": ", line.Split(": ")[..2])));
        Assert.False(File.Exists(_bench.Socket));
    }

    [Fact]
    public void Settings_of_the_command_line_come_over_the_file()
    {
        _bench.Works("lab", "create", _bench.Write("demo.cfg", Forever), "name=\"other\"", "memory=16", "viridian=[]", "-p");
        Assert.Matches(@"(?m)^other +1 +16 +2  --p---  ", _bench.Works("lab", "list"));
        Assert.Contains("(viridian)", _bench.Works("lab", "list", "-l"), StringComparison.Ordinal);
    }

    [Fact]
    public void Without_a_lab_the_others_say_so_and_a_domain_that_is_not_there_is_named()
    {
        var (exitCode, _, error) = _bench.Run("lab", "list");
        Assert.Equal((1, $"introspect: --socket '{_bench.Socket}': no lab is there; 'introspect lab create' starts one\n"), (exitCode, error));
        _bench.Works("lab", "create", _bench.Write("demo.cfg", Forever), "-p");
        foreach (var command in new[] { "pause", "unpause", "destroy", "console" })
        {
            (exitCode, _, error) = _bench.Run("lab", command, "demi");
            Assert.Equal((1, "introspect: domain 'demi': there is none; did you mean 'demo'?; 'introspect lab list' shows those that are there\n"), (exitCode, error));
        }
    }

    [Fact]
    public void Trace_and_regs_find_the_domain_at_the_same_socket()
    {
        _bench.Works("lab", "create", _bench.Write("demo.cfg", Forever));
        Assert.Contains("r15", _bench.Works("regs", "demo"), StringComparison.Ordinal);
        Assert.Contains("ended by", _bench.Works("trace", "demo", "--cpuid", "--count", "3"), StringComparison.Ordinal);
        Assert.Contains("demo", _bench.Works("list"), StringComparison.Ordinal);
    }

    [Fact]
    public void Who_has_a_role_is_listed_with_it()
    {
        _bench.Works("lab", "create", _bench.Write("demo.cfg", Forever), "-p");
        Assert.DoesNotContain("roles", _bench.Works("lab", "list", "-l"), StringComparison.Ordinal);
        _bench.Works("lab", "create", _bench.PathOf("demo.cfg"), "name='manager'", "lab_control=1", "-p");
        Assert.Contains("    (roles control)\n", _bench.Works("lab", "list", "manager", "-l"), StringComparison.Ordinal);
        using var json = JsonDocument.Parse(_bench.Works("lab", "list", "manager", "--json"));
        Assert.Equal((true, false), (json.RootElement.GetProperty("control").GetBoolean(), json.RootElement.GetProperty("hardware").GetBoolean()));
    }

    [Fact]
    public void A_core_is_dumped_to_a_file_and_the_domain_stays()
    {
        _bench.Works("lab", "create", _bench.Write("demo.cfg", Forever), "-p");
        Assert.Equal("", _bench.Works("lab", "dump-core", "demo", _bench.PathOf("core")));
        Assert.Equal([0x7f, (byte)'E', (byte)'L', (byte)'F'], File.ReadAllBytes(_bench.PathOf("core"))[..4]);
        Assert.Contains("--p---", _bench.Works("lab", "list", "demo"), StringComparison.Ordinal);
        var (exitCode, _, error) = _bench.Run("lab", "dump-core", "demo", _bench.PathOf("no/core"));
        Assert.Equal((1, 1), (exitCode, error.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length));
    }

    [Fact]
    public void Of_creates_that_race_for_a_host_each_gets_its_domain_and_one_started_it()
    {
        var config = _bench.Write("demo.cfg", Forever);
        var names = new[] { "one", "two", "three" };
        var outputs = new (int ExitCode, string Output, string Error)[names.Length];
        var threads = names.Select((name, n) => new Thread(() => outputs[n] = _bench.Run("lab", "create", config, $"name='{name}'", "-p"))).ToList();
        threads.ForEach(static thread => thread.Start());
        threads.ForEach(static thread => thread.Join());
        Assert.All(outputs, static output => Assert.Equal((0, ""), (output.ExitCode, output.Error)));
        Assert.Single(outputs, static output => output.Output.Contains("started 'introspect lab serve'", StringComparison.Ordinal));
        var list = _bench.Works("lab", "list");
        Assert.All(names, name => Assert.Contains(name, list, StringComparison.Ordinal));
        Assert.False(_bench.Host!.HasExited);
    }

    [Fact]
    public void The_host_that_was_started_ends_when_nothing_is_left()
    {
        _bench.Works("lab", "create", _bench.Write("demo.cfg", Forever), "-p");
        using var host = _bench.Host!;
        _bench.Works("lab", "destroy", "demo");
        Assert.True(host.WaitForExit(TimeSpan.FromSeconds(60)));
        Assert.False(File.Exists(_bench.Socket));
        Assert.Contains("nothing is left", File.ReadAllText(_bench.Socket + ".log"), StringComparison.Ordinal);
    }
}
