using System.Text.Json;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Output;

/// <summary>
/// Events in the Open Cybersecurity Schema Framework, 1.3: memory accesses are Memory Activity, all else Kernel Activity,
/// with the Security Control profile for what was allowed and denied. The mapping is described in docs/sinks.md.
/// </summary>
internal sealed class OcsfFormatter : MappedFormatter
{
    private const string SchemaVersion = "1.3.0";
    private const int SystemActivity = 1;
    private const int KernelActivity = 1003;
    private const int MemoryActivity = 1004;
    private const int Findings = 2;
    private const int DetectionFinding = 2004;
    private const int Other = 99;
    private const int VirtualDevice = 6;

    /// <inheritdoc/>
    protected override void Write(Utf8JsonWriter json, in VmEvent e, in EventContext context, string message)
    {
        var isMemory = e.Reason == VmEventReason.MemAccess;
        var classUid = isMemory ? MemoryActivity : KernelActivity;
        var (activity, activityName) = Activity(e);
        var denied = EventMessage.IsDenied(context);

        json.WriteNumber("category_uid", SystemActivity);
        json.WriteString("category_name", "System Activity");
        json.WriteNumber("class_uid", classUid);
        json.WriteString("class_name", isMemory ? "Memory Activity" : "Kernel Activity");
        json.WriteNumber("activity_id", activity);
        json.WriteString("activity_name", activityName);
        json.WriteNumber("type_uid", (classUid * 100) + activity);
        json.WriteNumber("time", context.Time.ToUnixTimeMilliseconds());
        var intervention = RecordContext.IsIntervention(context);
        json.WriteNumber("severity_id", intervention ? 4 : 1);
        json.WriteString("severity", intervention ? "High" : "Informational");
        json.WriteNumber("action_id", denied ? 2 : 1);
        json.WriteString("action", denied ? "Denied" : "Allowed");
        json.WriteNumber("disposition_id", denied ? 2 : 1);
        json.WriteString("disposition", denied ? "Blocked" : "Allowed");
        json.WriteString("message", message);

        json.WriteStartObject("metadata");
        json.WriteString("version", SchemaVersion);
        json.WriteNumber("sequence", context.Sequence);
        json.WriteString("log_name", "introspect.events");
        json.WriteString("event_code", ReasonNames.Of(e.Reason));
        json.WriteStartArray("profiles");
        json.WriteStringValue("security_control");
        json.WriteEndArray();
        WriteProduct(json);
        json.WriteEndObject();
        WriteDevice(json, context.DomainUuid, EventMessage.Label(context));

        // From outside, a process is its address space.
        json.WriteStartObject("actor");
        WriteProcess(json, e);
        json.WriteEndObject();
        if (isMemory)
        {
            WriteProcess(json, e);
            json.WriteString("base_address", Hex((e.MemAccess.Gfn << 12) + e.MemAccess.Offset));
            json.WriteNumber("requested_permissions", (int)(e.MemAccess.Flags & (MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute)));
        }
        else
        {
            json.WriteStartObject("kernel");
            json.WriteString("name", Target(e));
            json.WriteNumber("type_id", Other);
            json.WriteString("type", "Processor");
            json.WriteEndObject();
        }

        if (context.Rule is { } rule)
        {
            json.WriteStartObject("policy");
            json.WriteString("name", rule);
            json.WriteEndObject();
        }

        json.WriteStartObject("unmapped");
        WriteNative(json, e, context);
        json.WriteEndObject();
    }

    /// <inheritdoc/>
    protected override void Write(Utf8JsonWriter json, AlertRecord alert, DomainInfo domain)
    {
        const int Create = 1;
        json.WriteNumber("category_uid", Findings);
        json.WriteString("category_name", "Findings");
        json.WriteNumber("class_uid", DetectionFinding);
        json.WriteString("class_name", "Detection Finding");
        json.WriteNumber("activity_id", Create);
        json.WriteString("activity_name", "Create");
        json.WriteNumber("type_uid", (DetectionFinding * 100) + Create);
        json.WriteNumber("time", TimeOf(alert).ToUnixTimeMilliseconds());
        var (severity, name) = Severity(alert.Priority);
        json.WriteNumber("severity_id", severity);
        json.WriteString("severity", name);
        json.WriteString("message", alert.Message);

        json.WriteStartObject("finding_info");
        json.WriteString("title", alert.Rule);
        json.WriteString("uid", string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{domain.Uuid:D}/{alert.Rule}/{alert.Time.Ticks:x}"));
        json.WriteEndObject();

        json.WriteStartObject("metadata");
        json.WriteString("version", SchemaVersion);
        json.WriteString("log_name", "introspect.alerts");
        json.WriteString("event_code", RuleValues.NameOf(alert.Kind));
        WriteProduct(json);
        json.WriteEndObject();
        WriteDevice(json, domain.Uuid, EventMessage.Label(alert.Domain, alert.DomainName));
        json.WriteStartObject("unmapped");
        WriteNative(json, alert, domain);
        json.WriteEndObject();
    }

    // The priorities are syslog's.
    private static (int Id, string Name) Severity(RulePriority priority) => priority switch
    {
        RulePriority.Emergency => (6, "Fatal"),
        RulePriority.Alert or RulePriority.Critical => (5, "Critical"),
        RulePriority.Error => (4, "High"),
        RulePriority.Warning => (3, "Medium"),
        RulePriority.Notice => (2, "Low"),
        _ => (1, "Informational"),
    };

    private static void WriteProduct(Utf8JsonWriter json)
    {
        json.WriteStartObject("product");
        json.WriteString("name", "introspect");
        json.WriteString("vendor_name", "Introspect");
        json.WriteString("version", ProgramInfo.Version);
        json.WriteEndObject();
    }

    private static void WriteDevice(Utf8JsonWriter json, Guid uuid, string name)
    {
        json.WriteStartObject("device");
        json.WriteNumber("type_id", VirtualDevice);
        json.WriteString("type", "Virtual");
        json.WriteString("uid", uuid);
        json.WriteString("name", name);
        json.WriteString("hostname", name);
        json.WriteEndObject();
    }

    private static void WriteProcess(Utf8JsonWriter json, in VmEvent e)
    {
        json.WriteStartObject("process");
        json.WriteString("uid", Hex(e.Registers.Cr3));
        json.WriteEndObject();
    }

    private static (int Id, string Name) Activity(in VmEvent e) => e.Reason switch
    {
        // Most telling first: an access may need several rights.
        VmEventReason.MemAccess when (e.MemAccess.Flags & MemAccessFlags.Write) != 0 => (8, "Write"),
        VmEventReason.MemAccess when (e.MemAccess.Flags & MemAccessFlags.Execute) != 0 => (Other, "Execute"),
        VmEventReason.MemAccess => (7, "Read"),
        VmEventReason.WriteCtrlreg or VmEventReason.MovToMsr => (Other, "Write"),
        VmEventReason.DescriptorAccess => e.DescAccess.IsWrite != 0 ? (Other, "Write") : (2, "Read"),
        VmEventReason.Cpuid => (2, "Read"),
        VmEventReason.GuestRequest or VmEventReason.PrivilegedCall => (4, "Invoke"),
        _ => (Other, ReasonNames.Of(e.Reason)),
    };

    // What of the processor it is about.
    private static string Target(in VmEvent e) => e.Reason switch
    {
        VmEventReason.WriteCtrlreg => EventDetail.Register(e.WriteCtrlreg.Index).ToLowerInvariant(),
        VmEventReason.MovToMsr => MsrNames.TryGetName(e.MovToMsr.Msr, out var name) ? name : Hex(e.MovToMsr.Msr),
        VmEventReason.DescriptorAccess => EventDetail.Descriptor(e.DescAccess.Descriptor),
        _ => ReasonNames.Of(e.Reason),
    };
}
