using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Tests.Domains;
using Introspect.Hypervisor.Xen;

namespace Introspect.Hypervisor.Tests.Xen;

/// <summary>Which libraries are looked for, and what is said where one is missing.</summary>
public sealed class XenLibrariesTests : IDisposable
{
    private readonly TestMachine _lab = new();

    public void Dispose() => _lab.Dispose();

    [Theory]
    [InlineData("libxencall.so.1", "libxencall.so.1 is missing: install the package libxencall1 (Debian's name) (ENOENT)")]
    [InlineData("libxenctrl.so.4.17", "libxenctrl.so.4.17 is missing: install the package libxenmisc4.17 (Debian's name) (ENOENT)")]
    [InlineData("libxenforeignmemory.so.1", "libxenforeignmemory.so.1 is missing: install the package libxenforeignmemory1 (Debian's name) (ENOENT)")]
    [InlineData("libxenevtchn.so.1", "libxenevtchn.so.1 is missing: install the package libxenevtchn1 (Debian's name) (ENOENT)")]
    public void A_missing_library_is_one_line_with_its_package(string soname, string line)
    {
        using var fake = new FakeXenLibraries(_lab.Toolstack, 17);
        fake.Missing.Add(soname);
        Assert.Equal(line, Assert.Throws<HypervisorException>(() => XenHypervisor.Open(fake, CpuVendor.Vmx)).Message);
    }

    [Fact]
    public void xenstore_has_two_names()
    {
        using var fake = new FakeXenLibraries(_lab.Toolstack, 17);
        fake.Missing.Add("libxenstore.so.4");
        XenHypervisor.Open(fake, CpuVendor.Vmx).Dispose();
        Assert.Equal(["libxenstore.so.4", "libxenstore.so.3.0"], fake.Asked[^2..]);
        fake.Missing.Add("libxenstore.so.3.0");
        Assert.StartsWith("libxenstore.so.4 is missing: install the package libxenstore4", Assert.Throws<HypervisorException>(() => XenHypervisor.Open(fake, CpuVendor.Vmx)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_missing_function_is_one_line_with_its_package()
    {
        using var fake = new FakeXenLibraries(_lab.Toolstack, 17);
        fake.MissingSymbols.Add("xc_monitor_vmexit");
        Assert.Equal(
            "libxenctrl.so.4.17 has no function 'xc_monitor_vmexit': install the package libxenmisc4.17 (Debian's name) anew (ENOENT)",
            Assert.Throws<HypervisorException>(() => XenHypervisor.Open(fake, CpuVendor.Vmx)).Message);
    }

    [Fact]
    public void The_running_release_is_asked_before_its_library_is_looked_for()
    {
        using var fake = new FakeXenLibraries(_lab.Toolstack, 19);
        using var hypervisor = XenHypervisor.Open(fake, CpuVendor.Vmx);
        Assert.Equal(["libxencall.so.1", "libxenctrl.so.4.19"], fake.Asked[..2]);
        Assert.Equal("4.19.5", hypervisor.Info.Version);
    }

    [Fact]
    public void EFER_is_not_watched_on_AMD()
    {
        using var fake = new FakeXenLibraries(_lab.Toolstack, 17);
        using var hypervisor = XenHypervisor.Open(fake, CpuVendor.Svm);
        var domain = _lab.CreateRunning(vendor: CpuVendor.Svm);
        using var opened = hypervisor.Open(domain.Id);
        Assert.Equal(CpuVendor.Svm, opened.GetInfo().Vendor);
        using var monitor = opened.EnableMonitor();
        var refused = Assert.Throws<HypervisorException>(() => monitor.Enable(new MonitorEvent.Msr(0xc000_0080)));
        Assert.Equal(Errno.EOPNOTSUPP, refused.Error);
        Assert.Contains("on AMD processors Xen crashes a guest whose EFER writes are intercepted", refused.Message, StringComparison.Ordinal);
        monitor.Enable(new MonitorEvent.Msr(0xc000_0082));
        Assert.False(domain.Monitor.IsMsrMonitored(0xc000_0080));
        Assert.True(domain.Monitor.IsMsrMonitored(0xc000_0082));
    }

    [Fact]
    public void Both_special_paths_are_watched()
    {
        using var fake = new FakeXenLibraries(_lab.Toolstack, 17);
        using var hypervisor = XenHypervisor.Open(fake, CpuVendor.Vmx);
        using var libraries = XenLibraries.Open(fake);
        using var watch = new XenDomainWatch(libraries.Store);
        Assert.Equal(["@introduceDomain", "@releaseDomain"], fake.Watched.Order());
    }

    [Fact]
    public void Access_rights_of_a_view_are_told_in_the_releases_numbers()
    {
        using var fake = new FakeXenLibraries(_lab.Toolstack, 22);
        using var hypervisor = XenHypervisor.Open(fake, CpuVendor.Vmx);
        var domain = _lab.CreateRunning();
        using var opened = hypervisor.Open(domain.Id);
        using var monitor = opened.EnableMonitor();
        monitor.Views.Allow(AltP2mUse.External);
        monitor.Views.SetActive(true);
        var view = monitor.Views.Create();
        monitor.Views.SetAccess(view, new Gfn(3), MemoryAccess.Rx);
        monitor.Views.SetAccess(view, [new Gfn(4), new Gfn(5)], [MemoryAccess.R, MemoryAccess.Rw]);
        Assert.Equal([MemoryAccess.Rx, MemoryAccess.R, MemoryAccess.Rw], new ulong[] { 3, 4, 5 }.Select(gfn => monitor.Views.GetAccess(view, new(gfn))));
    }

    [Theory]
    [InlineData("", "not running on Xen as dom0: there is no /dev/xen/privcmd; boot this system as Xen's dom0, or give --connect, --kernel or --demo")]
    [InlineData("sys/hypervisor/type=xen", "not running on Xen as dom0: there is no /dev/xen/privcmd; load the modules xen-privcmd and xen-evtchn (dom0), or run this in dom0")]
    [InlineData("dev/xen/privcmd= dev/xen/evtchn= proc/xen/capabilities=", "not running on Xen as dom0: this is a guest of Xen's (/proc/xen/capabilities has no control_d); run this in dom0")]
    [InlineData("dev/xen/privcmd=", "not running on Xen as dom0: there is no /dev/xen/evtchn; load the module xen-evtchn")]
    [InlineData("dev/xen/privcmd= dev/xen/evtchn= proc/xen/capabilities=control_d", null)]
    [InlineData("dev/xen/privcmd= dev/xen/evtchn=", null)]
    public void What_this_machine_is_not_is_said_in_one_line(string files, string? line)
    {
        var root = Directory.CreateTempSubdirectory("introspect-");
        try
        {
            foreach (var file in files.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(static file => file.Split('=')))
            {
                var path = Path.Combine(root.FullName, file[0]);
                Directory.CreateDirectory(Path.GetDirectoryName(path)!);
                File.WriteAllText(path, file[1]);
            }

            Assert.Equal(line, XenHost.WhyNot(root.FullName));
        }
        finally
        {
            root.Delete(recursive: true);
        }
    }

    [InstalledXenFact]
    public void Every_function_is_in_the_installed_libraries()
    {
        var loader = new RecordingLoader();
        var release = XenRelease.For(XenInterface.CoreMajor, XenInterface.CoreMinor);

        // Opening the device fails where Xen does not run; the functions were all found before that.
        Action[] all =
        [
            () => new LibXenCall(loader).Dispose(), () => new LibXenCtrl(loader, release).Dispose(),
            () => new LibXenForeignMemory(loader).Dispose(), () => _ = new LibXenEvtchn(loader), () => _ = new LibXenStore(loader),
        ];
        foreach (var open in all)
        {
            if (Record.Exception(open) is { } failure)
            {
                Assert.StartsWith("opening /dev/xen/privcmd", failure.Message, StringComparison.Ordinal);
            }
        }

        Assert.Empty(loader.NotFound);
        Assert.True(loader.Found > 60, $"{loader.Found} functions");
    }

    private sealed class RecordingLoader : ILibraryLoader
    {
        private readonly SystemLibraryLoader _system = new();

        public int Found { get; private set; }

        public List<string> NotFound { get; } = [];

        public bool TryLoad(string soname, out nint library) => _system.TryLoad(soname, out library);

        public bool TryFind(nint library, string symbol, out nint address)
        {
            var there = _system.TryFind(library, symbol, out address);
            Found += there ? 1 : 0;
            if (!there)
            {
                NotFound.Add(symbol);
            }

            return there;
        }
    }
}

/// <summary>A test that runs where Xen's libraries are installed, and is told to be skipped elsewhere.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class InstalledXenFactAttribute : FactAttribute
{
    public InstalledXenFactAttribute() =>
        Skip = NativeLibrary.TryLoad("libxenctrl.so.4.17", out _) && NativeLibrary.TryLoad("libxenstore.so.4", out _)
            ? null
            : "Xen's libraries are not installed (Debian: libxenmisc4.17, libxenstore4)";
}
