using Introspect.Hypervisor.Core.Building.Demo;
using Xunit;

namespace Introspect.Hypervisor.Tests.Building;

public sealed class DemoGuestTests
{
    [FactWithTool(Qemu.Tool)]
    public void It_runs_to_its_end_on_an_independent_cpu()
    {
        DemoGuest guest = DemoGuest.Build(new DemoGuestOptions { MirrorToDebugPort = true });
        (int exitCode, string console) = Qemu.Boot(guest.Image);
        Assert.Equal(guest.ExpectedConsole(), console);
        Assert.Equal(Qemu.Done, exitCode);
    }
}
