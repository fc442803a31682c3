using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Tests.Abi;
using Introspect.Hypervisor.Xen;

namespace Introspect.Hypervisor.Tests.Xen;

/// <summary>What differs from release to release, against the numbers of the releases' public headers.</summary>
public sealed class XenReleaseTests
{
    [Theory]
    [InlineData(14, 0x12, 0x13, 6, 104, 96)]
    [InlineData(15, 0x13, 0x13, 7, 104, 96)]
    [InlineData(16, 0x14, 0x14, 7, 112, 104)]
    [InlineData(17, 0x15, 0x15, 7, 112, 104)]
    [InlineData(18, 0x16, 0x15, 7, 112, 104)]
    [InlineData(19, 0x17, 0x15, 7, 112, 104)]
    [InlineData(20, 0x17, 0x15, 7, 112, 104)]
    [InlineData(21, 0x17, 0x16, 7, 112, 104)]
    [InlineData(22, 0x18, 0x16, 7, 112, 104)]
    public void Interface_versions_and_layouts_are_the_releases(int minor, uint domctl, uint sysctl, uint vmEvent, int infoBytes, int archOffset)
    {
        var release = XenRelease.For(4, minor);
        Assert.Equal((domctl, sysctl, vmEvent), (release.Domctl, release.Sysctl, release.VmEvent));
        Assert.Equal((infoBytes, archOffset), (release.DomainInfoBytes, release.DomainInfoArchOffset));
    }

    [Theory]
    [InlineData(4, 13)]
    [InlineData(4, 23)]
    [InlineData(3, 17)]
    [InlineData(5, 17)]
    public void A_release_that_is_not_known_is_refused(int major, int minor)
    {
        var refused = Assert.Throws<HypervisorException>(() => XenRelease.For(major, minor));
        Assert.Equal($"this is Xen {major}.{minor}: only 4.14 to 4.22 are known here (EOPNOTSUPP)", refused.Message);
    }

    [Theory]
    [InlineData(14, MemoryAccess.Default, 10)]
    [InlineData(19, MemoryAccess.Default, 10)]
    [InlineData(19, MemoryAccess.RPw, 255)]
    [InlineData(20, MemoryAccess.Default, 11)]
    [InlineData(20, MemoryAccess.RPw, 10)]
    [InlineData(22, MemoryAccess.N2Rwx, 9)]
    public void Access_rights_have_the_releases_numbers(int minor, MemoryAccess access, byte wire)
    {
        var release = XenRelease.For(4, minor);
        Assert.Equal(wire, release.ToWire((byte)access));
        if (wire != byte.MaxValue)
        {
            Assert.Equal((byte)access, release.FromWire(wire));
        }
    }

    [Fact]
    public void Only_events_that_a_release_has_are_looked_for()
    {
        Assert.Equal([17, 18, 19, 20, 21, 22], XenRelease.All.Where(static release => release.HasVmExit).Select(static release => release.Minor));
        Assert.Equal([18, 19, 20, 21, 22], XenRelease.All.Where(static release => release.HasIo).Select(static release => release.Minor));
    }

    [Fact]
    public void A_library_of_another_release_counts_only_where_the_interface_is_the_same()
    {
        Assert.Equal(["libxenctrl.so.4.17"], XenLibraryNames.Control(XenRelease.For(4, 17)).Sonames);
        Assert.Equal(["libxenctrl.so.4.20", "libxenctrl.so.4.19"], XenLibraryNames.Control(XenRelease.For(4, 20)).Sonames);
    }

    [XenHeadersFact]
    public void A_C_compiler_agrees_with_the_installed_release() => Assert.Equal("", XenHeadersFactAttribute.Compile("""
        #include <stddef.h>
        #include <stdint.h>
        #define __XEN_TOOLS__ 1
        #include <xen/xen.h>
        #include <xen/domctl.h>
        #include <xen/memory.h>
        _Static_assert(XEN_DOMCTL_INTERFACE_VERSION != 0x15 || sizeof(struct xen_domctl_getdomaininfo) == 112, "size");
        _Static_assert(XEN_DOMCTL_INTERFACE_VERSION != 0x15 || offsetof(struct xen_domctl_getdomaininfo, arch_config) == 104, "arch");
        _Static_assert(XEN_DOMCTL_INTERFACE_VERSION != 0x15 || offsetof(struct xen_domctl_createdomain, grant_opts) == 44, "grant_opts");
        _Static_assert(XEN_DOMCTL_INTERFACE_VERSION != 0x15 || offsetof(struct xen_domctl_createdomain, cpupool_id) == 52, "cpupool_id");
        _Static_assert(XEN_DOMCTL_INTERFACE_VERSION != 0x15 || XENMEM_access_default == 10, "default");
        """));
}
