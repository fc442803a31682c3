using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Language;
using Introspect.Rules.Testing;
using Introspect.Rules.Tests.Files;

namespace Introspect.Rules.Tests.Testing;

/// <summary>Files of tests: events as they are written, and mistakes where they stand.</summary>
public sealed class RuleTestFileTests
{
    [Fact]
    public void an_event_has_the_fields_that_are_written()
    {
        var events = Events("""
            - write_ctrlreg: { register: CR4, old: CR4.SMEP | 0x20, new: 32 }
              vcpu: 1
              registers: { rip: 0x1000, cr3: 0x2000, r15: 7, cpl: 3 }
            - mov_to_msr: { msr: efer, old: EFER.NXE, new: 0 }
              sync: false
            - mem_access: { gpa: 0x12345, gla: 0x5000, access: rw, page_walk: true }
            - cpuid: { leaf: 7, subleaf: 1 }
              wait: 2m
            - io_instruction: { port: 0x80, bytes: 4, direction: in, string: true }
            - descriptor_access: { register: ldtr, access: store }
            - interrupt: { vector: 14, error_code: 2, cr2: 0x9000 }
            - software_breakpoint: { gpa: 0x7123 }
            - guest_request:
            """);
        var write = events[0].Event;
        Assert.Equal((VmEventReason.WriteCtrlreg, ControlRegisterIndex.Cr4, 0x100020UL, 0x20UL, 1u), (write.Reason, write.WriteCtrlreg.Index, write.WriteCtrlreg.OldValue, write.WriteCtrlreg.NewValue, write.VcpuId));
        Assert.Equal((0x1000UL, 0x2000UL, 7UL, VmEventFlags.VcpuPaused), (write.Registers.Rip, write.Registers.Cr3, write.Registers.R15, write.Flags));
        Assert.Equal((0xc0000080UL, 0x800UL, VmEventFlags.None), (events[1].Event.MovToMsr.Msr, events[1].Event.MovToMsr.OldValue, events[1].Event.Flags));
        var access = events[2].Event.MemAccess;
        Assert.Equal((0x12UL, 0x345UL, 0x5000UL, MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.GlaValid | MemAccessFlags.FaultInGpt), (access.Gfn, access.Offset, access.Gla, access.Flags));
        Assert.Equal((7u, 1u, 2u, TimeSpan.FromMinutes(2)), (events[3].Event.Cpuid.Leaf, events[3].Event.Cpuid.Subleaf, events[3].Event.Cpuid.InsnLength, events[3].Wait));
        Assert.Equal((0x80, 4u, 1, 1), (events[4].Event.Io.Port, events[4].Event.Io.Bytes, events[4].Event.Io.In, events[4].Event.Io.StringOp));
        Assert.Equal((DescriptorRegister.Ldtr, 0), (events[5].Event.DescAccess.Descriptor, events[5].Event.DescAccess.IsWrite));
        Assert.Equal((14u, 2u, 0x9000UL), (events[6].Event.Interrupt.Vector, events[6].Event.Interrupt.ErrorCode, events[6].Event.Interrupt.Cr2));
        Assert.Equal((7UL, 0x123UL), (events[7].Event.Debug.Gfn, events[7].Event.Registers.Rip & 0xfff));
        Assert.Equal(VmEventReason.GuestRequest, events[8].Event.Reason);
    }

    [Theory]
    [InlineData("- cpuid: { laef: 1 }", "'laef' is not known of cpuid", "leaf")]
    [InlineData("- cpiud: { leaf: 1 }", "an event needs its reason", "cpuid")]
    [InlineData("- { cpuid: { leaf: 1 }, interrupt: { vector: 1 } }", "an event has one reason", null)]
    [InlineData("- write_ctrlreg: { register: cr5 }", "is none of cr0, cr3, cr4, xcr0", "cr0")]
    [InlineData("- write_ctrlreg: { old: 1 }", "'register' is missing", null)]
    [InlineData("- mov_to_msr: { msr: efer, old: EFER.NEX }", "is no number", null)]
    [InlineData("- mem_access: { gpa: 1, access: q }", "is no access", null)]
    [InlineData("- { cpuid: {}, vcpu: 7 }", "the domain has 2 vCPUs", null)]
    [InlineData("- { cpuid: {}, registers: { rxa: 1 } }", "is no register of an event", "rax")]
    [InlineData("- { cpuid: {}, expect: { verdcit: deny } }", "'verdcit' is not known of expect", "verdict")]
    [InlineData("- { cpuid: {}, wait: long }", "is no time", null)]
    public void what_no_event_has_is_refused(string @event, string why, string? suggestion)
    {
        var mistakes = Mistakes(@event);
        Assert.Contains(mistakes, mistake => mistake.Message.Contains(why, StringComparison.Ordinal));
        Assert.Equal(suggestion, mistakes[0].Suggestion);
    }

    [Theory]
    [InlineData("tests: []", "the test names no rules")]
    [InlineData("rules: [a]", "there is no test; write")]
    [InlineData("", "there is no test in the file")]
    [InlineData("rules: [a]\ntests: [ { events: [] } ]", "a test without a name")]
    [InlineData("rules: [a]\ntests: [ { test: x } ]", "has no event")]
    [InlineData("rules: [a]\ntests: [ { test: x, memory: { 0x1000: 9 }, events: [] } ]", "are no bytes")]
    public void a_file_without_tests_is_no_success(string text, string why)
    {
        var diagnostics = new DiagnosticBag();
        RuleTestFile.Read(new("a.test.yaml", text), diagnostics);
        Assert.Contains(diagnostics.All, mistake => mistake.Message.Contains(why, StringComparison.Ordinal));
    }

    [Fact]
    public void a_test_without_a_name_has_its_other_mistakes_told()
    {
        var diagnostics = new DiagnosticBag();
        RuleTestFile.Read(new SourceText("a.test.yaml", "rules: [a.yaml]\ntests:\n  - memory: { here: 90 }\n    events: [ { cpuid: { laef: 1 } } ]\n  - { test: null, evnets: [] }\n"), diagnostics);
        Assert.Equal(
            ["a test without a name", "'laef' is not known of cpuid", "'here' is no guest-physical address", "'evnets' is not known of a test", "nothing stands here where the test's name", "a test without a name", "the test has no event"],
            diagnostics.All.Select(mistake => mistake.Message),
            (expected, actual) => actual.StartsWith(expected, StringComparison.Ordinal));
    }

    [Fact]
    public void memory_that_a_test_gives_is_read_and_other_is_not_there()
    {
        var set = RuleTexts.Load("rules: [ { rule: a, on: cpuid, when: 'u16[rsp] == 0xc390', output: '{u16[rsp]}' } ]");
        var results = Run(set, """
            rules: [a.yaml]
            tests:
              - test: there
                memory: { 0x1000: "90 c3" }
                events:
                  - cpuid: { leaf: 1 }
                    registers: { rsp: 0x1000 }
                    expect: { alerts: [ { rule: a, message: "0xc390" } ] }
                  - cpuid: { leaf: 1 }
                    registers: { rsp: 0x1001 }
            """);
        Assert.Empty(Assert.Single(results).Failures);
    }

    [Fact]
    public void each_test_has_the_rules_to_itself()
    {
        const string Twice = """
            rules: [a.yaml]
            tests:
              - test: one
                events: [ { cpuid: { leaf: 1 } }, { cpuid: { leaf: 1 }, expect: { alerts: [a] } } ]
              - test: two
                events: [ { cpuid: { leaf: 1 } }, { cpuid: { leaf: 1 }, expect: { alerts: [a] } }, { cpuid: { leaf: 2 }, expect: anything } ]
            """;
        var results = Run(RuleTexts.Load("rules: [ { rule: a, on: cpuid, after: 1 } ]"), Twice);
        Assert.All(results, result => Assert.Empty(result.Failures));
        Assert.Equal(["one", "two"], results.Select(result => result.Name));
    }

    private static List<RuleTestResult> Run(RuleSet set, string text)
    {
        var diagnostics = new DiagnosticBag();
        var file = RuleTestFile.Read(new("a.test.yaml", text), diagnostics);
        Assert.Empty(diagnostics.All);
        return [.. RuleTestRunner.Run(file, set)];
    }

    private static List<RuleTestEvent> Events(string events)
    {
        var diagnostics = new DiagnosticBag();
        var file = RuleTestFile.Read(Text(events), diagnostics);
        Assert.Empty(diagnostics.All);
        return [.. Assert.IsType<WrittenEvents>(Assert.Single(file.Tests).Events).Events];
    }

    private static IReadOnlyList<RuleDiagnostic> Mistakes(string events)
    {
        var diagnostics = new DiagnosticBag();
        RuleTestFile.Read(Text(events), diagnostics);
        return diagnostics.All;
    }

    private static SourceText Text(string events) => new("a.test.yaml", $"rules: [a.yaml]\ndomain: {{ vcpus: 2 }}\ntests:\n  - test: t\n    events:\n{string.Join('\n', events.ReplaceLineEndings("\n").Split('\n').Select(line => "      " + line))}\n");
}
