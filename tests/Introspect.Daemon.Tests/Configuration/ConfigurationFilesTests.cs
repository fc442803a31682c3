using System.Collections;
using System.Net;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Sinks;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;

namespace Introspect.Daemon.Tests.Configuration;

/// <summary>One file and those of <c>conf.d</c>, as one configuration.</summary>
public sealed class ConfigurationFilesTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-config-").FullName;

    private string Main => Path.Combine(_folder, "introspect.yaml");

    public ConfigurationFilesTests()
    {
        Directory.CreateDirectory(Path.Combine(_folder, "conf.d"));
        File.WriteAllText(Main, """
            hypervisor: { demo: true }
            domains:
              - match: first
                events: { cpuid: true }
            logging:
              level: debug
              console: false
            sinks:
              capacity: 100
            """);
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void mappings_are_merged_later_values_win_and_domains_are_appended_in_the_order_of_names()
    {
        Add("20-last.yaml", "domains: [ { match: third, events: { cpuid: true } } ]\nlogging: { level: error }");
        Add("10-next.yaml", "domains:\n  - match: second\n    events: { msrs: [lstar] }\nlogging:\n  level: warning\nsinks: { text: true }");
        Add(".10-next.yaml.swp.yaml", "not: read");
        Add("30-old.yaml.dpkg-old", "not: read");
        var read = Load();
        Assert.Equal(["first", "second", "third"], read.Domains.Select(d => d.Match));
        Assert.Equal((Microsoft.Extensions.Logging.LogLevel.Error, false), (read.Logging.Level, read.Logging.Console));
        Assert.Equal((100, true), (read.Sinks.Capacity, read.Sinks.Text));
        Assert.Equal([Main, InFolder("10-next.yaml"), InFolder("20-last.yaml")], read.Files);
    }

    [Fact]
    public void a_later_list_takes_the_place_of_an_earlier_one()
    {
        File.WriteAllText(Main, "hypervisor: { kernel: k, modules: [a, b, c] }\ndomains: [ { match: x, events: { cpuid: true } } ]");
        Add("a.yaml", "hypervisor: { modules: [d] }");
        Assert.Equal(["d"], Load().Hypervisor.Modules);
    }

    [Fact]
    public void files_that_say_nothing_say_nothing()
    {
        Add("a.yaml", "# nothing yet\n");
        Add("b.yaml", "logging:\nsinks:\n");
        Assert.Equal(100, Load().Sinks.Capacity);
    }

    [Fact]
    public void the_mistakes_of_all_files_are_told_at_once_each_with_its_place()
    {
        Add("a.yaml", "domains:\n  - match: second\n    events:\n      cpuid: perhaps\n      msrs:\n        - lstar\n        - nothing\n");
        Add("b.yaml", "sinks: [\n");
        Add("c.yaml", "metrics:\n  listen: here\ndomain:\n  x: 1\n");
        var mistakes = Assert.Throws<ConfigurationMistakes>(Load).Mistakes;
        Assert.Equal(5, mistakes.Count);
        Told("b.yaml", null, "not YAML");
        Told("a.yaml", 4, "domains.1.events.cpuid: 'perhaps'");
        Told("a.yaml", 7, "domains.1.events.msrs.1: 'nothing' is no MSR");
        Told("c.yaml", 2, "metrics.listen: 'here'");
        Told("c.yaml", 3, "domain: is not known");

        void Told(string file, int? line, string what) => Assert.Single(
            mistakes, m => m.StartsWith($"{InFolder(file)}:{line}", StringComparison.Ordinal) && m.Contains(what, StringComparison.Ordinal));
    }

    [Fact]
    public void what_is_missing_is_no_mistake_where_it_may_be_in_a_file_that_cannot_be_read()
    {
        File.WriteAllText(Main, "domains: [\n");
        var mistake = Assert.Single(Assert.Throws<ConfigurationMistakes>(Load).Mistakes);
        Assert.StartsWith($"{Main}:", mistake, StringComparison.Ordinal);
    }

    [Fact]
    public void a_mistake_in_the_environment_is_told_with_its_variable()
    {
        var mistakes = Assert.Throws<ConfigurationMistakes>(() => ConfigurationLoader.Load(Main, new Hashtable
        {
            ["INTROSPECT_SINKS__CAPACITY"] = "1",
            ["INTROSPECT_DOMAINS__0__EVENTS__MSRS"] = "lstar, nothing",
        })).Mistakes;
        Assert.Equal(2, mistakes.Count);
        Assert.Contains(mistakes, m => m.StartsWith("INTROSPECT_SINKS__CAPACITY: sinks.capacity: '1'", StringComparison.Ordinal));
        Assert.Contains(mistakes, m => m.StartsWith("INTROSPECT_DOMAINS__0__EVENTS__MSRS: domains.0.events.msrs.1: 'nothing'", StringComparison.Ordinal));
    }

    [Fact]
    public void an_event_that_no_hypervisor_can_send_is_a_mistake_of_the_file()
    {
        Add("a.yaml", "\ndomains:\n  - match: second\n    events: { msrs: [0x12345678] }\n");
        var mistake = Assert.Single(Assert.Throws<ConfigurationMistakes>(Load).Mistakes);
        Assert.StartsWith($"{InFolder("a.yaml")}:4: domains.1.events.msrs.0: ", mistake, StringComparison.Ordinal);
        Assert.Contains("0x12345678", mistake, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("? [a, b]\n: c")]
    [InlineData("a:b: c")]
    public void a_key_that_is_no_word_is_a_mistake(string yaml)
    {
        Add("a.yaml", yaml);
        Assert.Contains(Assert.Throws<ConfigurationMistakes>(Load).Mistakes, m => m.StartsWith($"{InFolder("a.yaml")}:1: ", StringComparison.Ordinal) && m.Contains("is no key", StringComparison.Ordinal));
    }

    [Fact]
    public void the_keys_of_the_service_are_read_and_have_their_defaults()
    {
        var read = Load();
        Assert.Equal(new ControlOptions("/run/introspect/control.sock", null) { IsDefault = true }, read.Control);
        Assert.True(read.WatchFiles);
        Assert.Equal((QueuePolicy.DropNewest, QueuePolicy.DropNewest, 10), (read.Sinks.QueueOf("text").Policy, read.Sinks.QueueOf("json").Policy, read.Sinks.SampleEvery));
        Assert.Equal(FailPolicy.Open, read.Domains[0].Fail);

        Add("a.yaml", """
            control: { socket: /run/x.sock, group: wheel }
            reload: { watch: false }
            sinks: { queue: sample, queues: { json: block }, sample_every: 100 }
            domains: [ { match: second, fail: closed, events: { cpuid: true } } ]
            metrics: { listen: "0.0.0.0:9660" }
            """);
        read = Load();
        Assert.Equal(new ControlOptions("/run/x.sock", "wheel"), read.Control);
        Assert.False(read.WatchFiles);
        Assert.Equal((QueuePolicy.Sample, QueuePolicy.Block, 100), (read.Sinks.QueueOf("text").Policy, read.Sinks.QueueOf("json").Policy, read.Sinks.QueueOf("json").SampleEvery));
        Assert.Equal(FailPolicy.Closed, read.Domains[1].Fail);
        Assert.Equal(new IPEndPoint(IPAddress.Any, 9660), read.Metrics.Listen);
        Add("b.yaml", "control: { socket: \"off\" }");
        Assert.Null(Load().Control.Socket);
        Add("b.yaml", "control: { socket: run.sock }\nsinks: { queues: { json: drop, disk: block } }");
        Assert.Equal(3, Assert.Throws<ConfigurationMistakes>(Load).Mistakes.Count);
    }

    [Fact]
    public void check_tells_what_is_right_and_what_is_not()
    {
        var (exitCode, output, error) = Run("config", "check", "--config", Main);
        Assert.Equal((0, ""), (exitCode, error));
        Assert.Equal($"{Main}: right; policies: 1\n", output);
        Add("a.yaml", "x: 1\ny: 2\n");
        (exitCode, output, error) = Run("config", "check", "--config", Main);
        Assert.Equal((2, ""), (exitCode, output));
        Assert.Equal(2, error.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length);
        Assert.Contains($"introspect: {InFolder("a.yaml")}:2: y: is not known", error, StringComparison.Ordinal);
    }

    [Fact]
    public void a_fail_policy_stands_in_for_every_handler_of_the_policy()
    {
        Add("a.yaml", "domains: [ { match: second, fail: closed, deny_protection_clears: true, events: { cpuid: true } } ]");
        var handlers = Introspect.Daemon.Service.PolicyHandlers.Make(Load().Domains[1]);
        Assert.Equal(2, handlers.Count);
        Assert.All(handlers, h => Assert.Equal(FailPolicy.Closed, h.FailPolicy));
        var subscription = new SubscriptionBuilder("check");
        handlers[1].Handler.Subscribe(subscription);
        Assert.Equal(ControlRegisterIndex.Cr4, Assert.Single(subscription.Build().ControlRegisters).Register);
    }

    private static (int ExitCode, string Output, string Error) Run(params string[] words)
    {
        using var stream = new MemoryStream();
        using var output = new StringWriter();
        using var error = new StringWriter { NewLine = "\n" };
        using var commands = new Commands(new Introspect.Daemon.Hypervisors.HypervisorFactory(), stream, isTerminal: false, _ => null);
        var exitCode = CommandLine.InvokeAsync(words, commands, output, error, CancellationToken.None).GetAwaiter().GetResult();
        return (exitCode, System.Text.Encoding.UTF8.GetString(stream.ToArray()), error.ToString());
    }

    private DaemonConfiguration Load() => ConfigurationLoader.Load(Main, new Hashtable());

    private string InFolder(string name) => Path.Combine(_folder, "conf.d", name);

    private void Add(string name, string yaml) => File.WriteAllText(InFolder(name), yaml);
}
