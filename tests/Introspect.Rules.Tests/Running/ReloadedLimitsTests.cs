using Introspect.Rules.Running;
using Introspect.Rules.Tests.Files;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Running;

/// <summary>What a rule's rate has let through counts on when other rules take over.</summary>
public sealed class ReloadedLimitsTests
{
    private const string Flood = "rules: [ { rule: flood, on: cpuid, do: count, rate: { events: 5/s, cool_down: 10s } }, { rule: calm, on: guest_request } ]";
    private const string Same = "\nlists: { more: [1] }";

    [Theory]
    [InlineData("rate: { alerts: 1/m, burst: 2 }", 0)]
    [InlineData("rate: { alerts: 1/m, burst: 3 }", 3)]
    [InlineData("rate: { alerts: 2/m, burst: 2 }", 2)]
    public void A_reload_gives_no_new_room_for_alerts_but_with_another_rate(string rate, int alerts)
    {
        using var rig = new RuleRig(new ManualClock(), null, Told("rate: { alerts: 1/m, burst: 2 }")).Start();
        Assert.Equal(2, Exchange(rig, 5).Count);
        rig.Pump.Apply(rig.Pump.Prepare([new(Next(rig, Told(rate) + Same).Handler)]));
        Assert.Equal(alerts, Exchange(rig, 5).Count);

        static string Told(string rate) => $"rules: [ {{ rule: a, on: cpuid, {rate} }} ]";
    }

    [Fact]
    public async Task A_reload_does_not_end_a_cool_down_and_its_end_is_told()
    {
        var clock = new FiringClock();
        using var rig = new RuleRig(clock, null, Flood).Start();
        var guard = new FloodGuard(rig.Pump, rig.Rules);
        Assert.Equal(AlertKind.Throttled, Assert.Single(Exchange(rig, 6)).Kind);
        Until(() => !rig.Monitor.Enabled.Contains("Cpuid"));

        var next = Next(rig, Flood + Same);
        var change = rig.Pump.Prepare([new(next.Handler)]);
        await guard.DisposeAsync();
        rig.Pump.Apply(change);
        var before = clock.Timers;
        await using var after = new FloodGuard(rig.Pump, next);
        Assert.DoesNotContain("Cpuid", rig.Monitor.Enabled);
        Assert.True(next.Statistics[0].IsThrottled);
        Until(() => clock.Timers > before);
        clock.Advance(TimeSpan.FromSeconds(10));
        Until(() => rig.Monitor.Enabled.Contains("Cpuid"));
        Assert.Equal(AlertKind.Resumed, Assert.Single(rig.Alerts()).Kind);
    }

    [Fact]
    public async Task A_cool_down_that_ends_while_a_reload_is_prepared_ends_for_the_new_rules()
    {
        var clock = new FiringClock();
        using var rig = new RuleRig(clock, null, Flood).Start();
        var guard = new FloodGuard(rig.Pump, rig.Rules);
        Exchange(rig, 6);
        Until(() => !rig.Monitor.Enabled.Contains("Cpuid"));
        var next = Next(rig, Flood + Same);
        var change = rig.Pump.Prepare([new(next.Handler)]);
        Until(() => clock.Timers > 0);
        clock.Advance(TimeSpan.FromSeconds(10));
        Until(() => rig.Monitor.Enabled.Contains("Cpuid"));

        await guard.DisposeAsync();
        rig.Pump.Apply(change);
        Assert.DoesNotContain("Cpuid", rig.Monitor.Enabled);
        await using var after = new FloodGuard(rig.Pump, next);
        Until(() => rig.Monitor.Enabled.Contains("Cpuid"));
        Assert.False(next.Statistics[0].IsThrottled);
    }

    private static DomainRules Next(RuleRig rig, string text) => new(RuleTexts.Load(text), rig.Domain, rig.Channel, clock: rig.Rules.Clock, before: rig.Rules);

    private static List<AlertRecord> Exchange(RuleRig rig, int count)
    {
        for (var i = 0; i < count; i++)
        {
            rig.Exchange(Requests.Cpuid());
        }

        return rig.Alerts();
    }

    private static void Until(Func<bool> condition) => Assert.True(SpinWait.SpinUntil(condition, TimeSpan.FromSeconds(60)));
}
