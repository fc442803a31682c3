using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Introspect.Hypervisor;
using Introspect.Rules.Capture;

namespace Introspect.Daemon.Capturing;

/// <summary>What is in a capture, for people and for programs.</summary>
internal static class CaptureReport
{
    private const string Time = "yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'";

    /// <summary>As lines.</summary>
    public static string Text(CaptureSummary summary)
    {
        var (header, domain) = (summary.Header, summary.Header.Domain);
        var text = new StringBuilder();
        Line("format", $"version {header.FormatVersion}, vm_event interface {header.InterfaceVersion}, written by {header.Recorder}");
        Line("hypervisor", $"{header.HypervisorName} {header.HypervisorVersion}");
        Line("domain", $"{domain.Id} {domain.Name} {domain.Uuid}, {Vendor(domain.Vendor)}, {domain.VcpuCount} vCPUs, {domain.MemoryBytes >> 20} MiB, max gfn {domain.MaxGfn}");
        LineOf("started", header.Started.ToString(Time, CultureInfo.InvariantCulture));
        Line("duration", $"{summary.Duration.TotalSeconds:0.000} s, ended by {summary.End?.Reason ?? "nothing: it was cut off"}");
        LineOf("watched", Watched(header));
        if (header.Windows.Count != 0)
        {
            Line("memory", $"{string.Join(", ", header.Windows)}: {summary.MemoryBytes} bytes at {summary.WithMemory} events");
        }

        Line("events", $"{summary.Events}, of which {summary.Decided} were decided by handlers; {summary.Lines} console lines, {summary.Symbols} symbols");
        foreach (var (reason, count) in summary.ByReason)
        {
            text.Append(CultureInfo.InvariantCulture, $"  {ReasonNames.Of(reason).PadRight(ReasonNames.Width)}  {count,10}\n");
        }

        LineOf("missing", summary.Lost == 0 ? "nothing" : $"{summary.Lost} events in {summary.Gaps} places{(header.MayDrop ? ", as --drop allowed" : "")}");
        var (bytes, raw) = (summary.Bytes, summary.BytesBeforeCompression);
        Line("size", $"{bytes} bytes in {summary.Blocks} blocks, {raw} before compression{(summary.Events != 0 ? $", {bytes / (double)summary.Events:0.0} bytes an event" : "")}");
        LineOf("checksums", Checksums(summary));
        return text.ToString();

        void Line(string name, FormattableString value) => text.Append(CultureInfo.InvariantCulture, $"{name,-12}{value.ToString(CultureInfo.InvariantCulture)}\n");
        void LineOf(string name, string value) => text.Append(CultureInfo.InvariantCulture, $"{name,-12}{value}\n");
    }

    /// <summary>As one JSON object with its line end.</summary>
    public static void Json(Stream output, CaptureSummary summary)
    {
        var (header, domain) = (summary.Header, summary.Header.Domain);
        using (var json = new Utf8JsonWriter(output, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            json.WriteString("type", "capture");
            json.WriteNumber("format_version", header.FormatVersion);
            json.WriteNumber("interface_version", header.InterfaceVersion);
            json.WriteString("recorder", header.Recorder);
            json.WriteString("hypervisor", header.HypervisorName);
            json.WriteString("hypervisor_version", header.HypervisorVersion);
            json.WriteNumber("domain", domain.Id.Value);
            json.WriteString("domain_name", domain.Name);
            json.WriteString("uuid", domain.Uuid);
            json.WriteString("vendor", Vendor(domain.Vendor));
            json.WriteNumber("vcpus", domain.VcpuCount);
            json.WriteNumber("memory_bytes", domain.MemoryBytes);
            json.WriteString("max_gfn", domain.MaxGfn.ToString());
            json.WriteString("started", header.Started.ToString(Time, CultureInfo.InvariantCulture));
            json.WriteNumber("seconds", Math.Round(summary.Duration.TotalSeconds, 6));
            json.WriteString("end", summary.End?.Reason ?? "incomplete");
            json.WriteStartArray("watched");
            foreach (var watched in WatchedNames(header))
            {
                json.WriteStringValue(watched);
            }

            json.WriteEndArray();
            json.WriteNumber("events", summary.Events);
            json.WriteNumber("decided", summary.Decided);
            json.WriteStartObject("by_reason");
            foreach (var (reason, count) in summary.ByReason)
            {
                json.WriteNumber(ReasonNames.Of(reason), count);
            }

            json.WriteEndObject();
            json.WriteNumber("gaps", summary.Gaps);
            json.WriteNumber("lost", summary.Lost);
            json.WriteNumber("console_lines", summary.Lines);
            json.WriteNumber("memory_bytes_taken", summary.MemoryBytes);
            json.WriteNumber("bytes", summary.Bytes);
            json.WriteNumber("bytes_before_compression", summary.BytesBeforeCompression);
            json.WriteNumber("blocks", summary.Blocks);
            json.WriteNumber("cut_off_bytes", summary.CutOffBytes);
            json.WriteBoolean("intact", summary.Damage is null);
            if (summary.Damage is { } damage)
            {
                json.WriteString("damage", damage.Message);
            }

            json.WriteEndObject();
        }

        output.Write("\n"u8);
    }

    private static string Checksums(CaptureSummary summary) =>
        summary.Damage is { } damage ? damage.Message
        : summary.CutOffBytes != 0 ? string.Create(CultureInfo.InvariantCulture, $"right in all whole blocks; {summary.CutOffBytes} bytes behind them, from offset 0x{summary.Bytes:x} on, were cut off")
        : "right in all blocks";

    private static string Watched(CaptureHeader header) => WatchedNames(header) is { Count: > 0 } names ? string.Join(", ", names) : "nothing";

    private static List<string> WatchedNames(CaptureHeader header)
    {
        var watched = header.Watched;
        return
        [
            .. watched.Events.Select(Describe),
            .. watched.Interrupts ? ["interrupt"] : Array.Empty<string>(),
            .. watched.Memory.Select(range => $"{Output.EventDetail.Rights(range.Watched)} 0x{range.First.Value:x}+0x{range.Count:x} pages"),
            .. watched.Breakpoints.Select(address => $"int3 at {address}"),
            .. watched.AddressSpaces.Select(root => $"only cr3 0x{root:x}"),
        ];
    }

    private static string Describe(MonitorEvent e) => e switch
    {
        MonitorEvent.ControlRegister c => Output.EventDetail.Register(c.Register).ToLowerInvariant() + (c.WatchMask == ~0UL ? "" : $" mask 0x{c.WatchMask:x}") + (c.Sync ? "" : " async"),
        MonitorEvent.Msr m => MsrNames.TryGetName(m.Number, out var name) ? name : $"msr 0x{m.Number:x}",
        MonitorEvent.SingleStep => "singlestep",
        MonitorEvent.SoftwareBreakpoint => "software_breakpoint",
        MonitorEvent.GuestRequest => "guest_request",
        MonitorEvent.DebugException => "debug_exception",
        MonitorEvent.Cpuid => "cpuid",
        MonitorEvent.DescriptorAccess => "descriptor_access",
        MonitorEvent.EmulUnimplemented => "emul_unimplemented",
        MonitorEvent.VmExit => "vmexit",
        MonitorEvent.IoInstruction => "io_instruction",
        _ => e.GetType().Name.ToLowerInvariant(),
    };

    private static string Vendor(CpuVendor vendor) => vendor == CpuVendor.Vmx ? "vmx" : "svm";
}
