using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Saving;

namespace Introspect.Hypervisor.Tests.Saving;

/// <summary>A vCPU in the form of a dumped core.</summary>
public class CoreDumpTests
{
    // name, offset in struct vcpu_guest_context of a 64-bit domain
    [Theory]
    [InlineData(nameof(VcpuGuestContext.Flags), 512)]
    [InlineData(nameof(VcpuGuestContext.UserRegs), 520)]
    [InlineData(nameof(VcpuGuestContext.Cr0), 4984)]
    [InlineData(nameof(VcpuGuestContext.Cr4), 4984 + (4 * 8))]
    [InlineData(nameof(VcpuGuestContext.Dr0), 4984 + (8 * 8))]
    [InlineData(nameof(VcpuGuestContext.Dr7), 4984 + (15 * 8))]
    [InlineData(nameof(VcpuGuestContext.FsBase), 5168 - 24)]
    [InlineData(nameof(VcpuGuestContext.GsBaseUser), 5168 - 8)]
    public void A_context_is_as_Xen_has_it(string field, int offset) => Assert.Equal(offset, (int)Marshal.OffsetOf<VcpuGuestContext>(field));

    [Theory]
    [InlineData(nameof(CpuUserRegs.R15), 0)]
    [InlineData(nameof(CpuUserRegs.Rbx), 5 * 8)]
    [InlineData(nameof(CpuUserRegs.Rdi), 14 * 8)]
    [InlineData(nameof(CpuUserRegs.Rip), 16 * 8)]
    [InlineData(nameof(CpuUserRegs.Cs), 17 * 8)]
    [InlineData(nameof(CpuUserRegs.Rflags), 18 * 8)]
    [InlineData(nameof(CpuUserRegs.Rsp), 19 * 8)]
    [InlineData(nameof(CpuUserRegs.Ss), 20 * 8)]
    [InlineData(nameof(CpuUserRegs.Gs), 24 * 8)]
    public void Registers_are_as_Xen_has_them(string field, int offset)
    {
        Assert.Equal(offset, (int)Marshal.OffsetOf<CpuUserRegs>(field));
        Assert.Equal((200, VcpuGuestContext.SizeInBytes), (Marshal.SizeOf<CpuUserRegs>(), Marshal.SizeOf<VcpuGuestContext>()));
    }

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
