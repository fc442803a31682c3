using Introspect.Daemon.Tests.Control;
using Introspect.Hypervisor.Core.Building.Demo;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary>Every command line that the documents show is run, and does what it is shown for.</summary>
public sealed class DocumentedCommandTests(DocumentedCommandTests.Machine machine) : IClassFixture<DocumentedCommandTests.Machine>
{
    public static TheoryData<string> Manual => [.. DocumentedCommand.In("docs", "cli.md").Distinct()];

    public static TheoryData<string> OfCaptures => [.. DocumentedCommand.In("docs", "capture.md").Distinct()];

    public static TheoryData<string> Rules => [.. DocumentedCommand.In("docs", "rules.md").Distinct()];

    public static TheoryData<string> Readme => [.. DocumentedCommand.In("README.md").Distinct()];

    [Theory]
    [MemberData(nameof(Manual))]
    public Task A_command_of_the_manual_works(string command) => Works(command);

    public static TheoryData<string> Service => [.. DocumentedCommand.In("docs", "service.md").Concat(DocumentedCommand.In("docs", "configuration.md")).Distinct()];

    [Theory]
    [MemberData(nameof(Service))]
    public Task A_command_of_the_services_documents_works(string command) => Works(command);

    [Theory]
    [MemberData(nameof(OfCaptures))]
    public Task A_command_around_captures_works(string command) => Works(command);

    [Theory]
    [MemberData(nameof(Rules))]
    public Task A_command_about_rules_works(string command) => Works(command);

    [Theory]
    [MemberData(nameof(Readme))]
    public Task A_command_of_the_readme_works(string command) => Works(command);

    [Fact]
    public void The_first_commands_of_the_readme_are_those_that_every_submission_runs()
    {
        var readme = File.ReadAllText(Repository.PathOf("README.md"));
        var block = readme.Split("```sh\n")[1].Split("```")[0];
        var script = File.ReadAllText(Repository.PathOf(".ci", "run"));
        var commands = block.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(2, commands.Length);
        Assert.All(commands, command => Assert.Contains("\n" + command, script, StringComparison.Ordinal));
    }

    private async Task Works(string command)
    {
        var words = machine.Localise(DocumentedCommand.Words(command));
        var (exitCode, output, error) = await DocumentedCommand.RunAsync(words, machine.IsEnough(words), machine.IsDone(words));
        Assert.True(exitCode == 0, $"{command}: exit code {exitCode}\n{error}\n{output}");
        Assert.Equal("", error);
        Assert.True(machine.IsWhatIsShown(words, output), $"{command} wrote:\n{output}");
    }

    /// <summary>What the commands are run on: a lab with a demo guest, and files by the names of the documents.</summary>
    public sealed class Machine : IAsyncLifetime, IDisposable
    {
        private readonly string _folder = Directory.CreateTempSubdirectory("introspect-docs-").FullName;
        private readonly Lab _lab = new();
        private RunningService? _service;
        private int _sockets;

        public Machine()
        {
            Assert.True(_lab.GuestGoesOn, "the guest has to boot first");
            File.WriteAllBytes(Path.Combine(_folder, "kernel"), DemoGuest.Build().Image);
            File.WriteAllBytes(Path.Combine(_folder, "forever"), DemoGuest.Build(new() { Forever = true }).Image);
            var recorded = DocumentedCommand.RunAsync(["record", "--demo", "-o", Path.Combine(_folder, "demo.ivc")], _ => false, Task.Delay(Timeout.Infinite)).GetAwaiter().GetResult();
            Assert.True(recorded.ExitCode == 0, recorded.Error);
            File.WriteAllText(Path.Combine(_folder, "introspect.yaml"), $$"""
                hypervisor: { demo: true }
                domains: [ { match: "*", events: { cpuid: true } } ]
                metrics: { listen: "off" }
                logging: { console: false }
                sinks: { json_file: {{Path.Combine(_folder, "events")}} }
                """);
        }

        public async Task InitializeAsync() => _service = await RunningService.StartAsync();

        public async Task DisposeAsync() => await _service!.DisposeAsync();

        public void Dispose()
        {
            _lab.Dispose();
            Directory.Delete(_folder, recursive: true);
        }

        /// <summary>Puts what is here in the place of what the documents name.</summary>
        internal string[] Localise(string[] words)
        {
            var serves = words[0] == "lab";
            if (words[0] is "reload" or "top")
            {
                // Of whatever service they are shown, here it is this one.
                var socket = Array.IndexOf(words, "--socket");
                return [.. socket < 0 ? words : words.Where((_, i) => i != socket && i != socket + 1), "--socket", _service!.Socket];
            }

            return [.. words.Select((word, i) => (i == 0 ? "" : words[i - 1], word) switch
            {
                ("--socket", _) => Path.Combine(_folder, $"{++_sockets}.sock"),
                ("--connect", _) when !serves => _lab.Socket,
                ("--kernel", _) => Path.Combine(_folder, "kernel"),
                ("--symbols", _) => Path.Combine(_folder, "forever"),
                ("-o", _) => Path.Combine(_folder, $"{++_sockets}.ivc"),
                (_, "demo.ivc") => Path.Combine(_folder, "demo.ivc"),
                ("--config", _) => Path.Combine(_folder, "introspect.yaml"),
                ("--junit", _) => Path.Combine(_folder, "report.xml"),
                (_, var path) when path.StartsWith("deploy/", StringComparison.Ordinal) => Repository.PathOf(path.Split('/')),
                _ => word,
            })];
        }

        /// <summary>When a command without an end of its own has done what it is shown for.</summary>
        internal Func<string, bool> IsEnough(string[] words) => words[0] switch
        {
            "lab" => output => output.Contains("listening at", StringComparison.Ordinal),
            "top" => output => output.Contains("demo", StringComparison.Ordinal),
            "trace" when !words.Contains("--count") && words.Contains("--connect") => output => output.Contains("  d1 v0  ", StringComparison.Ordinal),
            _ => _ => false,
        };

        /// <summary>Done when the service, which shows nothing, has an event in its sink.</summary>
        internal async Task IsDone(string[] words)
        {
            // What an earlier command left would end this one while it starts.
            var events = new FileInfo(Path.Combine(_folder, "events"));
            events.Delete();
            do
            {
                await Task.Delay(words[0] == "run" ? 20 : Timeout.Infinite);
                events.Refresh();
            }
            while (!events.Exists || events.Length == 0);
        }

        internal bool IsWhatIsShown(string[] words, string output) => words[0] switch
        {
            "trace" when words.Contains("--json") => output.Contains("\"type\":\"event\"", StringComparison.Ordinal),
            "trace" => output.Contains("  d1 v0  ", StringComparison.Ordinal) && output.Contains("ended by", StringComparison.Ordinal),
            "rules" when words[1] == "check" => words.Contains("--json") ? output.Length == 0 : output.Contains("right; 11 rules", StringComparison.Ordinal),
            "rules" when words[1] == "explain" => output.Contains("writes of CR4 that change SMEP, SMAP (mask 0x300000), async", StringComparison.Ordinal),
            "rules" => output.Contains(", 0 failed", StringComparison.Ordinal),
            "list" or "domains" => output.Contains("demo", StringComparison.Ordinal),
            "config" => output.Contains(": right; policies: 1", StringComparison.Ordinal),
            "reload" => output.Contains("the configuration is in force", StringComparison.Ordinal),
            "top" => output.Contains("watching 1 of 1 domains", StringComparison.Ordinal),
            "recover" when words.Contains("--state") => output.Contains("nothing was left", StringComparison.Ordinal),
            "recover" => output.Contains("domain 1", StringComparison.Ordinal),
            "regs" => output.Contains("r15", StringComparison.Ordinal),
            "mem" => output.Length > 50,
            "disasm" => output.Split('\n').Length > 5,
            "record" => output.StartsWith("recorded ", StringComparison.Ordinal),
            "replay" when words.Contains("--json") => output.Contains("\"type\":\"event\"", StringComparison.Ordinal),
            "replay" => output.Contains("  d1 v0  ", StringComparison.Ordinal) && output.Contains("ended by poweroff", StringComparison.Ordinal),
            "capture" => output.Contains("vmexit", StringComparison.Ordinal),
            _ => true,
        };
    }
}
