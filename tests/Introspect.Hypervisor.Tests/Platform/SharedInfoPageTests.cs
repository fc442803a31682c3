using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Tests.Platform;

public sealed class SharedInfoPageTests
{
    private static uint U32(byte[] page, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(page.AsSpan(offset));

    private static ulong U64(byte[] page, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(page.AsSpan(offset));

    [Fact]
    public void Layouts_agree_with_the_public_structure()
    {
        var wide = new SharedInfoLayout(true);
        Assert.Equal(SharedInfoLayout.Pending, Marshal.OffsetOf<SharedInfo>(nameof(SharedInfo.EvtchnPending)));
        Assert.Equal(Marshal.OffsetOf<SharedInfo>(nameof(SharedInfo.EvtchnMask)), wide.Mask);
        Assert.Equal(Marshal.OffsetOf<SharedInfo>(nameof(SharedInfo.WcVersion)), wide.WallClock);
        Assert.Equal(Marshal.OffsetOf<SharedInfo>(nameof(SharedInfo.WcSecHi)), wide.WallClockSecondsHigh);
        Assert.Equal(Marshal.OffsetOf<VcpuInfo>(nameof(VcpuInfo.EvtchnPendingSel)), wide.PendingSelector);
        Assert.Equal(SharedInfoLayout.Time, Marshal.OffsetOf<VcpuInfo>(nameof(VcpuInfo.Time)));
        Assert.Equal(SharedInfoLayout.VcpuInfoSize, Unsafe.SizeOf<VcpuInfo>());
        Assert.Equal(4096u, wide.Ports);

        // 32 bits: pending 32 words at 2048, mask behind it, clock at 2304, its high half behind arch_shared_info.
        var narrow = new SharedInfoLayout(false);
        Assert.Equal((2176, 2304, 2340, 4, 1024u),
            (narrow.Mask, narrow.WallClock, narrow.WallClockSecondsHigh, narrow.PendingSelector, narrow.Ports));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Time_is_written_under_its_version(bool is64)
    {
        var pages = new SharedPages();
        var shared = new SharedInfoPage(pages);
        shared.Latch(is64);
        shared.WriteTime(1, 0x1122334455667788, 987654321, new TimeScale(0x80000000, 1), stable: true);
        shared.WriteTime(1, 0x1122334455667789, 987654322, new TimeScale(0x80000000, -3), stable: true);
        const int Time = 64 + 32;
        Assert.Equal(4u, U32(pages.Page, Time));
        Assert.Equal(0x1122334455667789UL, U64(pages.Page, Time + 8));
        Assert.Equal(987654322UL, U64(pages.Page, Time + 16));
        Assert.Equal(0x80000000u, U32(pages.Page, Time + 24));
        Assert.Equal(-3, (sbyte)pages.Page[Time + 28]);
        Assert.Equal(1, pages.Page[Time + 29]);
        Assert.Equal(0u, U32(pages.Page, Time - 64));
    }

    [Fact]
    public void Time_goes_where_the_vcpu_registered_its_structure()
    {
        var pages = new SharedPages { Registered = { [1] = new byte[64] } };
        new SharedInfoPage(pages).WriteTime(1, 5, 6, new TimeScale(7, 0), stable: false);
        Assert.All(pages.Page, b => Assert.Equal(0, b));
        Assert.Equal(5UL, U64(pages.Registered[1]!, 40));
        Assert.Equal(0, pages.Registered[1]![61]);
    }

    [Fact]
    public void A_version_that_a_guest_made_odd_becomes_even_again()
    {
        var pages = new SharedPages();
        pages.Page[32] = 7;
        new SharedInfoPage(pages).WriteTime(0, 5, 6, new TimeScale(7, 0), stable: false);
        Assert.Equal(0u, U32(pages.Page, 32) & 1);
    }

    [Theory]
    [InlineData(true, 3072, 3084)]
    [InlineData(false, 2304, 2340)]
    public void The_wall_clock_has_seconds_of_64_bits(bool is64, int offset, int high)
    {
        var pages = new SharedPages();
        var shared = new SharedInfoPage(pages);
        shared.Latch(is64);
        shared.WriteWallClock((0x1_0000_0005UL * 1_000_000_000) + 77);
        Assert.Equal(2u, U32(pages.Page, offset));
        Assert.Equal(5u, U32(pages.Page, offset + 4));
        Assert.Equal(77u, U32(pages.Page, offset + 8));
        Assert.Equal(1u, U32(pages.Page, high));
    }

    [Fact]
    public void Vcpus_beyond_the_page_have_no_structure_until_they_register_one()
    {
        var pages = new SharedPages(40);
        var shared = new SharedInfoPage(pages);
        Assert.True(shared.HasVcpuInfo(31));
        Assert.False(shared.HasVcpuInfo(32));
        Assert.False(shared.Select(32, 1));
        pages.Registered[32] = new byte[64];
        Assert.True(shared.HasVcpuInfo(32));
    }
}
