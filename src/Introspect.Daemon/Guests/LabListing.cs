using System.Globalization;
using System.Text;
using System.Text.Json;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Daemon.Guests;

/// <summary>A domain as <c>lab list</c> shows it.</summary>
/// <param name="Domain">Number, name, memory, vCPUs.</param>
/// <param name="Flags">What it is doing.</param>
/// <param name="Shutdown">Why it shut down, where it did.</param>
/// <param name="Nanoseconds">How long its vCPUs ran.</param>
/// <param name="Viridian">Features that it has, whatever its description says.</param>
/// <param name="Report">What its keeper tells, where somebody keeps it.</param>
internal sealed record ListedDomain(DomainInfo Domain, DomainInfoFlags Flags, ShutdownReason Shutdown, ulong Nanoseconds, ViridianFeatureSet Viridian, LabReport? Report)
{
    /// <summary>The letters that xl shows: running, blocked, paused, shut down, crashed, dying.</summary>
    public string State => string.Concat(
        Letter(DomainInfoFlags.Running, 'r'),
        Letter(DomainInfoFlags.Blocked, 'b'),
        Letter(DomainInfoFlags.Paused, 'p'),
        Letter(DomainInfoFlags.Shutdown, 's'),
        (Flags & DomainInfoFlags.Shutdown) != 0 && Shutdown == ShutdownReason.Crash ? 'c' : '-',
        Letter(DomainInfoFlags.Dying, 'd'));

    private char Letter(DomainInfoFlags flag, char letter) => (Flags & flag) != 0 ? letter : '-';
}

/// <summary>The domains of a host, for people and for programs.</summary>
internal static class LabListing
{
    private const ulong MiB = 1 << 20;

    /// <summary>Asks for them.</summary>
    public static IReadOnlyList<ListedDomain> Read(CoreHypervisor host, DomainId? only)
    {
        var calls = new ToolstackCalls(host.Toolstack);
        var reports = host.Lab!.ReportAll();
        var raw = calls.ListDomains().ToDictionary(static info => info.Domain);
        var found = new List<ListedDomain>();
        foreach (var domain in host.ListDomains())
        {
            // One that came between the two questions is the next list's.
            if ((only is { } wanted && domain.Id != wanted) || !raw.TryGetValue(domain.Id.Value, out var info))
            {
                continue;
            }

            // Reports of those that have gone may bear a number that is another's by now.
            var report = reports.LastOrDefault(candidate => candidate.Domain == domain.Id.Value && candidate.Uuid == domain.Uuid);
            found.Add(new(domain, info.Flags, info.ShutdownReason, info.CpuTime, ViridianOf(calls, domain), report));
        }

        return found;
    }

    /// <summary>The table that <c>xl list</c> prints.</summary>
    public static string Table(IReadOnlyList<ListedDomain> domains)
    {
        var text = new StringBuilder();
        text.AppendLine($"{"Name",-40}    ID   Mem VCPUs  State    Time(s)");
        foreach (var listed in domains)
        {
            text.AppendLine(string.Create(CultureInfo.InvariantCulture, $"{listed.Domain.Name,-40} {listed.Domain.Id.Value,5} {Memory(listed),5} {listed.Domain.VcpuCount,5}  {listed.State} {listed.Nanoseconds / 1e9,9:0.0}"));
        }

        return text.ToString();
    }

    /// <summary>What each was created from, and is.</summary>
    public static string Long(IReadOnlyList<ListedDomain> domains)
    {
        var text = new StringBuilder();
        foreach (var listed in domains)
        {
            text.AppendLine("(domain");
            foreach (var (key, value) in Settings(listed))
            {
                text.AppendLine($"    ({key}{(value.Length == 0 ? "" : " ")}{value})");
            }

            text.AppendLine(")");
        }

        return text.ToString();
    }

    /// <summary>An object a domain.</summary>
    public static void WriteJson(Stream output, IReadOnlyList<ListedDomain> domains)
    {
        foreach (var listed in domains)
        {
            using (var json = new Utf8JsonWriter(output))
            {
                json.WriteStartObject();
                json.WriteString("type", "lab_domain");
                json.WriteNumber("domain", listed.Domain.Id.Value);
                json.WriteString("domain_name", listed.Domain.Name);
                json.WriteString("uuid", listed.Domain.Uuid);
                json.WriteString("vendor", Vendor(listed));
                json.WriteNumber("vcpus", listed.Domain.VcpuCount);
                json.WriteNumber("memory_bytes", listed.Domain.MemoryBytes);
                json.WriteString("state", listed.State);
                json.WriteBoolean("hardware", listed.Domain.IsHardwareDomain);
                json.WriteBoolean("control", listed.Domain.IsControlDomain);
                json.WriteNumber("cpu_seconds", listed.Nanoseconds / 1e9);
                json.WriteStartArray("viridian");
                foreach (var feature in ViridianFeatureList.ToNames(listed.Viridian))
                {
                    json.WriteStringValue(feature);
                }

                json.WriteEndArray();
                WriteReport(json, listed.Report);
                json.WriteEndObject();
            }

            output.Write("\n"u8);
        }

        output.Flush();
    }

    private static void WriteReport(Utf8JsonWriter json, LabReport? report)
    {
        if (report is null)
        {
            return;
        }

        json.WriteNumber("boot", report.Boot);
        if (report.Reason is { } reason)
        {
            json.WriteString("last_end", reason);
        }

        if (report.Description is not { } description)
        {
            return;
        }

        json.WriteString("kernel", description.Kernel ?? "");
        json.WriteString("cmdline", description.CommandLine);
        json.WriteStartArray("without_cpu_features");
        foreach (var feature in description.WithoutCpuFeatures)
        {
            json.WriteStringValue(feature);
        }

        json.WriteEndArray();
        json.WriteString("on_poweroff", Action(description.OnPoweroff));
        json.WriteString("on_reboot", Action(description.OnReboot));
        json.WriteString("on_crash", Action(description.OnCrash));
        json.WriteString("on_watchdog", Action(description.OnWatchdog));
    }

    private static IEnumerable<(string Key, string Value)> Settings(ListedDomain listed)
    {
        yield return ("domid", listed.Domain.Id.Value.ToString(CultureInfo.InvariantCulture));
        yield return ("name", Quoted(listed.Domain.Name));
        yield return ("uuid", listed.Domain.Uuid.ToString());
        yield return ("type", "pvh");
        yield return ("vendor", Vendor(listed));
        yield return ("memory", Memory(listed).ToString(CultureInfo.InvariantCulture));
        yield return ("vcpus", listed.Domain.VcpuCount.ToString(CultureInfo.InvariantCulture));
        yield return ("state", listed.State);
        if (listed.Domain.IsHardwareDomain || listed.Domain.IsControlDomain)
        {
            yield return ("roles", string.Join(' ', new[] { listed.Domain.IsHardwareDomain ? "hardware" : null, listed.Domain.IsControlDomain ? "control" : null }.OfType<string>()));
        }

        yield return ("viridian", ViridianFeatureList.Format(listed.Viridian));
        if (listed.Report is { } report)
        {
            yield return ("boot", report.Boot.ToString(CultureInfo.InvariantCulture));
        }

        if (listed.Report?.Description is not { } description)
        {
            yield break;
        }

        yield return ("kernel", Quoted(description.Kernel ?? ""));
        if (description.Modules is [var ramdisk, ..])
        {
            yield return ("ramdisk", Quoted(ramdisk));
        }

        yield return ("cmdline", Quoted(description.CommandLine));
        if (description.WithoutCpuFeatures.Count != 0)
        {
            yield return ("without_cpu_features", string.Join(' ', description.WithoutCpuFeatures).ToLowerInvariant());
        }

        yield return ("altp2m", description.AltP2m switch { 1 => "mixed", 2 => "external", 3 => "limited", _ => "disabled" });
        yield return ("on_poweroff", Action(description.OnPoweroff));
        yield return ("on_reboot", Action(description.OnReboot));
        yield return ("on_crash", Action(description.OnCrash));
        yield return ("on_watchdog", Action(description.OnWatchdog));
    }

    private static ViridianFeatureSet ViridianOf(ToolstackCalls calls, DomainInfo domain)
    {
        try
        {
            return ViridianFeatureSet.TryFromMask(calls.GetParam(domain.Id.Value, HvmParam.Viridian), out var features) ? features : ViridianFeatureSet.None;
        }
        catch (HypervisorException gone) when (gone.Error == Errno.ESRCH)
        {
            return ViridianFeatureSet.None;
        }
    }

    // What it can use; the special pages come on top.
    private static ulong Memory(ListedDomain listed) => listed.Report?.Description is { } description ? description.MemoryKiB / 1024 : listed.Domain.MemoryBytes / MiB;

    private static string Vendor(ListedDomain listed) => listed.Domain.Vendor.ToString().ToLowerInvariant();

    private static string Quoted(string text) => $"\"{text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)}\"";

    private static string Action(EndAction action) => action switch
    {
        EndAction.Restart => "restart",
        EndAction.RenameRestart => "rename-restart",
        EndAction.Preserve => "preserve",
        EndAction.CoredumpDestroy => "coredump-destroy",
        EndAction.CoredumpRestart => "coredump-restart",
        _ => "destroy",
    };
}
