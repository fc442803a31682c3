using Introspect.Rules.Handlers;

namespace Introspect.Rules.Tests.Handlers;

public class VerdictTests
{
    [Fact]
    public void The_default_verdict_is_no_opinion()
    {
        Assert.Equal(Verdict.Pass, default);
        Assert.True(default(Verdict).IsPass);
    }

    [Fact]
    public void An_effect_makes_an_opinion_of_none()
    {
        Assert.Equal(Decision.Allow, Verdict.Pass.WithRegisters().Decision);
        Assert.Equal(Decision.Deny, Verdict.Deny.WithRegisters().Decision);
        Assert.False(Verdict.Pass.WithView(3).IsPass);
    }

    [Fact]
    public void Stepping_is_either_switched_on_or_off()
    {
        Assert.Equal(VerdictEffects.SinglestepOff, Verdict.Allow.WithSinglestepOn().WithSinglestepOff().Effects);
        Assert.Equal(VerdictEffects.SinglestepOn, Verdict.Allow.WithSinglestepOff().WithSinglestepOn().Effects);
    }

    [Fact]
    public void A_view_survives_other_effects()
    {
        Assert.Equal(9, Verdict.Allow.WithView(9).WithRegisters().View);
    }

    [Theory]
    [InlineData(0, "pass")]
    [InlineData(1, "allow+registers+singlestep_on")]
    [InlineData(2, "emulate+discard_writes")]
    [InlineData(3, "allow+inject")]
    [InlineData(4, "deny+view")]
    public void Its_text_is_short(int index, string text)
    {
        Verdict[] verdicts = [Verdict.Pass, Verdict.Allow.WithSinglestepOn().WithRegisters(), Verdict.EmulateDiscardingWrites, Verdict.Reinject, Verdict.Deny.WithView(1)];
        Assert.Equal(text, verdicts[index].ToString());
    }

    [Fact]
    public void It_is_small()
    {
        Assert.True(System.Runtime.CompilerServices.Unsafe.SizeOf<Verdict>() <= 8);
    }
}
