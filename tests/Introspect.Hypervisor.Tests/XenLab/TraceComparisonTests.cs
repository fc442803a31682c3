using Introspect.XenLab.Compare;

namespace Introspect.Hypervisor.Tests.XenLab;

public sealed class TraceComparisonTests
{
    private const string Cpuid = """{"type":"event","time":"a","domain":1,"reason":"cpuid","rip":"0x1","cpuid":{"leaf":"0x0","eax":"0xd"},"registers":{"rax":"0xd","rsi":"0x2","npt_base":"0x1"}}""";
    private const string Summary = """{"type":"summary","events":1}""";

    [Fact]
    public void What_cannot_be_the_same_does_not_count()
    {
        var other = Cpuid.Replace("\"a\"", "\"b\"", StringComparison.Ordinal).Replace("\"domain\":1", "\"domain\":7", StringComparison.Ordinal)
            .Replace("0xd", "0xe", StringComparison.Ordinal).Replace("\"npt_base\":\"0x1\"", "\"npt_base\":\"0x9\"", StringComparison.Ordinal);
        var comparison = TraceComparison.Of([Cpuid, Summary], [other]);
        Assert.Empty(comparison.Differences);
        Assert.Equal(1, comparison.EqualByReason["cpuid"]);
        Assert.Equal(5, comparison.Members);
    }

    [Fact]
    public void A_difference_is_named_by_event_and_member()
    {
        var other = Cpuid.Replace("\"rsi\":\"0x2\"", "\"rsi\":\"0x3\"", StringComparison.Ordinal);
        Assert.Equal(["event 2 (cpuid): registers.rsi is \"0x2\" and \"0x3\""], TraceComparison.Of([Cpuid, Cpuid], [Cpuid, other]).Differences);
    }

    [Fact]
    public void A_member_that_differs_in_many_events_is_told_once_and_the_others_all_the_same()
    {
        var other = Cpuid.Replace("\"rsi\":\"0x2\"", "\"rsi\":\"0x3\"", StringComparison.Ordinal);
        var third = other.Replace("\"leaf\":\"0x0\"", "\"leaf\":\"0x1\"", StringComparison.Ordinal);
        Assert.Equal(
            ["event 1 (cpuid): registers.rsi is \"0x2\" and \"0x3\", as in 2 more", "event 3 (cpuid): cpuid.leaf is \"0x0\" and \"0x1\""],
            TraceComparison.Of([Cpuid, Cpuid, Cpuid], [other, other, third]).Differences);
    }

    [Fact]
    public void A_member_on_one_side_only_is_a_difference()
    {
        var other = Cpuid.Replace("\"rsi\":\"0x2\",", "", StringComparison.Ordinal);
        Assert.Equal(["event 1 (cpuid): registers.rsi is absent and \"0x2\""], TraceComparison.Of([other], [Cpuid]).Differences);
    }

    [Fact]
    public void RAX_counts_in_events_that_are_not_CPUID()
    {
        var one = Cpuid.Replace("\"reason\":\"cpuid\"", "\"reason\":\"guest_request\"", StringComparison.Ordinal);
        var other = one.Replace("\"rax\":\"0xd\"", "\"rax\":\"0xe\"", StringComparison.Ordinal);
        Assert.Single(TraceComparison.Of([one], [other]).Differences);
    }

    [Fact]
    public void Another_event_ends_the_comparison_and_a_missing_one_is_told()
    {
        var other = Cpuid.Replace("\"reason\":\"cpuid\"", "\"reason\":\"singlestep\"", StringComparison.Ordinal);
        Assert.Equal(["3 events and 2", "event 1: cpuid at 0x1 and singlestep at 0x1"], TraceComparison.Of([Cpuid, Cpuid, Cpuid], [other, Cpuid]).Differences);
    }

    [Fact]
    public void Two_empty_traces_prove_nothing() => Assert.NotEmpty(TraceComparison.Of([Summary], [Summary]).Differences);
}
