using System.Text;
using System.Text.Json;
using Introspect.Daemon.Output;
using Introspect.Daemon.Tests.Fakes;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tests.Output;

public sealed class JsonFormatterTests : IDisposable
{
    private static readonly DateTimeOffset Time = new(2026, 1, 2, 3, 4, 5, 678, TimeSpan.Zero);

    private readonly SchemaChecker _schema = new(File.ReadAllText(Repository.PathOf("docs", "events.schema.json")));
    private readonly JsonFormatter _formatter = new(new OneSymbol("entry64", 0x101000));

    public static TheoryData<VmEventReason> Reasons => [.. Enum.GetValues<VmEventReason>()];

    public void Dispose() => _formatter.Dispose();

    [Theory]
    [MemberData(nameof(Reasons))]
    public void event_of_each_reason_is_one_line_that_the_schema_allows(VmEventReason reason)
    {
        foreach (var vendor in Enum.GetValues<CpuVendor>())
        {
            var line = Format(SampleEvents.Of(reason), vendor);
            Assert.EndsWith("}\n", line, StringComparison.Ordinal);
            Assert.Equal(1, line.Count(c => c == '\n'));
            Assert.Empty(_schema.Check(line));
            Assert.Equal(ReasonNames.Of(reason), JsonDocument.Parse(line).RootElement.GetProperty("reason").GetString());
        }
    }

    [Fact]
    public void values_that_no_header_knows_are_still_within_the_schema()
    {
        var strange = SampleEvents.Of(VmEventReason.WriteCtrlreg);
        strange.Reason = (VmEventReason)99;
        Assert.Empty(_schema.Check(Format(strange)));

        strange = SampleEvents.Of(VmEventReason.WriteCtrlreg);
        strange.WriteCtrlreg.Index = (ControlRegisterIndex)7;
        Assert.Empty(_schema.Check(Format(strange)));

        strange = SampleEvents.Of(VmEventReason.SoftwareBreakpoint);
        strange.Debug.Type = 200;
        Assert.Empty(_schema.Check(Format(strange)));

        strange = SampleEvents.Of(VmEventReason.DescriptorAccess);
        strange.DescAccess.Descriptor = (DescriptorRegister)9;
        Assert.Empty(_schema.Check(Format(strange)));

        strange = SampleEvents.Of(VmEventReason.VmExit);
        strange.VmExit.ExitReason = ulong.MaxValue;
        Assert.Empty(_schema.Check(Format(strange)));
    }

    [Fact]
    public void numbers_of_64_bits_are_hexadecimal_strings()
    {
        var e = SampleEvents.Of(VmEventReason.WriteCtrlreg);
        e.WriteCtrlreg.NewValue = 0xffff_ffff_ffff_fffe;
        var json = JsonDocument.Parse(Format(e)).RootElement;
        Assert.Equal("0x10104c", json.GetProperty("rip").GetString());
        Assert.Equal("entry64+0x4c", json.GetProperty("symbol").GetString());
        Assert.Equal("cr4", json.GetProperty("write_ctrlreg").GetProperty("register").GetString());
        Assert.Equal("0x20", json.GetProperty("write_ctrlreg").GetProperty("old").GetString());
        Assert.Equal("0xfffffffffffffffe", json.GetProperty("write_ctrlreg").GetProperty("new").GetString());
    }

    [Fact]
    public void names_are_escaped_and_stay_on_one_line()
    {
        var line = Encoding.UTF8.GetString(_formatter.Event(SampleEvents.Of(VmEventReason.Cpuid), Context(name: "a\"b\\c\nd\u0001é")));
        Assert.Equal(1, line.Count(c => c == '\n'));
        Assert.Equal("a\"b\\c\nd\u0001é", JsonDocument.Parse(line).RootElement.GetProperty("domain_name").GetString());
    }

    [Fact]
    public void console_and_summary_are_within_the_schema()
    {
        Assert.Empty(_schema.Check(Encoding.UTF8.GetString(_formatter.Console(Time, new(3), "Test result: SUCCESS"))));
        var summary = new TraceSummary
        {
            Domain = new(3),
            End = "poweroff",
            ByReason = [(VmEventReason.Cpuid, 5), (VmEventReason.VmExit, 2)],
            Elapsed = TimeSpan.FromSeconds(2),
            VcpuPaused = TimeSpan.FromMicroseconds(12.3),
            Dropped = 1,
            Malformed = 2,
        };
        var line = Encoding.UTF8.GetString(_formatter.Summary(Time, summary));
        Assert.Empty(_schema.Check(line));
        var json = JsonDocument.Parse(line).RootElement;
        Assert.Equal(8, json.GetProperty("events").GetInt64());
        Assert.Equal(4, json.GetProperty("events_per_second").GetDouble());
        Assert.Equal(5, json.GetProperty("by_reason").GetProperty("cpuid").GetInt64());
    }

    [Theory]
    [InlineData("""{"type":"console","time":"2026-01-02T03:04:05.678000Z","domain":1}""")]
    [InlineData("""{"type":"console","time":"yesterday","domain":1,"text":""}""")]
    [InlineData("""{"type":"console","time":"2026-01-02T03:04:05.678000Z","domain":1,"text":"","more":1}""")]
    [InlineData("""{"type":"nothing"}""")]
    [InlineData("""{"type":"domain","domain":1,"domain_name":"","uuid":"x","vendor":"vmx","vcpus":1,"memory_bytes":1,"state":"running"}""")]
    public void the_checker_refuses_what_the_schema_does(string line) => Assert.NotEmpty(_schema.Check(line));

    [Fact]
    public void every_reason_of_the_program_is_in_the_schema_and_no_other()
    {
        using var schema = JsonDocument.Parse(File.ReadAllText(Repository.PathOf("docs", "events.schema.json")));
        var known = schema.RootElement.GetProperty("$defs").GetProperty("event").GetProperty("properties").GetProperty("reason").GetProperty("enum")
            .EnumerateArray().Select(r => r.GetString());
        Assert.Equal(Enum.GetValues<VmEventReason>().Select(ReasonNames.Of), known);
    }

    private static EventContext Context(CpuVendor vendor = CpuVendor.Vmx, string name = "guest") =>
        new(7, Time, TimeSpan.FromMilliseconds(1.5), new(3), name, vendor, "deny", "protect-cr4", TimeSpan.FromMicroseconds(2.5));

    private string Format(VmEvent e, CpuVendor vendor = CpuVendor.Vmx) => Encoding.UTF8.GetString(_formatter.Event(e, Context(vendor)));
}
