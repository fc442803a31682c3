using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Pump;

public sealed class ActiveHandlerTests
{
    [Fact]
    public void A_handler_that_hangs_is_named_while_it_does()
    {
        using var entered = new ManualResetEventSlim();
        using var release = new ManualResetEventSlim();
        var stuck = PumpRig.Handler("stuck", (ref readonly VmEvent _, ref HandlerContext _) =>
        {
            entered.Set();
            release.Wait(TimeSpan.FromMinutes(2));
            return Verdict.Pass;
        });
        using var rig = new PumpRig(PumpRig.Handler("earlier", Verdict.Pass), stuck).Start();
        Assert.Null(rig.Pump.Statistics.ActiveHandler);
        rig.Monitor.PushAll(Requests.Cpuid());
        Assert.True(entered.Wait(TimeSpan.FromMinutes(2)));
        Assert.Equal("stuck", rig.Pump.Statistics.ActiveHandler);
        release.Set();
        rig.Monitor.WaitForResponses(1);
        Assert.Null(rig.Pump.Statistics.ActiveHandler);
    }
}
