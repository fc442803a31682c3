namespace Introspect.Rules.Tests.Files;

/// <summary>What stands behind <c>do:</c>, and what of it an event cannot give.</summary>
public sealed class VerdictTests
{
    [Fact]
    public void every_verdict_can_be_written()
    {
        var plan = RuleTexts.Only("""
            rules:
              - rule: a
                on: software_breakpoint
                do:
                  - deny
                  - set: { rax: 0x10, RBX: rcx, rdx: -1 }
                  - step: 16
                  - view: 2
                  - inject: { vector: 13, error_code: 8 }
                  - pause
                  - tag: [one, two]
                  - alert
            """).Verdict;
        Assert.Equal("deny, set rax=0x10 rbx=rcx rdx=0xffffffffffffffff, step 16, view 2, inject vector 13, pause, tag one two, alert", plan.ToString());
        Assert.Equal(8u, plan.Trap.ErrorCode);
        Assert.Equal("emulate without writes, alert", RuleTexts.Only("rules: [ { rule: a, on: descriptor_access, do: { emulate: { discard_writes: true } } } ]").Verdict.ToString());
        Assert.False(RuleTexts.Only("rules: [ { rule: a, on: cpuid, do: count } ]").Verdict.Alerts);
    }

    [Theory]
    [InlineData("dney", "is no verdict")]
    [InlineData("[deny, allow]", "contradict each other")]
    [InlineData("[deny, deny]", "is there already")]
    [InlineData("[count, alert]", "cannot both be")]
    [InlineData("[skip, { set: { rip: 0 } }]", "'skip' sets RIP")]
    [InlineData("step", "needs to know more")]
    [InlineData("{ step: 0 }", "is no number of instructions")]
    [InlineData("{ view: 512 }", "is no number of a view")]
    [InlineData("{ deny: now }", "takes nothing behind it")]
    [InlineData("{ set: { xmm0: 1 } }", "is no register that can be set")]
    [InlineData("{ set: { rax: rxa } }", "is neither a number nor a register")]
    [InlineData("{ inject: { error_code: 1 } }", "the vector is missing")]
    [InlineData("{ deny: , alert: }", "write a dash before each")]
    public void a_verdict_that_makes_no_sense_is_refused(string verdict, string why) =>
        Assert.Contains(RuleTexts.Mistakes($"rules: [ {{ rule: a, on: software_breakpoint, do: {verdict} }} ]"), mistake => mistake.Message.Contains(why, StringComparison.Ordinal));

    [Theory]
    [InlineData("cpuid", "deny", "its results are there already")]
    [InlineData("interrupt", "deny", "nothing that could be held back")]
    [InlineData("{ write_ctrlreg: { sync: false } }", "deny", "an async event has happened")]
    [InlineData("{ debug_exception: { sync: false } }", "pause", "an async event has happened")]
    [InlineData("cpuid", "emulate", "only accesses to memory")]
    [InlineData("guest_request", "skip", "no instruction that could be left out")]
    [InlineData("cpuid", "reinject", "use inject")]
    [InlineData("{ software_breakpoint: { at: 0x1000 } }", "deny", "nothing to deny")]
    [InlineData("{ software_breakpoint: { at: 0x1000 } }", "skip", "under the breakpoint")]
    [InlineData("{ software_breakpoint: { at: 0x1000 } }", "reinject", "knows nothing")]
    public void what_a_verdict_cannot_do_about_an_event_is_told_with_the_reason(string on, string verdict, string why)
    {
        var mistake = RuleTexts.Mistakes($"rules: [ {{ rule: a, on: {on}, do: {verdict} }} ]")[0];
        Assert.Contains(why, mistake.Message, StringComparison.Ordinal);
        Assert.Equal(verdict, mistake.Span.Characters.ToString());
    }

    [Theory]
    [InlineData("register == XCR0", "writes of XCR0")]
    [InlineData("true", "writes of XCR0")]
    [InlineData("register == CR0", "a CLTS is done")]
    [InlineData("register == CR0 and changed(CR0.TS | CR0.WP)", "a CLTS is done")]
    public void writes_that_no_hypervisor_can_hold_back_cannot_be_denied(string when, string why)
    {
        foreach (var verdict in new[] { "do: deny", "do: skip", "fail: closed" })
        {
            Assert.Contains(RuleTexts.Mistakes($"rules: [ {{ rule: a, on: write_ctrlreg, when: '{when}', {verdict} }} ]"), mistake => mistake.Message.Contains(why, StringComparison.Ordinal));
        }

        Assert.Empty(RuleTexts.Mistakes($"rules: [ {{ rule: a, on: write_ctrlreg, when: '{when}' }} ]"));
        Assert.Empty(RuleTexts.Mistakes($"rules: [ {{ rule: a, on: write_ctrlreg, when: '{when}', do: deny, mode: observe }} ]"));
    }

    [Theory]
    [InlineData("register == CR4")]
    [InlineData("register == CR3")]
    [InlineData("register == CR0 and cleared(CR0.WP)")]
    [InlineData("register in (CR3, CR4) and changed(0x10)")]
    public void writes_that_can_be_held_back_can_be_denied(string when) =>
        Assert.Empty(RuleTexts.Mistakes($"rules: [ {{ rule: a, on: write_ctrlreg, when: '{when}', do: deny, fail: closed }} ]"));

    [Fact]
    public void a_rule_that_fails_closed_is_not_left_alone_in_a_flood() =>
        Assert.Contains("cannot leave its events alone", Assert.Single(RuleTexts.Mistakes("rules: [ { rule: a, on: mov_to_msr, when: msr == LSTAR, do: deny, fail: closed, rate: { events: 5/s } } ]")).Message, StringComparison.Ordinal);

    [Fact]
    public void a_rule_waits_for_its_verdict_only_where_it_has_one()
    {
        Assert.False(IsSync("do: alert"));
        Assert.True(IsSync("do: deny"));
        Assert.True(IsSync("do: pause"));
        Assert.True(IsSync("fail: closed"));
        Assert.False(IsSync("do: deny, mode: observe"));
        Assert.True(IsSync("do: alert", " and u64[rsp] == 1"));

        static bool IsSync(string keys, string and = "")
        {
            var rule = Assert.Single(RuleTexts.Load($"rules: [ {{ rule: a, on: write_ctrlreg, when: 'register == CR4{and}', {keys} }} ]").Rules);
            return rule.IsSync(Assert.Single(rule.Definition.On));
        }
    }
}
