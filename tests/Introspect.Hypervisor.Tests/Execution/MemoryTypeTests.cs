using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Building.Demo;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.State;
using Introspect.Hypervisor.Tests.EndToEnd;

namespace Introspect.Hypervisor.Tests.Execution;

public sealed class MemoryTypeTests
{
    private const ulong WriteBackEnabled = 0x806;

    [Fact]
    public void Every_vcpu_of_a_pvh_guest_starts_with_mtrrs_that_say_write_back()
    {
        using LabGuest guest = new(DemoGuest.Build().Image, vcpus: 3);
        for (uint vcpu = 0; vcpu < 3; vcpu++)
        {
            var types = Save(guest.Inside, vcpu);
            Assert.Equal(WriteBackEnabled, types.DefaultType);
            Assert.Equal(0x508UL, types.Capabilities);
            Assert.Equal(0x0007_0406_0007_0406UL, types.Pat);
        }
    }

    [Fact]
    public void What_was_saved_is_what_is_loaded()
    {
        using LabGuest guest = new(DemoGuest.Build().Image);
        var types = Save(guest.Inside, 0);
        types.Pat = 0x0407_0506_0007_0106;
        types.Variable[4] = 0xe000_0000;
        types.Variable[5] = 0x7f_f000_0800;
        types.Fixed[0] = 0x0606_0606_0606_0606;
        types.Fixed[10] = 0x0505_0505_0505_0505;
        types.DefaultType = 0xc00;
        Assert.Equal(Errno.None, Load(guest.Inside, types));
        var again = Save(guest.Inside, 0);
        Assert.Equal(Bytes(types), Bytes(again));
    }

    [Fact]
    public void Types_that_there_are_not_and_ranges_beyond_the_eight_are_refused()
    {
        using LabGuest guest = new(DemoGuest.Build().Image);
        var good = Save(guest.Inside, 0);
        var bad = good;
        bad.DefaultType = 0x802;
        Assert.Equal(Errno.EINVAL, Load(guest.Inside, bad));
        bad = good;
        bad.Pat = 2;
        Assert.Equal(Errno.EINVAL, Load(guest.Inside, bad));
        bad = good;
        bad.Fixed[3] = 3;
        Assert.Equal(Errno.EINVAL, Load(guest.Inside, bad));
        bad = good;
        bad.Variable[15] = 1UL << 51;
        Assert.Equal(Errno.EINVAL, Load(guest.Inside, bad));
        bad = good;
        bad.Capabilities = 0x509;
        Assert.Equal(Errno.EINVAL, Load(guest.Inside, bad));
        Assert.Equal(Errno.None, Load(guest.Inside, good));
        Assert.Equal(Errno.EINVAL, Section(guest.Inside).Load(1, Bytes(good)));
    }

    [Fact]
    public void Who_has_no_mtrrs_is_given_a_pat_alone()
    {
        using LabGuest guest = new(
            DemoGuest.Build().Image, platform: new() { Features = CpuFeatures.Implemented.Without(CpuFeature.Mtrr) });
        var types = Save(guest.Inside, 0);
        Assert.Equal(Bytes(new HvmHwMtrr { Pat = types.Pat }), Bytes(types));
        types.DefaultType = WriteBackEnabled;
        types.Pat = 0x0606_0606_0606_0606;
        Assert.Equal(Errno.None, Load(guest.Inside, types));
        Assert.Equal(0UL, Save(guest.Inside, 0).DefaultType);
        Assert.Equal(types.Pat, Save(guest.Inside, 0).Pat);
    }

    private static IHvmContextSection Section(Domain domain) => Assert.Single(domain.ContextSections, s => s.TypeCode == HvmSaveCode.Mtrr);

    private static HvmHwMtrr Save(Domain domain, uint vcpu)
    {
        var section = Section(domain);
        var record = new byte[section.Length];
        Assert.True(section.TrySave(vcpu, record));
        return MemoryMarshal.Read<HvmHwMtrr>(record);
    }

    private static Errno Load(Domain domain, HvmHwMtrr types) => Section(domain).Load(0, Bytes(types));

    private static byte[] Bytes(HvmHwMtrr types) => MemoryMarshal.AsBytes(new ReadOnlySpan<HvmHwMtrr>(in types)).ToArray();
}
