using System.Globalization;
using System.Net;
using Introspect.Daemon.Hypervisors;
using Introspect.Daemon.Plugins;
using Introspect.Daemon.Service;
using Introspect.Daemon.Sinks;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Xen;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;
using Introspect.Rules.Plugins;
using Introspect.Rules.Pump;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Configuration;

/// <summary>
/// Turns configuration values into a <see cref="DaemonConfiguration"/>. Every mistake is collected, so that one
/// start shows them all; keys that nothing reads are mistakes, too, since most of them are typing errors.
/// </summary>
internal sealed partial class ConfigurationReader
{
    private readonly List<string> _mistakes = [];
    private readonly List<string> _warnings = [];
    private readonly Func<string, string> _where;
    private readonly Func<string, string> _folderOf;
    private readonly bool _isPart;
    private ConfigurationSources _sources = ConfigurationSources.None;

    private ConfigurationReader(Func<string, string> where, Func<string, string> folderOf, bool isPart) => (_where, _folderOf, _isPart) = (where, folderOf, isPart);

    /// <summary>Reads a configuration.</summary>
    /// <param name="root">All values.</param>
    /// <param name="where">Where the value of a path was written.</param>
    /// <param name="folderOf">The folder that files named by the value of a path are looked for in.</param>
    /// <param name="isPart">Some of it could not be read: what is not there may be in that part, and is no mistake.</param>
    /// <param name="provePlugin">Has a plugin run and says what is wrong with it; null: plugins are only looked at.</param>
    /// <returns>The configuration; or null and every mistake, each a line of its own; and what else was read.</returns>
    public static (DaemonConfiguration? Configuration, IReadOnlyList<string> Mistakes, ConfigurationSources Sources) Read(
        IConfiguration root, Func<string, string> where, Func<string, string> folderOf, bool isPart = false, Func<PluginEntry, IReadOnlyList<OptionMistake>>? provePlugin = null)
    {
        var reader = new ConfigurationReader(where, folderOf, isPart) { _provePlugin = provePlugin };
        reader.RefuseOthers(root, "hypervisor", "domains", "metrics", "logging", "sinks", "timeouts", "control", "reload", "otlp", "plugins");
        var timeouts = reader.Section(root, "timeouts", "shutdown", "pump_stall");
        var plugins = reader.ReadPlugins(root.GetSection("plugins"));
        var configuration = new DaemonConfiguration
        {
            Hypervisor = reader.ReadHypervisor(reader.Section(root, "hypervisor", "connect", "xen", "demo", "kernel", "cmdline", "modules", "memory_mib", "vendor")),
            Domains = reader.ReadDomains(root.GetSection("domains"), plugins, needsEvents: !Items(root.GetSection("plugins")).Any()),
            Plugins = plugins,
            Metrics = reader.ReadMetrics(reader.Section(root, "metrics", "listen")),
            Logging = reader.ReadLogging(reader.Section(root, "logging", "level", "console", "file")),
            Sinks = reader.ReadSinks(reader.Section(
                root, "sinks", "capacity", "text", "json_file", "json_format", "json_max_mib", "json_keep",
                "journald", "journald_socket", "syslog", "syslog_facility", "syslog_format", "queue", "queues", "sample_every")),
            Otlp = reader.ReadOtlp(reader.Section(root, "otlp", "endpoint", "protocol", "headers", "timeout", "logs", "metrics", "metrics_interval", "traces")),
            Control = reader.ReadControl(reader.Section(root, "control", "socket", "group")),
            WatchFiles = reader.Flag(reader.Section(root, "reload", "watch"), "watch", true),
            ShutdownTimeout = reader.Duration(timeouts, "shutdown", TimeSpan.FromSeconds(10)),
            PumpStallTimeout = reader.Duration(timeouts, "pump_stall", TimeSpan.FromSeconds(5)),
        };
        return reader._mistakes.Count == 0 ? (configuration with { Warnings = reader._warnings }, [], reader._sources) : (null, reader._mistakes, reader._sources);
    }

    private HypervisorSpec ReadHypervisor(IConfigurationSection section)
    {
        var connect = Text(section, "connect");
        var kernel = Text(section, "kernel");
        var demo = Flag(section, "demo", false);
        var sources = (connect is null ? 0 : 1) + (kernel is null ? 0 : 1) + (demo ? 1 : 0);

        // Where nothing is said, Xen's control domain watches Xen's domains.
        var xen = Flag(section, "xen", sources == 0 && XenHypervisor.IsControlDomain);
        sources += xen ? 1 : 0;
        if (sources != 1 && !(_isPart && sources == 0))
        {
            Mistake(section.Path, null, $"{sources} of connect, xen, kernel and demo are given; give exactly one");
        }

        if (kernel is null && (section["cmdline"] ?? section["modules"] ?? section["modules:0"]) is not null)
        {
            Mistake(section.Path, null, "cmdline and modules belong to a kernel; give kernel, too, or remove them");
        }

        return new()
        {
            Source = xen ? HypervisorSource.Xen : connect is not null ? HypervisorSource.Socket : kernel is not null ? HypervisorSource.Kernel : HypervisorSource.Demo,
            SocketPath = connect,
            KernelPath = kernel,
            CommandLine = Text(section, "cmdline") ?? "",
            Modules = Items(section.GetSection("modules")).Select(i => i.Value ?? "").ToArray(),
            MemoryMiB = (int)Number(section, "memory_mib", HypervisorSpec.DefaultMemoryMiB, HypervisorSpec.MinMemoryMiB, HypervisorSpec.MaxMemoryMiB),
            Vendor = Choice(section, "vendor", CpuVendor.Vmx),
            DemoForever = true,
        };
    }

    private List<DomainPolicy> ReadDomains(IConfigurationSection section, List<PluginSpec> plugins, bool needsEvents)
    {
        var policies = new List<DomainPolicy>();
        foreach (var item in Items(section))
        {
            var before = _mistakes.Count;
            RefuseOthers(item, "match", "events", "deny_protection_clears", "fail", "rules", "symbols");
            var match = Text(item, "match");
            if (match is null)
            {
                Mistake($"{item.Path}:match", null, "is missing; give a domain's number, UUID or name ('*' is every domain)");
            }

            var (about, symbols) = ReadSymbols(item.GetSection("symbols"), hasRules: Items(item.GetSection("rules")).Any());
            var rules = ReadRules(item.GetSection("rules"), symbols);
            var policy = new DomainPolicy(match ?? "*", ReadEvents(item.GetSection("events"), needsSome: needsEvents && rules is null), Flag(item, "deny_protection_clears", false))
            {
                Fail = Choice(item, "fail", FailPolicy.Open),
                Rules = rules,
                Symbols = about,
                Plugins = plugins,
            };
            if (_mistakes.Count == before)
            {
                Prove(item, policy);
            }

            policies.Add(policy);
        }

        if (policies.Count == 0 && !_isPart)
        {
            Mistake(section.Path, null, "names no domain; add one with '- match: \"*\"'");
        }

        return policies;
    }

    // What handlers refuse on every domain is a mistake of the file, not of a domain.
    private void Prove(IConfigurationSection item, DomainPolicy policy)
    {
        try
        {
            EventPump.Check(PolicyHandlers.Make(policy));
        }
        catch (ArgumentException refused)
        {
            Mistake(item.Path, null, Cli.UserError.OneLine(refused.Message));
        }
    }

    // Named from where the configuration is, so that a service finds them wherever it was started.
    private RuleSet? ReadRules(IConfigurationSection section, ISymbolResolver? symbols)
    {
        var paths = Items(section).Select(item => Path.GetFullPath(item.Value ?? "", _folderOf(item.Path))).ToArray();
        if (paths.Length == 0)
        {
            return null;
        }

        _sources = _sources.With(ConfigurationSources.OfRules(paths));
        var diagnostics = new DiagnosticBag();
        var set = RuleFileLoader.Load(paths, diagnostics, symbols);
        foreach (var diagnostic in diagnostics.All)
        {
            // The same files may be for several kinds of domains.
            var found = diagnostic.Severity == DiagnosticSeverity.Error ? _mistakes : _warnings;
            var line = Cli.UserError.OneLine(diagnostic.ToString());
            if (!found.Contains(line))
            {
                found.Add(line);
            }
        }

        return set;
    }

    private EventSelection ReadEvents(IConfigurationSection section, bool needsSome)
    {
        var before = _mistakes.Count;
        RefuseOthers(
            section, "control_registers", "msrs", "cpuid", "breakpoints", "single_steps", "debug_exceptions",
            "descriptor_accesses", "guest_requests", "vmexits", "read", "write", "execute");
        var events = new List<MonitorEvent>();
        foreach (var item in Items(section.GetSection("control_registers")))
        {
            if (SelectionParser.TryControlRegister(item.Value ?? "", out var register, out var mistake))
            {
                Add(item, new MonitorEvent.ControlRegister(register));
            }
            else
            {
                Mistake(item.Path, null, mistake);
            }
        }

        foreach (var item in Items(section.GetSection("msrs")))
        {
            if (SelectionParser.TryMsr(item.Value ?? "", out var number, out var mistake))
            {
                Add(item, new MonitorEvent.Msr(number));
            }
            else
            {
                Mistake(item.Path, null, mistake);
            }
        }

        AddWhen("cpuid", new MonitorEvent.Cpuid());
        AddWhen("breakpoints", new MonitorEvent.SoftwareBreakpoint());
        AddWhen("single_steps", new MonitorEvent.SingleStep());
        AddWhen("debug_exceptions", new MonitorEvent.DebugException());
        AddWhen("descriptor_accesses", new MonitorEvent.DescriptorAccess());
        AddWhen("guest_requests", new MonitorEvent.GuestRequest());
        AddWhen("vmexits", new MonitorEvent.VmExit());

        var memory = new List<MemoryWatch>();
        ReadRanges("read", MemAccessFlags.Read);
        ReadRanges("write", MemAccessFlags.Write);
        ReadRanges("execute", MemAccessFlags.Execute);
        var selection = new EventSelection { Events = events, Memory = memory };
        if (needsSome && selection.IsEmpty && _mistakes.Count == before)
        {
            Mistake(section.Path, null, "watches nothing; switch an event on, for example 'cpuid: true', or name files of rules");
        }

        return selection;

        void AddWhen(string key, MonitorEvent monitorEvent)
        {
            if (Flag(section, key, false))
            {
                events.Add(monitorEvent);
            }
        }

        void Add(IConfigurationSection item, MonitorEvent monitorEvent)
        {
            if (events.Contains(monitorEvent))
            {
                Mistake(item.Path, item.Value, "is named twice; remove one");
                return;
            }

            events.Add(monitorEvent);
        }

        void ReadRanges(string key, MemAccessFlags watched)
        {
            foreach (var item in Items(section.GetSection(key)))
            {
                if (SelectionParser.TryRange(item.Value ?? "", watched, out var watch, out var mistake))
                {
                    memory.Add(watch);
                }
                else
                {
                    Mistake(item.Path, null, mistake);
                }
            }
        }
    }

    private MetricsOptions ReadMetrics(IConfigurationSection section)
    {
        var text = section["listen"] ?? "127.0.0.1:9660";
        if (text is "" or "off")
        {
            return new(Listen: null);
        }

        // A bare address would parse with port 0, which nobody can scrape.
        var hasPort = text.LastIndexOf(':') > text.LastIndexOf(']') && text.LastIndexOf(':') > 0;
        if (hasPort && IPEndPoint.TryParse(text, out var endpoint))
        {
            return new(endpoint);
        }

        Mistake($"{section.Path}:listen", text, "is no address with a port; write 127.0.0.1:9660, [::1]:9660 or off");
        return new(Listen: null);
    }

    private LoggingOptions ReadLogging(IConfigurationSection section) =>
        new(Choice(section, "level", LogLevel.Information), Flag(section, "console", true), Text(section, "file"));

    private SinkOptions ReadSinks(IConfigurationSection section) =>
        WithExports(
            new((int)Number(section, "capacity", 8192, 16, 1 << 20), Flag(section, "text", false), Text(section, "json_file"))
            {
                Queue = Choice(section, "queue", QueuePolicy.DropNewest),
                Queues = ReadQueues(section.GetSection("queues")),
                SampleEvery = (int)Number(section, "sample_every", SinkOptions.DefaultSampleEvery, 2, 1_000_000),
            },
            section);

    private QueuePolicies ReadQueues(IConfigurationSection section)
    {
        RefuseOthers(section, [.. SinkOptions.Names]);
        return new(SinkOptions.Names.Where(name => Text(section, name) is not null).ToDictionary(name => name, name => Choice(section, name, QueuePolicy.DropNewest)));
    }

    private ControlOptions ReadControl(IConfigurationSection section)
    {
        var socket = Text(section, "socket");
        if (socket is not null and not "off" && !Path.IsPathRooted(socket))
        {
            Mistake($"{section.Path}:socket", socket, "is no absolute path; write /run/introspect/control.sock, or off");
        }
        else if (socket is not null && System.Text.Encoding.UTF8.GetByteCount(socket) > ControlOptions.LongestPath)
        {
            Mistake($"{section.Path}:socket", socket, $"is longer than a socket's path may be; use at most {ControlOptions.LongestPath} bytes");
        }

        return new(socket == "off" ? null : socket ?? ControlOptions.DefaultSocket, Text(section, "group")) { IsDefault = socket is null };
    }

    private IConfigurationSection Section(IConfiguration root, string key, params ReadOnlySpan<string> known)
    {
        var section = root.GetSection(key);
        RefuseOthers(section, known);
        return section;
    }

    private void RefuseOthers(IConfiguration section, params ReadOnlySpan<string> known)
    {
        if (section is IConfigurationSection { Value: { Length: > 0 } scalar } own)
        {
            Mistake(own.Path, scalar, $"is a value where a section must be; write '{own.Key}:' and the keys below it");
        }

        foreach (var child in section.GetChildren())
        {
            if (!Contains(known, child.Key))
            {
                Mistake(child.Path, null, $"is not known; known here: {string.Join(", ", known.ToArray())}");
            }
        }
    }

    private static bool Contains(ReadOnlySpan<string> known, string key)
    {
        foreach (var name in known)
        {
            if (name.Equals(key, StringComparison.OrdinalIgnoreCase))
            {
                return true;
            }
        }

        return false;
    }

    // A sequence in its own order: children come sorted as numbers are. A list in an environment variable is one
    // value with commas.
    private static IEnumerable<IConfigurationSection> Items(IConfigurationSection section)
    {
        if (section.Value is not { Length: > 0 } list)
        {
            return section.GetChildren();
        }

        var split = new ConfigurationBuilder().AddInMemoryCollection(
            list.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
                .Select((item, i) => KeyValuePair.Create(ConfigurationPath.Combine(section.Path, i.ToString(CultureInfo.InvariantCulture)), (string?)item)));
        return split.Build().GetSection(section.Path).GetChildren();
    }

    private static string? Text(IConfigurationSection section, string key) =>
        section[key] is { Length: > 0 } text ? text : null;

    private bool Flag(IConfigurationSection section, string key, bool otherwise)
    {
        switch (section[key]?.ToLowerInvariant())
        {
            case null or "":
                return otherwise;
            case "true" or "yes" or "on":
                return true;
            case "false" or "no" or "off":
                return false;
            default:
                Mistake($"{section.Path}:{key}", section[key], "is neither true nor false");
                return otherwise;
        }
    }

    private ulong Number(IConfigurationSection section, string key, ulong otherwise, ulong least, ulong most)
    {
        if (Text(section, key) is not { } text)
        {
            return otherwise;
        }

        if (SelectionParser.TryNumber(text, out var value) && value >= least && value <= most)
        {
            return value;
        }

        Mistake($"{section.Path}:{key}", text, $"is no number from {least} to {most}");
        return otherwise;
    }

    private TimeSpan Duration(IConfigurationSection section, string key, TimeSpan otherwise)
    {
        if (Text(section, key) is not { } text)
        {
            return otherwise;
        }

        if (SelectionParser.TryDuration(text, out var duration, out var mistake))
        {
            return duration;
        }

        Mistake($"{section.Path}:{key}", null, mistake);
        return otherwise;
    }

    private T Choice<T>(IConfigurationSection section, string key, T otherwise)
        where T : struct, Enum
    {
        if (Text(section, key) is not { } text)
        {
            return otherwise;
        }

        // Enum.TryParse takes numbers, too, which mean nothing to a reader of the file.
        if (char.IsAsciiLetter(text[0]) && Enum.TryParse<T>(text.Replace("_", "", StringComparison.Ordinal), ignoreCase: true, out var value))
        {
            return value;
        }

        Mistake($"{section.Path}:{key}", text, $"is none of {string.Join(", ", Enum.GetNames<T>().Select(SnakeCase))}");
        return otherwise;
    }

    private void Mistake(string path, string? value, string what) =>
        _mistakes.Add(value is null ? $"{_where(path)}: {Readable(path)}: {what}" : $"{_where(path)}: {Readable(path)}: '{value}' {what}");

    private static string SnakeCase(string name) =>
        string.Concat(name.Select((c, i) => char.IsAsciiLetterUpper(c) && i != 0 ? "_" + char.ToLowerInvariant(c) : char.ToLowerInvariant(c).ToString()));

    private static string Readable(string path) => path.Replace(':', '.');
}
