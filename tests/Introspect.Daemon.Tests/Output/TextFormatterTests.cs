using Introspect.Daemon.Output;
using Introspect.Daemon.Tests.Fakes;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tests.Output;

public sealed class TextFormatterTests
{
    [Theory]
    [InlineData(VmEventReason.MemAccess, "    0.001500  d3 v1  mem_access           -w- gpa 0x106400 gla 0x106400                 at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.WriteCtrlreg, "    0.001500  d3 v1  write_ctrlreg        CR4 0x20 -> 0x100020 +SMEP                    at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.MovToMsr, "    0.001500  d3 v1  mov_to_msr           efer 0xc0000080: 0x500 -> 0xd01 +SCE +NXE     at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.SoftwareBreakpoint, "    0.001500  d3 v1  software_breakpoint  software_exception length 1 gfn 0x101         at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.Singlestep, "    0.001500  d3 v1  singlestep           gfn 0x101                                     at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.GuestRequest, "    0.001500  d3 v1  guest_request        cpl 3 rdi 0xd1 rsi 0x51 rdx 0x4d4d566e        at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.DebugException, "    0.001500  d3 v1  debug_exception      hardware_exception pending 0x4000 length 0 gfn 0x101  at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.Cpuid, "    0.001500  d3 v1  cpuid                leaf 0x40000000 subleaf 0x0 -> eax 0x40000004 ebx 0x566e6558 ecx 0x65584d4d edx 0x4d4d566e  at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.Interrupt, "    0.001500  d3 v1  interrupt            vector 0xe hardware_exception error 0x2 cr2 0xdead000  at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.DescriptorAccess, "    0.001500  d3 v1  descriptor_access    load gdtr info 0x5010 displacement 0x48       at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.EmulUnimplemented, "    0.001500  d3 v1  emul_unimplemented   cpl 3 the emulator has no code for the instruction  at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.VmExit, "    0.001500  d3 v1  vmexit               cpuid 0xa qualification 0x0                   at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.IoInstruction, "    0.001500  d3 v1  io_instruction       out port 0x80 bytes 1                         at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.Unknown, "    0.001500  d3 v1  unknown              reason 0                                      at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.MemPaging, "    0.001500  d3 v1  mem_paging           gfn 0x107 type 10 dropped                     at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.MemSharing, "    0.001500  d3 v1  mem_sharing          gfn 0x108 type 13                             at 0x10104c entry64+0x4c")]
    [InlineData(VmEventReason.PrivilegedCall, "    0.001500  d3 v1  privileged_call      cpl 3                                         at 0x10104c entry64+0x4c")]
    public void event_is_one_aligned_line(VmEventReason reason, string line) =>
        Assert.Equal(line, Format(SampleEvents.Of(reason)));

    [Fact]
    public void old_is_old_and_new_is_new()
    {
        var e = SampleEvents.Of(VmEventReason.WriteCtrlreg);
        e.WriteCtrlreg = new() { Index = ControlRegisterIndex.Cr0, OldValue = 0x8005_0033, NewValue = 0x8004_0033 };
        Assert.Contains("CR0 0x80050033 -> 0x80040033 -WP ", Format(e), StringComparison.Ordinal);
        e = SampleEvents.Of(VmEventReason.MovToMsr);
        e.MovToMsr = new() { Msr = 0xc000_0082, OldValue = 0xa, NewValue = 0xb };
        Assert.Contains("lstar 0xc0000082: 0xa -> 0xb ", Format(e), StringComparison.Ordinal);
    }

    [Fact]
    public void a_view_of_altp2m_is_told_where_it_is_not_the_hosts()
    {
        var e = SampleEvents.Of(VmEventReason.Singlestep);
        e.AltP2mIndex = 3;
        Assert.EndsWith("entry64+0x4c  view 3", Format(e), StringComparison.Ordinal);
    }

    [Fact]
    public void every_reason_has_its_golden_line()
    {
        var method = typeof(TextFormatterTests).GetMethod(nameof(event_is_one_aligned_line))!;
        var golden = method.GetCustomAttributes(typeof(InlineDataAttribute), false).Cast<InlineDataAttribute>()
            .SelectMany(a => a.GetData(method)).Select(row => (VmEventReason)row[0]);
        Assert.Equal(Enum.GetValues<VmEventReason>().Order(), golden.Order());
    }

    [Fact]
    public void an_intervention_names_the_verdict_and_who_gave_it() =>
        Assert.EndsWith("entry64+0x4c  [deny by protect-cr4]", Format(SampleEvents.Of(VmEventReason.WriteCtrlreg), verdict: "deny", rule: "protect-cr4"), StringComparison.Ordinal);

    [Fact]
    public void the_stepping_of_the_trace_itself_is_no_intervention() =>
        Assert.EndsWith("entry64+0x4c", Format(SampleEvents.Of(VmEventReason.GuestRequest), verdict: "allow+singlestep_on", rule: "trace"), StringComparison.Ordinal);

    [Fact]
    public void svm_exits_have_svm_names()
    {
        var e = SampleEvents.Of(VmEventReason.VmExit);
        e.VmExit.ExitReason = 0x72;
        Assert.Contains("cpuid 0x72", Format(e, CpuVendor.Svm), StringComparison.Ordinal);
        e.VmExit.ExitReason = 0x14;
        Assert.Contains("cr4_write 0x14", Format(e, CpuVendor.Svm), StringComparison.Ordinal);
        e.VmExit.ExitReason = 0x9999;
        Assert.Contains("exit 0x9999", Format(e, CpuVendor.Svm), StringComparison.Ordinal);
    }

    [Fact]
    public void an_address_without_symbol_stands_alone() =>
        Assert.EndsWith("at 0x10104c", Format(SampleEvents.Of(VmEventReason.Cpuid), symbols: false), StringComparison.Ordinal);

    [Theory]
    [InlineData(true, null, "xterm", true)]
    [InlineData(true, "", "xterm", true)]
    [InlineData(true, "1", "xterm", false)]
    [InlineData(true, null, "dumb", false)]
    [InlineData(false, null, "xterm", false)]
    public void colours_are_for_terminals_whose_user_wants_them(bool terminal, string? noColour, string term, bool coloured)
    {
        var palette = Palette.For(terminal, name => name == "NO_COLOR" ? noColour : name == "TERM" ? term : null);
        var line = new TextFormatter(palette, null).Event(SampleEvents.Of(VmEventReason.Cpuid), Context()).ToString();
        Assert.Equal(coloured, line.Contains('\e', StringComparison.Ordinal));
    }

    [Fact]
    public void colours_do_not_move_the_columns()
    {
        var plain = new TextFormatter(Palette.None, null).Event(SampleEvents.Of(VmEventReason.MovToMsr), Context()).ToString();
        var coloured = new TextFormatter(Palette.Terminal, null).Event(SampleEvents.Of(VmEventReason.MovToMsr), Context()).ToString();
        Assert.Equal(plain, System.Text.RegularExpressions.Regex.Replace(coloured, "\e\\[[0-9;]*m", ""));
    }

    [Fact]
    public void console_lines_are_marked() =>
        Assert.Equal("console | hello", new TextFormatter(Palette.None, null).Console("hello").ToString());

    [Fact]
    public void the_summary_tells_what_the_events_of_a_reason_were_about()
    {
        var counter = new ReasonCounter(CpuVendor.Vmx);
        foreach (var reason in Enum.GetValues<VmEventReason>())
        {
            counter.Count(new() { Event = SampleEvents.Of(reason), PausedTime = TimeSpan.FromMilliseconds(2) });
        }

        for (var leaf = 0u; leaf < 6; leaf++)
        {
            var e = SampleEvents.Of(VmEventReason.Cpuid);
            e.Cpuid.Leaf = leaf;
            counter.Count(new() { Event = e });
        }

        var topics = counter.Reasons.ToDictionary(r => r.Key, r => string.Join(' ', r.Value.Topics.Select(t => $"{t.Topic}={t.Count}")));
        Assert.Equal("cr4=1", topics[VmEventReason.WriteCtrlreg]);
        Assert.Equal("efer=1", topics[VmEventReason.MovToMsr]);
        Assert.Equal("-w-=1", topics[VmEventReason.MemAccess]);
        Assert.Equal("cpuid=1", topics[VmEventReason.VmExit]);
        Assert.Equal("gdtr=1", topics[VmEventReason.DescriptorAccess]);
        Assert.Equal("0x80=1", topics[VmEventReason.IoInstruction]);
        Assert.Equal("0xe=1", topics[VmEventReason.Interrupt]);
        Assert.Equal("", topics[VmEventReason.Singlestep]);

        var summary = new TraceSummary
        {
            Domain = new(3),
            End = "poweroff",
            ByReason = [counter.ByReason[0]],
            Reasons = counter.Reasons,
            Elapsed = TimeSpan.FromSeconds(2),
            VcpuPaused = TimeSpan.Zero,
        };
        Assert.Contains(
            "\n  cpuid                         7        3.5/s  stood still     2.000 ms  0x0 1  0x1 1  0x2 1  0x3 1  and 3 more\n",
            summary.ToText(), StringComparison.Ordinal);
    }

    [Fact]
    public void the_summary_tells_events_by_reason_rate_and_standstill()
    {
        var summary = new TraceSummary
        {
            Domain = new(3),
            End = "poweroff",
            ByReason = [(VmEventReason.Cpuid, 30), (VmEventReason.WriteCtrlreg, 10)],
            Elapsed = TimeSpan.FromSeconds(2),
            VcpuPaused = TimeSpan.FromMilliseconds(1.25),
            Dropped = 4,
        };
        Assert.Equal(
            """
            domain 3: 44 events in 2.000 s (22 events/s), ended by poweroff
              cpuid                        30
              write_ctrlreg                10
              vCPUs stood still for 1.250 ms (0.1 % of the time)
              4 events were handled and not shown: the output was too slow; write them to a file, or watch less

            """,
            summary.ToText());
    }

    private static EventContext Context(CpuVendor vendor = CpuVendor.Vmx, string verdict = "allow", string? rule = null) =>
        new(7, DateTimeOffset.UnixEpoch, TimeSpan.FromMilliseconds(1.5), new(3), "guest", vendor, verdict, rule, TimeSpan.Zero);

    private static string Format(VmEvent e, CpuVendor vendor = CpuVendor.Vmx, string verdict = "allow", string? rule = null, bool symbols = true) =>
        new TextFormatter(Palette.None, symbols ? new OneSymbol("entry64", 0x101000) : null).Event(e, Context(vendor, verdict, rule)).ToString();
}
