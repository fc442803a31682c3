using Introspect.Rules.Pump;

namespace Introspect.Rules.Tests.Pump;

public class CircuitBreakerTests
{
    [Fact]
    public void It_opens_at_the_threshold_and_not_before()
    {
        var breaker = new CircuitBreaker(3, window: 100, coolDown: 50);

        Assert.False(breaker.Failed(1));
        Assert.False(breaker.Failed(2));
        Assert.True(breaker.Allows(2));
        Assert.True(breaker.Failed(3));
        Assert.False(breaker.Allows(52));
    }

    [Fact]
    public void Failures_further_apart_than_the_window_do_not_add_up()
    {
        var breaker = new CircuitBreaker(2, window: 100, coolDown: 50);

        Assert.False(breaker.Failed(0));
        Assert.False(breaker.Failed(101));
        Assert.True(breaker.Failed(150));
    }

    [Fact]
    public void Successes_between_failures_do_not_hide_them()
    {
        var breaker = new CircuitBreaker(2, window: 100, coolDown: 50);

        breaker.Failed(0);
        Assert.False(breaker.Succeeded());
        Assert.True(breaker.Failed(10));
    }

    [Fact]
    public void Overruns_open_it_only_when_they_also_took_their_share_of_the_window()
    {
        var breaker = new CircuitBreaker(3, window: 100, coolDown: 50, slowTime: 10);

        Assert.False(breaker.Overran(1, elapsed: 2));
        Assert.False(breaker.Overran(2, elapsed: 2));
        Assert.False(breaker.Overran(3, elapsed: 2));
        Assert.False(breaker.Overran(4, elapsed: 3));
        Assert.True(breaker.Overran(5, elapsed: 1));
        Assert.False(breaker.Allows(54));
    }

    [Fact]
    public void One_long_overrun_does_not_open_it()
    {
        var breaker = new CircuitBreaker(2, window: 100, coolDown: 50, slowTime: 10);

        Assert.False(breaker.Overran(60, elapsed: 60));
        Assert.False(breaker.Failed(61));
        Assert.True(breaker.Overran(62, elapsed: 1));
    }

    [Fact]
    public void What_overruns_took_is_forgotten_with_the_window()
    {
        var breaker = new CircuitBreaker(2, window: 100, coolDown: 50, slowTime: 10);

        Assert.False(breaker.Overran(0, elapsed: 9));
        Assert.False(breaker.Overran(101, elapsed: 4));
        Assert.False(breaker.Overran(102, elapsed: 4));
        Assert.True(breaker.Overran(103, elapsed: 4));
    }

    [Fact]
    public void After_the_cool_down_one_event_is_the_trial()
    {
        var breaker = new CircuitBreaker(1, window: 100, coolDown: 50);
        breaker.Failed(10);

        Assert.False(breaker.Allows(59));
        Assert.True(breaker.Allows(60));
        Assert.True(breaker.Failed(61));
        Assert.False(breaker.Allows(110));
        Assert.True(breaker.Allows(111));
        Assert.True(breaker.Succeeded());
        Assert.True(breaker.Allows(112));
        Assert.False(breaker.Succeeded());
    }
}
