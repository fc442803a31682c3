using Introspect.Hypervisor.Abi;
using Introspect.Rules.Running;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Running;

/// <summary>Rules whose events are too many.</summary>
public sealed class FloodTests
{
    private const string Rules = """
        rules:
          - { rule: flood, on: cpuid, do: count, rate: { events: 5/s, cool_down: 10s } }
          - { rule: calm, on: guest_request }
        """;

    [Fact]
    public async Task the_events_of_a_flooding_rule_are_switched_off_for_a_while_and_the_gap_is_told()
    {
        var clock = new FiringClock();
        using var rig = new RuleRig(clock, null, Rules).Start();
        await using var guard = new FloodGuard(rig.Pump, rig.Rules);
        Assert.Contains("Cpuid", rig.Monitor.Enabled);
        for (var i = 0; i < 6; i++)
        {
            rig.Exchange(Requests.Cpuid());
        }

        Until(() => !rig.Monitor.Enabled.Contains("Cpuid"));
        Assert.Contains("GuestRequest", rig.Monitor.Enabled);
        Assert.True(rig.Statistics("flood").IsThrottled);
        var told = Assert.Single(rig.Alerts());
        Assert.Equal((AlertKind.Throttled, "flood"), (told.Kind, told.Rule));
        Assert.Equal("rule flood has more than 5/s events and is not watched for 10s", told.Message);
        Assert.Equal(["calm"], rig.AlertsOf(Requests.Make(VmEventReason.GuestRequest)));

        Until(() => clock.Timers > 0);
        clock.Advance(TimeSpan.FromSeconds(10));
        Until(() => rig.Monitor.Enabled.Contains("Cpuid"));
        Assert.False(rig.Statistics("flood").IsThrottled);
        var again = Assert.Single(rig.Alerts());
        Assert.Equal((AlertKind.Resumed, "flood"), (again.Kind, again.Rule));
        rig.Exchange(Requests.Cpuid());
        Assert.Equal(7, rig.Statistics("flood").Matches);
        Assert.Equal(1, rig.Statistics("flood").Throttles);
        rig.Pump.Stop();
        Assert.Equal(0, rig.Monitor.Unanswered);
        Assert.Empty(rig.Monitor.Breaches);
    }

    [Fact]
    public async Task what_is_in_the_ring_when_the_events_are_switched_off_is_answered()
    {
        using var rig = new RuleRig(new FiringClock(), null, Rules).Start();
        await using var guard = new FloodGuard(rig.Pump, rig.Rules);
        var pushed = 0;
        while (rig.Monitor.Enabled.Contains("Cpuid"))
        {
            rig.Monitor.PushIfEnabled("Cpuid", Requests.Cpuid());
            pushed++;
            Assert.True(pushed < 1_000_000, "the flood is not stopped");
        }

        rig.Pump.Stop();
        Assert.Equal(0, rig.Monitor.Unanswered);
        Assert.Empty(rig.Monitor.Breaches);
    }

    [Fact]
    public void without_a_guard_a_throttled_rule_still_leaves_events_alone()
    {
        using var rig = new RuleRig(new FiringClock(), null, Rules).Start();
        for (var i = 0; i < 20; i++)
        {
            rig.Exchange(Requests.Cpuid());
        }

        Assert.Equal(6, rig.Statistics("flood").Matches);
    }

    private static void Until(Func<bool> condition) => Assert.True(SpinWait.SpinUntil(condition, TimeSpan.FromSeconds(60)));
}
