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

    [Theory]
    [InlineData(VmEventReason.MemAccess, """{"access":"-w-","gfn":"0x106","offset":"0x400","gla":"0x106400","with_gla":true,"page_walk":false}""")]
    [InlineData(VmEventReason.MemSharing, """{"gfn":"0x108","p2m_type":13}""")]
    [InlineData(VmEventReason.MemPaging, """{"gfn":"0x107","p2m_type":10,"dropped":true,"failed":false}""")]
    [InlineData(VmEventReason.WriteCtrlreg, """{"register":"cr4","old":"0x20","new":"0x100020"}""")]
    [InlineData(VmEventReason.MovToMsr, """{"msr":"0xc0000080","name":"efer","old":"0x500","new":"0xd01"}""")]
    [InlineData(VmEventReason.SoftwareBreakpoint, """{"gfn":"0x101","insn_length":1,"trap":"software_exception"}""")]
    [InlineData(VmEventReason.Singlestep, """{"gfn":"0x101"}""")]
    [InlineData(VmEventReason.GuestRequest, """{"cpl":3,"rdi":"0xd1","rsi":"0x51","rdx":"0x4d4d566e"}""")]
    [InlineData(VmEventReason.DebugException, """{"gfn":"0x101","insn_length":0,"trap":"hardware_exception","pending_dbg":"0x4000"}""")]
    [InlineData(VmEventReason.Cpuid, """{"insn_length":2,"leaf":"0x40000000","subleaf":"0x0","eax":"0x40000004","ebx":"0x566e6558","ecx":"0x65584d4d","edx":"0x4d4d566e"}""")]
    [InlineData(VmEventReason.PrivilegedCall, """{"cpl":3}""")]
    [InlineData(VmEventReason.Interrupt, """{"vector":"0xe","trap":"hardware_exception","error_code":"0x2","cr2":"0xdead000"}""")]
    [InlineData(VmEventReason.DescriptorAccess, """{"register":"gdtr","access":"load","instruction_info":"0x5010","qualification":"0x48"}""")]
    [InlineData(VmEventReason.EmulUnimplemented, """{"cpl":3}""")]
    [InlineData(VmEventReason.VmExit, """{"vendor":"vmx","exit_reason":"0xa","name":"cpuid","qualification":"0x0"}""")]
    [InlineData(VmEventReason.IoInstruction, """{"direction":"out","port":"0x80","bytes":1,"string":false}""")]
    public void every_field_of_a_reason_is_there(VmEventReason reason, string member) =>
        Assert.Equal(member, JsonDocument.Parse(Format(SampleEvents.Of(reason))).RootElement.GetProperty(ReasonNames.Of(reason)).GetRawText());

    [Fact]
    public void each_of_the_reasons_has_its_member_in_the_schema()
    {
        var method = typeof(JsonFormatterTests).GetMethod(nameof(every_field_of_a_reason_is_there))!;
        var golden = method.GetCustomAttributes(typeof(InlineDataAttribute), false).Cast<InlineDataAttribute>()
            .SelectMany(a => a.GetData(method)).Select(row => (VmEventReason)row[0]).Order().ToList();
        Assert.Equal(16, golden.Count);
        Assert.Equal(Enum.GetValues<VmEventReason>().Where(r => r != VmEventReason.Unknown), golden);
        using var schema = JsonDocument.Parse(File.ReadAllText(Repository.PathOf("docs", "events.schema.json")));
        var members = schema.RootElement.GetProperty("$defs").GetProperty("event").GetProperty("properties");
        Assert.All(golden, reason => Assert.True(members.TryGetProperty(ReasonNames.Of(reason), out _), $"{reason}"));
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
    public void registers_are_there_when_they_are_asked_for()
    {
        using var formatter = new JsonFormatter(symbols: null) { Registers = true };
        var e = SampleEvents.Of(VmEventReason.Cpuid);
        e.Registers.R15 = 0xf15;
        e.Registers.GsBase = 0x1234_5678_9000;
        e.Registers.Gs = VmEventSegment.Pack(0xfffff, 0xc93);
        e.Registers.GsSel = 0x18;
        var line = Encoding.UTF8.GetString(formatter.Event(e, Context()));
        Assert.Empty(_schema.Check(line));
        var registers = JsonDocument.Parse(line).RootElement.GetProperty("registers");
        Assert.Equal("0xf15", registers.GetProperty("r15").GetString());
        Assert.Equal("""{"selector":"0x18","base":"0x123456789000","limit":"0xfffff","rights":"0xc93"}""", registers.GetProperty("gs").GetRawText());
        Assert.False(JsonDocument.Parse(Format(e)).RootElement.TryGetProperty("registers", out _));
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
            Reasons = new Dictionary<VmEventReason, ReasonSummary>
            {
                [VmEventReason.VmExit] = new() { Paused = TimeSpan.FromMilliseconds(3), Topics = [("hlt", 2)] },
            },
            Dropped = 1,
            Malformed = 2,
        };
        var line = Encoding.UTF8.GetString(_formatter.Summary(Time, summary));
        Assert.Empty(_schema.Check(line));
        var json = JsonDocument.Parse(line).RootElement;
        Assert.Equal(8, json.GetProperty("events").GetInt64());
        Assert.Equal(4, json.GetProperty("events_per_second").GetDouble());
        Assert.Equal(5, json.GetProperty("by_reason").GetProperty("cpuid").GetInt64());
        Assert.Equal("""{"vmexit":{"events":2,"vcpu_paused_seconds":0.003,"topics":{"hlt":2}}}""", json.GetProperty("reasons").GetRawText());
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
