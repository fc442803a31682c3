using System.Globalization;
using System.Text.Json;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Output;

/// <summary>
/// Events in the Elastic Common Schema, 8.11: <c>host</c> is the domain that was watched, <c>observer</c> the program.
/// The mapping is described in docs/sinks.md.
/// </summary>
internal sealed class EcsFormatter : MappedFormatter
{
    private const string SchemaVersion = "8.11.0";

    private static readonly string Observer = Environment.MachineName;

    /// <inheritdoc/>
    protected override void Write(Utf8JsonWriter json, in VmEvent e, in EventContext context, string message)
    {
        WriteHead(json, context.Time, message);
        json.WriteStartObject("event");
        json.WriteString("kind", RecordContext.IsIntervention(context) ? "alert" : "event");
        var (category, type) = Classify(e);
        json.WriteStartArray("category");
        json.WriteStringValue(category);
        json.WriteEndArray();
        json.WriteStartArray("type");
        json.WriteStringValue(type);
        json.WriteEndArray();
        json.WriteString("module", "introspect");
        json.WriteString("dataset", "introspect.events");
        json.WriteString("provider", "vm_event");
        json.WriteString("action", ReasonNames.Of(e.Reason));
        json.WriteString("outcome", EventMessage.IsDenied(context) ? "failure" : "success");
        json.WriteNumber("sequence", context.Sequence);
        json.WriteNumber("duration", (long)context.Handling.TotalNanoseconds);
        json.WriteEndObject();

        WriteParties(json, context.DomainUuid, EventMessage.Label(context));
        if (context.Rule is { } rule)
        {
            json.WriteStartObject("rule");
            json.WriteString("name", rule);
            json.WriteEndObject();
        }

        WriteNative(json, e, context);
    }

    /// <inheritdoc/>
    protected override void Write(Utf8JsonWriter json, AlertRecord alert, DomainInfo domain)
    {
        WriteHead(json, TimeOf(alert), alert.Message);
        json.WriteStartObject("event");
        json.WriteString("kind", "alert");
        json.WriteStartArray("category");
        json.WriteStringValue("intrusion_detection");
        json.WriteEndArray();
        json.WriteStartArray("type");
        json.WriteStringValue("info");
        json.WriteEndArray();
        json.WriteString("module", "introspect");
        json.WriteString("dataset", "introspect.alerts");
        json.WriteString("provider", "rules");
        json.WriteString("action", RuleValues.NameOf(alert.Kind));
        json.WriteNumber("severity", (int)alert.Priority);
        json.WriteEndObject();
        WriteParties(json, domain.Uuid, EventMessage.Label(alert.Domain, alert.DomainName));
        json.WriteStartObject("rule");
        json.WriteString("name", alert.Rule);
        json.WriteEndObject();
        json.WriteStartArray("tags");
        foreach (var tag in alert.Tags)
        {
            json.WriteStringValue(tag);
        }

        json.WriteEndArray();
        WriteNative(json, alert, domain);
    }

    private static void WriteHead(Utf8JsonWriter json, DateTimeOffset time, string message)
    {
        json.WriteString("@timestamp", time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture));
        json.WriteString("message", message);
        json.WriteStartObject("ecs");
        json.WriteString("version", SchemaVersion);
        json.WriteEndObject();
    }

    private static void WriteParties(Utf8JsonWriter json, Guid uuid, string name)
    {
        json.WriteStartObject("host");
        json.WriteString("id", uuid);
        json.WriteString("name", name);
        json.WriteString("type", "vm");
        json.WriteEndObject();

        json.WriteStartObject("observer");
        json.WriteString("hostname", Observer);
        json.WriteString("product", "introspect");
        json.WriteString("type", "hypervisor");
        json.WriteString("version", ProgramInfo.Version);
        json.WriteEndObject();
    }

    // Pairs that the schema allows with each other.
    private static (string Category, string Type) Classify(in VmEvent e) => e.Reason switch
    {
        VmEventReason.WriteCtrlreg or VmEventReason.MovToMsr => ("configuration", "change"),
        VmEventReason.DescriptorAccess => ("configuration", e.DescAccess.IsWrite != 0 ? "change" : "access"),
        VmEventReason.MemAccess or VmEventReason.IoInstruction => ("host", "access"),
        _ => ("host", "info"),
    };
}
