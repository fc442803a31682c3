using System.Text;
using System.Text.Json;
using Introspect.Daemon.Output;
using Introspect.Daemon.Tests.Sinks;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Tests.Output;

public sealed class MappedFormatterTests
{
    public static TheoryData<VmEventReason> Reasons => [.. Enum.GetValues<VmEventReason>()];

    [Theory]
    [MemberData(nameof(Reasons))]
    public void an_ecs_event_has_what_the_schema_asks_for_and_the_whole_event_with_it(VmEventReason reason)
    {
        var e = Format(JsonShape.Ecs, SampleRecords.Allowed(reason));
        Assert.Equal("2026-01-02T03:04:05.678000Z", e.GetProperty("@timestamp").GetString());
        Assert.Equal("8.11.0", e.GetProperty("ecs").GetProperty("version").GetString());
        var about = e.GetProperty("event");
        Assert.Equal("event", about.GetProperty("kind").GetString());
        Assert.Contains(about.GetProperty("category")[0].GetString(), (string[])["host", "configuration"]);
        // What the schema expects of these two categories.
        Assert.Contains(about.GetProperty("type")[0].GetString(), (string[])["access", "change", "info"]);
        Assert.Equal(ReasonNames.Of(reason), about.GetProperty("action").GetString());
        Assert.Equal((1, 3000), (about.GetProperty("sequence").GetInt64(), about.GetProperty("duration").GetInt64()));
        Assert.Equal("00112233-4455-6677-8899-aabbccddeeff", e.GetProperty("host").GetProperty("id").GetString());
        Assert.Equal(ReasonNames.Of(reason), e.GetProperty("introspect").GetProperty("reason").GetString());
        Assert.False(e.TryGetProperty("rule", out _));
    }

    [Fact]
    public void an_intervention_is_an_ecs_alert()
    {
        var e = Format(JsonShape.Ecs, SampleRecords.Denied(VmEventReason.WriteCtrlreg));
        Assert.Equal(("alert", "failure"), (e.GetProperty("event").GetProperty("kind").GetString(), e.GetProperty("event").GetProperty("outcome").GetString()));
        Assert.Equal(("configuration", "change"), (e.GetProperty("event").GetProperty("category")[0].GetString(), e.GetProperty("event").GetProperty("type")[0].GetString()));
        Assert.Equal("protect-cr4", e.GetProperty("rule").GetProperty("name").GetString());
        Assert.Contains("[deny by protect-cr4]", e.GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Reasons))]
    public void an_ocsf_event_has_what_its_class_requires(VmEventReason reason)
    {
        var e = Format(JsonShape.Ocsf, SampleRecords.Allowed(reason));
        var (classUid, activity) = (e.GetProperty("class_uid").GetInt32(), e.GetProperty("activity_id").GetInt32());
        Assert.Equal(reason == VmEventReason.MemAccess ? 1004 : 1003, classUid);
        Assert.Equal(1, e.GetProperty("category_uid").GetInt32());
        Assert.Equal((classUid * 100) + activity, e.GetProperty("type_uid").GetInt32());
        Assert.Equal(1767323045678, e.GetProperty("time").GetInt64());
        Assert.Equal(1, e.GetProperty("severity_id").GetInt32());
        Assert.Equal("1.3.0", e.GetProperty("metadata").GetProperty("version").GetString());
        Assert.Equal("Introspect", e.GetProperty("metadata").GetProperty("product").GetProperty("vendor_name").GetString());
        Assert.Equal(6, e.GetProperty("device").GetProperty("type_id").GetInt32());
        Assert.Equal("0x10a000", e.GetProperty("actor").GetProperty("process").GetProperty("uid").GetString());
        Assert.True(e.TryGetProperty(classUid == 1004 ? "process" : "kernel", out var target));
        Assert.True(classUid == 1004 || (target.GetProperty("name").GetString()!.Length > 0 && target.GetProperty("type_id").GetInt32() == 99));
        Assert.Equal(ReasonNames.Of(reason), e.GetProperty("unmapped").GetProperty("introspect").GetProperty("reason").GetString());
    }

    [Theory]
    [InlineData(VmEventReason.MemAccess, 100408, "Write")]
    [InlineData(VmEventReason.WriteCtrlreg, 100399, "Write")]
    [InlineData(VmEventReason.Cpuid, 100302, "Read")]
    [InlineData(VmEventReason.GuestRequest, 100304, "Invoke")]
    [InlineData(VmEventReason.Singlestep, 100399, "singlestep")]
    public void ocsf_activities_are_those_of_the_class(VmEventReason reason, int type, string name)
    {
        var e = Format(JsonShape.Ocsf, SampleRecords.Denied(reason));
        Assert.Equal((type, name), (e.GetProperty("type_uid").GetInt32(), e.GetProperty("activity_name").GetString()));
        Assert.Equal((2, 2, 4), (e.GetProperty("action_id").GetInt32(), e.GetProperty("disposition_id").GetInt32(), e.GetProperty("severity_id").GetInt32()));
        Assert.Equal("protect-cr4", e.GetProperty("policy").GetProperty("name").GetString());
    }

    [Fact]
    public void every_field_of_the_mappings_is_documented()
    {
        var document = File.ReadAllText(Repository.PathOf("docs", "sinks.md"));
        foreach (var shape in (JsonShape[])[JsonShape.Ecs, JsonShape.Ocsf])
        {
            var section = document.Split($"## {shape.ToString().ToUpperInvariant()}")[1].Split("\n## ")[0];
            foreach (var reason in Enum.GetValues<VmEventReason>())
            {
                foreach (var path in Paths(Format(shape, SampleRecords.Denied(reason)), ""))
                {
                    Assert.Contains($"`{path}`", section, StringComparison.Ordinal);
                }
            }
        }
    }

    private static IEnumerable<string> Paths(JsonElement element, string path)
    {
        if (element.ValueKind != JsonValueKind.Object || path.EndsWith("introspect", StringComparison.Ordinal))
        {
            return [path];
        }

        return element.EnumerateObject().SelectMany(p => Paths(p.Value, path.Length == 0 ? p.Name : $"{path}.{p.Name}"));
    }

    private static JsonElement Format(JsonShape shape, EventRecord record)
    {
        using var formatter = MappedFormatter.For(shape);
        var line = Encoding.UTF8.GetString(formatter.Event(record.Event, RecordContext.Of(record, SampleRecords.Web)));
        Assert.EndsWith("}\n", line, StringComparison.Ordinal);
        Assert.Equal(1, line.Count(c => c == '\n'));
        return JsonDocument.Parse(line).RootElement;
    }
}
