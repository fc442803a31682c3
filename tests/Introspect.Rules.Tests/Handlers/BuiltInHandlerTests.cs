using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Handlers;

public class BuiltInHandlerTests
{
    private const ulong Smep = 1UL << 20;
    private const ulong Smap = 1UL << 21;
    private const ulong Pae = 1UL << 5;

    [Theory]
    [InlineData(Smep | Smap | Pae, Smap | Pae, true)]
    [InlineData(Smep | Smap | Pae, Smep | Pae, true)]
    [InlineData(Smep | Smap | Pae, Pae, true)]
    [InlineData(Smep | Pae, Smap | Pae, true)]
    [InlineData(Pae, Smep | Smap | Pae, false)]
    [InlineData(Smep, Smep | Smap, false)]
    [InlineData(Smep | Smap | Pae, Smep | Smap, false)]
    public void ProtectCr4_denies_only_what_clears_SMEP_or_SMAP(ulong oldValue, ulong newValue, bool denied)
    {
        var request = Requests.ControlRegister(ControlRegisterIndex.Cr4, oldValue, newValue);

        Assert.Equal(denied ? Verdict.Deny : Verdict.Pass, Ask(new ProtectCr4Handler(), request));
    }

    [Fact]
    public void ProtectCr4_asks_for_the_two_bits_alone()
    {
        var builder = new SubscriptionBuilder("protect-cr4");
        new ProtectCr4Handler().Subscribe(builder);

        var wish = Assert.Single(builder.Build().ControlRegisters);

        Assert.Equal(new ControlRegisterWish(ControlRegisterIndex.Cr4, Smep | Smap, true, true, false), wish);
    }

    [Fact]
    public void Log_has_no_opinion_and_observes_what_others_decided()
    {
        var builder = new SubscriptionBuilder("log");
        new LogHandler().Subscribe(builder);
        var wishes = builder.Build();

        Assert.True(wishes.ObservesDecided);
        Assert.All(wishes.ControlRegisters, wish => Assert.True(wish is { Optional: true, Sync: false, MayDeny: false }));
        Assert.All(wishes.Msrs, wish => Assert.True(wish.Optional));
        Assert.All(wishes.Simple, wish => Assert.True(wish.Optional));
        Assert.Equal(LogHandler.UsualMsrs.ToArray(), wishes.Msrs.Select(wish => wish.Number));
        Assert.Equal(Verdict.Pass, Ask(new LogHandler(), Requests.Cpuid()));
    }

    [Fact]
    public void Log_takes_the_events_that_it_is_given()
    {
        var builder = new SubscriptionBuilder("log");
        new LogHandler(subscription => subscription.VmExit()).Subscribe(builder);
        var wishes = builder.Build();

        Assert.Equal(VmEventReason.VmExit, Assert.Single(wishes.Simple).Reason);
        Assert.Empty(wishes.ControlRegisters);
    }

    private static Verdict Ask(IEventHandler handler, VmEvent request)
    {
        var response = request;
        using var domain = new MockDomain();
        var context = new HandlerContext(domain, in request, ref response, default);
        return handler.Handle(in request, ref context);
    }
}
