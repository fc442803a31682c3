using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Saving;

namespace Introspect.Hypervisor.Tests.Saving;

/// <summary>A vCPU in the form of a dumped core.</summary>
public class CoreDumpTests
{
    [Theory]
    [InlineData(0u, 1UL, 2UL)]
    [InlineData(3u, 2UL, 1UL)]
    public void The_base_that_waits_for_SWAPGS_is_the_other_ones(uint privilege, ulong kernel, ulong user)
    {
        var context = CoreDump.Convert(new HvmHwCpu
        {
            GsBase = 1,
            ShadowGs = 2,
            SsArbytes = 0x93 | (privilege << 5),
            Rip = 3,
            Cr3 = 4,
            Dr6 = 5,
            CsSel = 0x33,
            Flags = HvmHwCpu.FpuInitialised,
        });
        Assert.Equal((kernel, user), (context.GsBaseKernel, context.GsBaseUser));
        Assert.Equal((3UL, 4UL, 5UL, 0x33, 33UL), (context.UserRegs.Rip, context.Cr3, context.Dr6, context.UserRegs.Cs, context.Flags));
    }
}
