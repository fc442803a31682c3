using System.Collections;
using System.Net;
using Introspect.Daemon.Configuration;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Tests.Configuration;

public sealed class ConfigurationTests : IDisposable
{
    private const string Least = """
        hypervisor:
          connect: /run/introspect/lab.sock
        domains:
          - match: "*"
            events: { cpuid: true }

        """;

    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-config-").FullName;

    private string FilePath => Path.Combine(_folder, "introspect.yaml");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void the_least_configuration_has_the_defaults_that_are_documented()
    {
        var read = Load(Least);
        Assert.Equal((HypervisorSource.Socket, "/run/introspect/lab.sock"), (read.Hypervisor.Source, read.Hypervisor.SocketPath));
        Assert.Equal(new IPEndPoint(IPAddress.Loopback, 9660), read.Metrics.Listen);
        Assert.Equal(new LoggingOptions(LogLevel.Information, true, null), read.Logging);
        Assert.Equal(new SinkOptions(8192, false, null), read.Sinks);
        Assert.Equal((TimeSpan.FromSeconds(10), TimeSpan.FromSeconds(5)), (read.ShutdownTimeout, read.PumpStallTimeout));
        Assert.Equal([new MonitorEvent.Cpuid()], Assert.Single(read.Domains).Selection.Events);
    }

    [Fact]
    public void everything_can_be_set()
    {
        var read = Load("""
            hypervisor:
              kernel: /boot/vmlinux
              cmdline: console=hvc0
              modules: [initrd, other]
              memory_mib: 256
              vendor: svm
            domains:
              - match: web-*
                deny_protection_clears: true
                events:
                  control_registers: [cr0, xcr0]
                  msrs: [lstar, 0x10]
                  cpuid: yes
                  breakpoints: true
                  single_steps: false
                  debug_exceptions: true
                  descriptor_accesses: on
                  guest_requests: true
                  vmexits: true
                  read: [0x1000-0x1fff]
                  write: [0x2000+0x2000]
                  execute: [0x3000]
              - match: 7
                events: { vmexits: true }
            metrics: { listen: "[::1]:9000" }
            logging: { level: debug, console: false, file: /var/log/x.log }
            sinks: { capacity: 100, text: true, json_file: /var/log/x.ndjson }
            timeouts: { shutdown: 3s, pump_stall: 500ms }
            """);
        Assert.Equal((HypervisorSource.Kernel, "/boot/vmlinux", "console=hvc0", 256, CpuVendor.Svm),
            (read.Hypervisor.Source, read.Hypervisor.KernelPath, read.Hypervisor.CommandLine, read.Hypervisor.MemoryMiB, read.Hypervisor.Vendor));
        Assert.Equal(["initrd", "other"], read.Hypervisor.Modules);
        var policy = read.Domains[0];
        Assert.True(policy.DenyProtectionClears);
        Assert.Equal(
            [
                new MonitorEvent.ControlRegister(ControlRegisterIndex.Cr0), new MonitorEvent.ControlRegister(ControlRegisterIndex.Xcr0),
                new MonitorEvent.Msr(0xc000_0082), new MonitorEvent.Msr(0x10), new MonitorEvent.Cpuid(), new MonitorEvent.SoftwareBreakpoint(),
                new MonitorEvent.DebugException(), new MonitorEvent.DescriptorAccess(), new MonitorEvent.GuestRequest(), new MonitorEvent.VmExit(),
            ],
            policy.Selection.Events);
        Assert.Equal(
            [new MemoryWatch(new(1), 1, MemAccessFlags.Read), new MemoryWatch(new(2), 2, MemAccessFlags.Write), new MemoryWatch(new(3), 1, MemAccessFlags.Execute)],
            policy.Selection.Memory);
        Assert.Equal(new IPEndPoint(IPAddress.IPv6Loopback, 9000), read.Metrics.Listen);
        Assert.Equal(new LoggingOptions(LogLevel.Debug, false, "/var/log/x.log"), read.Logging);
        Assert.Equal(new SinkOptions(100, true, "/var/log/x.ndjson"), read.Sinks);
        Assert.Equal((TimeSpan.FromSeconds(3), TimeSpan.FromMilliseconds(500)), (read.ShutdownTimeout, read.PumpStallTimeout));
    }

    [Fact]
    public void the_environment_overrides_the_file()
    {
        var read = Load(Least, new()
        {
            ["INTROSPECT_METRICS__LISTEN"] = "off",
            ["INTROSPECT_DOMAINS__0__EVENTS__MSRS"] = "lstar, star",
            ["INTROSPECT_DOMAINS__0__MATCH"] = "db",
            ["INTROSPECT_XTF"] = "/somewhere",
            ["OTHER__THING"] = "x",
        });
        Assert.Null(read.Metrics.Listen);
        Assert.Equal("db", read.Domains[0].Match);
        Assert.Equal([new MonitorEvent.Msr(0xc000_0082), new MonitorEvent.Msr(0xc000_0081), new MonitorEvent.Cpuid()], read.Domains[0].Selection.Events);
    }

    [Fact]
    public void every_mistake_is_told_at_once()
    {
        var mistakes = Mistakes("""
            hypervisor:
              connect: a
              kernel: b
              memory_mib: 1
              vendor: via
            domains:
              - events: { control_registers: [cr2, cr0, cr0], msrs: [nothing], read: [x], cpuid: perhaps, cupid: true }
              - match: x
            metrics: { listen: 9660 }
            logging: { level: 2 }
            sinks: { capacity: 1 }
            timeouts: { shutdown: never }
            sink: { capacity: 100 }
            """);
        Assert.Equal(
            [
                "sink: is not known; known here: hypervisor, domains, metrics, logging, sinks, timeouts, control, reload, otlp, plugins",
                "hypervisor: 2 of connect, xen, kernel and demo are given; give exactly one",
                "hypervisor.memory_mib: '1' is no number from 4 to 1048576",
                "hypervisor.vendor: 'via' is none of vmx, svm",
                "domains.0.match: is missing; give a domain's number, UUID or name ('*' is every domain)",
                "domains.0.events.cupid: is not known; known here: control_registers, msrs, cpuid, breakpoints, single_steps, debug_exceptions, descriptor_accesses, guest_requests, vmexits, read, write, execute",
                "domains.0.events.control_registers.0: 'cr2' is no control register that can be watched; name cr0, cr3, cr4 or xcr0",
                "domains.0.events.control_registers.2: 'cr0' is named twice; remove one",
                $"domains.0.events.msrs.0: 'nothing' is no MSR; write a number of 32 bits (0xc0000080) or one of {string.Join(", ", MsrNames.All)}",
                "domains.0.events.cpuid: 'perhaps' is neither true nor false",
                "domains.0.events.read.0: 'x' is no range; write START-END, START+LENGTH or START in guest-physical bytes (0x106000+0x1000)",
                "domains.1.events: watches nothing; switch an event on, for example 'cpuid: true', or name files of rules",
                "metrics.listen: '9660' is no address with a port; write 127.0.0.1:9660, [::1]:9660 or off",
                "logging.level: '2' is none of trace, debug, information, warning, error, critical, none",
                "sinks.capacity: '1' is no number from 16 to 1048576",
                "timeouts.shutdown: 'never' is no time; write seconds, or a number with ms, s, m or h (30s)",
            ],
            mistakes.Select(m => m[(m.IndexOf(": ", StringComparison.Ordinal) + 2)..]));
        Assert.Equal(
            [13, 1, 4, 5, 7, 7, 7, 7, 7, 7, 7, 8, 9, 10, 11, 12],
            mistakes.Select(m => int.Parse(m[(FilePath.Length + 1)..m.IndexOf(": ", StringComparison.Ordinal)], System.Globalization.CultureInfo.InvariantCulture)));
    }

    [Theory]
    [InlineData("", "hypervisor: 0 of connect", "domains: names no domain")]
    [InlineData("hypervisor: demo\ndomains: []", "is a value where a section must be", "domains: names no domain")]
    [InlineData("hypervisor: { demo: true, cmdline: x }\ndomains: [ { match: a, events: { cpuid: true } } ]", "cmdline and modules belong to a kernel", "")]
    public void what_is_missing_is_told_too(string yaml, string first, string second)
    {
        var mistakes = Mistakes(yaml);
        Assert.Contains(mistakes, m => m.Contains(first, StringComparison.Ordinal));
        Assert.Contains(mistakes, m => m.Contains(second, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("- a\n- b", 1, "the file is no mapping")]
    [InlineData("a: 1\n---\nb: 2", 3, "2 documents; keep one")]
    [InlineData("a: [", 2, "not YAML")]
    [InlineData("a: &x [*x]", 1, "beyond reason|not YAML")]
    public void a_file_that_is_no_mapping_is_refused(string yaml, int line, string says)
    {
        var mistake = Mistakes(yaml)[0];
        Assert.Contains(says.Split('|'), part => mistake.Contains(part, StringComparison.Ordinal));
        Assert.StartsWith($"{FilePath}:{line}:", mistake, StringComparison.Ordinal);
    }

    // What would take the stack, and the program with it, or never end.
    [Theory]
    [InlineData("a: ", "[", "nested deeper than 64 levels")]
    [InlineData("a: ", "{a: ", "nested deeper than 64 levels")]
    [InlineData("", "- ", "nested deeper than 64 levels")]
    [InlineData("", "? ", "nested deeper than 64 levels")]
    [InlineData("a: ", "[? ", "nested deeper than 64 levels")]
    public void a_file_that_is_nested_without_end_is_refused(string begin, string level, string says)
    {
        var mistake = Mistakes(begin + string.Concat(Enumerable.Repeat(level, 100_000)))[0];
        Assert.StartsWith($"{FilePath}:1:", mistake, StringComparison.Ordinal);
        Assert.Contains(says, mistake, StringComparison.Ordinal);
        Assert.InRange(mistake.Length, 1, 300);
    }

    [Theory]
    [InlineData("? *a30\n: x", "an alias is no key")]
    [InlineData("? [b, *a30]\n: x", "an alias is no key")]
    [InlineData("b: *a30", "beyond reason")]
    public void what_aliases_make_much_of_is_refused(string last, string says)
    {
        var more = string.Concat(Enumerable.Range(1, 30).Select(i => $"a{i}: &a{i} [{string.Join(',', Enumerable.Repeat($"*a{i - 1}", 10))}]\n"));
        Assert.Contains(Mistakes($"a0: &a0 [x, x]\n{more}{last}"), mistake => mistake.Contains(says, StringComparison.Ordinal));
        Assert.Single(Mistakes($"a0: &a0 [x, x]\n{more}{last}"), mistake => mistake.Contains("beyond reason", StringComparison.Ordinal) || mistake.Contains("no key", StringComparison.Ordinal));
        Assert.Contains(Mistakes("x: &a\n  ? *a\n  : y"), mistake => mistake.Contains("an alias is no key", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("*", 5, "web", true)]
    [InlineData("*", 5, "", true)]
    [InlineData("web-*", 5, "web-1", true)]
    [InlineData("web-*", 5, "db", false)]
    [InlineData("web-?", 5, "web-12", false)]
    [InlineData("5", 5, "web", true)]
    [InlineData("5", 6, "5", false)]
    [InlineData("WEB", 5, "web", false)]
    [InlineData("00000000-0000-0000-0000-000000000005", 5, "web", true)]
    public void a_policy_matches_by_number_uuid_or_name(string match, ushort id, string name, bool matches)
    {
        var domain = new DomainInfo(new(id), name, Guid.Parse($"00000000-0000-0000-0000-{id:x12}"), CpuVendor.Vmx, 1, new(1), 1, DomainState.Running, 0);
        Assert.Equal(matches, new DomainPolicy(match, new(), false).Matches(domain));
    }

    [Fact]
    public void the_example_that_is_shipped_is_right()
    {
        var read = ConfigurationLoader.Load(Repository.PathOf("deploy", "config", "introspect.yaml"), new Hashtable());
        Assert.Equal("*", Assert.Single(read.Domains).Match);
    }

    [Fact]
    public void the_examples_in_the_documentation_are_right()
    {
        var text = File.ReadAllText(Repository.PathOf("docs", "configuration.md"));
        var blocks = text.Split("```yaml\n").Skip(1).Select(block => block.Split("```")[0]).ToList();
        Assert.NotEmpty(blocks);

        // What they name: the starting rules, where the configuration is.
        Directory.CreateSymbolicLink(Path.Combine(Path.GetDirectoryName(FilePath)!, "rules"), Repository.PathOf("deploy", "rules"));
        File.WriteAllText(Path.Combine(Path.GetDirectoryName(FilePath)!, "System.map"), "ffffffff81000000 T _text\n");
        Assert.All(blocks, yaml => Load(yaml));
    }

    private DaemonConfiguration Load(string yaml, Hashtable? environment = null)
    {
        File.WriteAllText(FilePath, yaml);
        return ConfigurationLoader.Load(FilePath, environment ?? []);
    }

    private IReadOnlyList<string> Mistakes(string yaml)
    {
        File.WriteAllText(FilePath, yaml);
        return Assert.Throws<ConfigurationMistakes>(() => ConfigurationLoader.Load(FilePath, new Hashtable())).Mistakes;
    }
}
