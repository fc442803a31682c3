using System.Buffers;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using Introspect.Daemon.Symbols;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Output;

/// <summary>
/// Events as NDJSON: one object a line, by the schema in docs/events.schema.json. Names and meanings only grow;
/// numbers of 64 bits are hexadecimal strings, since readers in other languages round large numbers.
/// </summary>
internal sealed class JsonFormatter : IEventFormatter
{
    private readonly ArrayBufferWriter<byte> _bytes = new(1024);
    private readonly Utf8JsonWriter _json;
    private readonly ISymbolSource? _symbols;

    /// <summary>Makes a formatter.</summary>
    public JsonFormatter(ISymbolSource? symbols)
    {
        _symbols = symbols;
        // The lines are for programs, never for a browser's page.
        _json = new(_bytes, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
    }

    /// <summary>Every event has all its registers.</summary>
    public bool Registers { get; init; }

    /// <inheritdoc/>
    public ReadOnlySpan<byte> Event(in VmEvent e, in EventContext context)
    {
        Begin("event");
        _json.WriteString("time", Timestamp(context.Time));
        _json.WriteNumber("sequence", context.Sequence);
        _json.WriteNumber("domain", context.Domain.Value);
        _json.WriteString("domain_name", context.DomainName);
        _json.WriteNumber("vcpu", e.VcpuId);
        _json.WriteString("reason", ReasonNames.Of(e.Reason));
        _json.WriteBoolean("sync", (e.Flags & VmEventFlags.VcpuPaused) != 0);
        Hex("rip", e.Registers.Rip);
        if (_symbols is not null && _symbols.TryFind(e.Registers.Rip, out var name, out var offset))
        {
            _json.WriteString("symbol", offset == 0 ? name : string.Create(CultureInfo.InvariantCulture, $"{name}+0x{offset:x}"));
        }

        Hex("cr3", e.Registers.Cr3);
        _json.WriteNumber("view", e.AltP2mIndex);
        WriteDetail(e, context.Vendor);
        if (Registers)
        {
            RegistersJson.Write(_json, e.Registers);
        }

        _json.WriteString("verdict", context.Verdict);
        if (context.Rule is { } rule)
        {
            _json.WriteString("rule", rule);
        }

        _json.WriteNumber("handling_ns", (long)context.Handling.TotalNanoseconds);
        return End();
    }

    /// <summary>Formats an alert, with its line end. The result is valid until the next call.</summary>
    public ReadOnlySpan<byte> Alert(AlertRecord alert, DomainInfo domain)
    {
        Begin("alert");
        _json.WriteString("time", Timestamp(new DateTimeOffset(DateTime.SpecifyKind(alert.Time, DateTimeKind.Utc))));
        _json.WriteNumber("domain", alert.Domain.Value);
        _json.WriteString("domain_name", alert.DomainName);
        _json.WriteString("kind", RuleValues.NameOf(alert.Kind));
        _json.WriteString("rule", alert.Rule);
        _json.WriteString("priority", RuleValues.NameOf(alert.Priority));
        _json.WriteStartArray("tags");
        foreach (var tag in alert.Tags)
        {
            _json.WriteStringValue(tag);
        }

        _json.WriteEndArray();
        _json.WriteString("message", alert.Message);
        _json.WriteString("outcome", RuleValues.NameOf(alert.Outcome));
        if (alert.Verdict.Length > 0)
        {
            _json.WriteString("verdict", alert.Verdict);
        }

        _json.WriteNumber("suppressed", alert.Suppressed);
        if (alert.HasEvent)
        {
            ref readonly var e = ref alert.Event;
            _json.WriteNumber("vcpu", e.VcpuId);
            _json.WriteString("reason", ReasonNames.Of(e.Reason));
            _json.WriteBoolean("sync", (e.Flags & VmEventFlags.VcpuPaused) != 0);
            Hex("rip", e.Registers.Rip);
            Hex("cr3", e.Registers.Cr3);
            WriteDetail(e, domain.Vendor);
        }

        return End();
    }

    /// <summary>Formats a line of a guest's console.</summary>
    public ReadOnlySpan<byte> Console(DateTimeOffset time, DomainId domain, string text)
    {
        Begin("console");
        _json.WriteString("time", Timestamp(time));
        _json.WriteNumber("domain", domain.Value);
        _json.WriteString("text", text);
        return End();
    }

    /// <summary>Formats what a trace came to.</summary>
    public ReadOnlySpan<byte> Summary(DateTimeOffset time, TraceSummary summary)
    {
        Begin("summary");
        _json.WriteString("time", Timestamp(time));
        _json.WriteNumber("domain", summary.Domain.Value);
        _json.WriteString("end", summary.End);
        _json.WriteNumber("events", summary.Events);
        _json.WriteNumber("seconds", Math.Round(summary.Elapsed.TotalSeconds, 6));
        _json.WriteNumber("events_per_second", Math.Round(summary.EventsPerSecond, 1));
        _json.WriteNumber("vcpu_paused_seconds", Math.Round(summary.VcpuPaused.TotalSeconds, 9));
        _json.WriteNumber("dropped", summary.Dropped);
        _json.WriteNumber("malformed", summary.Malformed);
        if (summary.Changed is { } changed)
        {
            _json.WriteNumber("changed_verdicts", changed);
        }

        if (summary.Rules is { } rules)
        {
            WriteRules(rules);
        }

        _json.WriteStartObject("by_reason");
        foreach (var (reason, count) in summary.ByReason)
        {
            _json.WriteNumber(ReasonNames.Of(reason), count);
        }

        _json.WriteEndObject();
        _json.WriteStartObject("reasons");
        foreach (var (reason, count) in summary.ByReason)
        {
            if (!summary.Reasons.TryGetValue(reason, out var about))
            {
                continue;
            }

            _json.WriteStartObject(ReasonNames.Of(reason));
            _json.WriteNumber("events", count);
            _json.WriteNumber("vcpu_paused_seconds", Math.Round(about.Paused.TotalSeconds, 9));
            _json.WriteStartObject("topics");
            foreach (var (topic, times) in about.Topics)
            {
                _json.WriteNumber(topic, times);
            }

            _json.WriteEndObject();
            _json.WriteEndObject();
        }

        _json.WriteEndObject();
        return End();
    }

    /// <inheritdoc/>
    public void Dispose() => _json.Dispose();

    private void WriteRules(IReadOnlyList<RuleStatistics> rules)
    {
        _json.WriteStartArray("rules");
        foreach (var rule in rules)
        {
            _json.WriteStartObject();
            _json.WriteString("rule", rule.Rule);
            _json.WriteNumber("matches", rule.Matches);
            _json.WriteNumber("alerts", rule.Alerts);
            _json.WriteNumber("suppressed", rule.Suppressed);
            _json.WriteNumber("throttles", rule.Throttles);
            _json.WriteNumber("failures", rule.Failures);
            _json.WriteEndObject();
        }

        _json.WriteEndArray();
    }

    private void WriteDetail(in VmEvent e, CpuVendor vendor)
    {
        switch (e.Reason)
        {
            case VmEventReason.MemAccess:
                _json.WriteStartObject("mem_access");
                _json.WriteString("access", EventDetail.Rights(e.MemAccess.Flags));
                Hex("gfn", e.MemAccess.Gfn);
                Hex("offset", e.MemAccess.Offset);
                if ((e.MemAccess.Flags & MemAccessFlags.GlaValid) != 0)
                {
                    Hex("gla", e.MemAccess.Gla);
                }

                _json.WriteBoolean("with_gla", (e.MemAccess.Flags & MemAccessFlags.FaultWithGla) != 0);
                _json.WriteBoolean("page_walk", (e.MemAccess.Flags & MemAccessFlags.FaultInGpt) != 0);
                break;
            case VmEventReason.MemPaging:
                _json.WriteStartObject("mem_paging");
                Hex("gfn", e.MemPaging.Gfn);
                _json.WriteNumber("p2m_type", e.MemPaging.P2mType);
                _json.WriteBoolean("dropped", (e.MemPaging.Flags & EventDetail.PagingDropped) != 0);
                _json.WriteBoolean("failed", (e.MemPaging.Flags & EventDetail.PagingFailed) != 0);
                break;
            case VmEventReason.MemSharing:
                _json.WriteStartObject("mem_sharing");
                Hex("gfn", e.MemSharing.Gfn);
                _json.WriteNumber("p2m_type", e.MemSharing.P2mType);
                break;
            case VmEventReason.GuestRequest:
                _json.WriteStartObject("guest_request");
                _json.WriteNumber("cpl", EventDetail.Cpl(e.Registers));
                Hex("rdi", e.Registers.Rdi);
                Hex("rsi", e.Registers.Rsi);
                Hex("rdx", e.Registers.Rdx);
                break;
            case VmEventReason.PrivilegedCall or VmEventReason.EmulUnimplemented:
                _json.WriteStartObject(ReasonNames.Of(e.Reason));
                _json.WriteNumber("cpl", EventDetail.Cpl(e.Registers));
                break;
            case VmEventReason.WriteCtrlreg:
                _json.WriteStartObject("write_ctrlreg");
                _json.WriteString("register", EventDetail.Register(e.WriteCtrlreg.Index).ToLowerInvariant());
                Hex("old", e.WriteCtrlreg.OldValue);
                Hex("new", e.WriteCtrlreg.NewValue);
                break;
            case VmEventReason.MovToMsr:
                _json.WriteStartObject("mov_to_msr");
                Hex("msr", e.MovToMsr.Msr);
                if (MsrNames.TryGetName(e.MovToMsr.Msr, out var name))
                {
                    _json.WriteString("name", name);
                }

                Hex("old", e.MovToMsr.OldValue);
                Hex("new", e.MovToMsr.NewValue);
                break;
            case VmEventReason.SoftwareBreakpoint:
                _json.WriteStartObject("software_breakpoint");
                WriteTrap(e.Debug);
                break;
            case VmEventReason.DebugException:
                _json.WriteStartObject("debug_exception");
                WriteTrap(e.Debug);
                Hex("pending_dbg", e.Debug.PendingDbg);
                break;
            case VmEventReason.Singlestep:
                _json.WriteStartObject("singlestep");
                Hex("gfn", e.SinglestepGfn);
                break;
            case VmEventReason.Cpuid:
                _json.WriteStartObject("cpuid");
                _json.WriteNumber("insn_length", e.Cpuid.InsnLength);
                Hex("leaf", e.Cpuid.Leaf);
                Hex("subleaf", e.Cpuid.Subleaf);
                Hex("eax", (uint)e.Registers.Rax);
                Hex("ebx", (uint)e.Registers.Rbx);
                Hex("ecx", (uint)e.Registers.Rcx);
                Hex("edx", (uint)e.Registers.Rdx);
                break;
            case VmEventReason.Interrupt:
                _json.WriteStartObject("interrupt");
                Hex("vector", e.Interrupt.Vector);
                _json.WriteString("trap", EventDetail.TrapType(e.Interrupt.Type));
                if (e.Interrupt.ErrorCode != TrapInjection.NoErrorCode)
                {
                    Hex("error_code", e.Interrupt.ErrorCode);
                }

                Hex("cr2", e.Interrupt.Cr2);
                break;
            case VmEventReason.DescriptorAccess:
                _json.WriteStartObject("descriptor_access");
                _json.WriteString("register", EventDetail.Descriptor(e.DescAccess.Descriptor));
                _json.WriteString("access", e.DescAccess.IsWrite != 0 ? "load" : "store");
                if (vendor == CpuVendor.Vmx)
                {
                    Hex("instruction_info", e.DescAccess.InstrInfo);
                    Hex("qualification", e.DescAccess.ExitQualification);
                }

                break;
            case VmEventReason.VmExit:
                _json.WriteStartObject("vmexit");
                _json.WriteString("vendor", vendor == CpuVendor.Vmx ? "vmx" : "svm");
                Hex("exit_reason", e.VmExit.ExitReason);
                if (ExitNames.Of(vendor, e.VmExit.ExitReason) is { } exit)
                {
                    _json.WriteString("name", exit);
                }

                Hex("qualification", e.VmExit.Qualification);
                if (vendor == CpuVendor.Svm)
                {
                    Hex("exit_info2", e.VmExitSvm.ExitInfo2);
                }

                break;
            case VmEventReason.IoInstruction:
                _json.WriteStartObject("io_instruction");
                _json.WriteString("direction", e.Io.In != 0 ? "in" : "out");
                Hex("port", e.Io.Port);
                _json.WriteNumber("bytes", e.Io.Bytes);
                _json.WriteBoolean("string", e.Io.StringOp != 0);
                break;
            default:
                // A reason that no header knows: what it carries is unknown, too.
                return;
        }

        _json.WriteEndObject();
    }

    private void WriteTrap(in VmEventDebug debug)
    {
        Hex("gfn", debug.Gfn);
        _json.WriteNumber("insn_length", debug.InsnLength);
        _json.WriteString("trap", EventDetail.TrapType(debug.Type));
    }

    private void Begin(string type)
    {
        _bytes.ResetWrittenCount();
        _json.Reset();
        _json.WriteStartObject();
        _json.WriteString("type", type);
    }

    private ReadOnlySpan<byte> End()
    {
        _json.WriteEndObject();
        _json.Flush();
        _bytes.Write("\n"u8);
        return _bytes.WrittenSpan;
    }

    private void Hex(string name, ulong value)
    {
        Span<char> text = stackalloc char[18];
        text.TryWrite(CultureInfo.InvariantCulture, $"0x{value:x}", out var length);
        _json.WriteString(name, text[..length]);
    }

    private static string Timestamp(DateTimeOffset time) =>
        time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture);
}
