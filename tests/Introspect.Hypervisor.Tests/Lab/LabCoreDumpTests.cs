using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Lab;
using Introspect.Hypervisor.Tests.Saving;

namespace Introspect.Hypervisor.Tests.Lab;

/// <summary>Cores of whole domains: asked for, and at their end.</summary>
public sealed class LabCoreDumpTests : IDisposable
{
    private readonly LabFixture _lab = new();

    public void Dispose() => _lab.Dispose();

    [Fact]
    public void A_dumped_core_has_the_vcpus_and_every_page_and_the_domain_stays_as_it_was()
    {
        var created = _lab.Lab.Create(Demo("guest") with { Vcpus = 2, StartPaused = true });
        var domain = _lab.Machine.Find(created.Domain)!;
        var path = _lab.PathOf("core");
        _lab.Lab.DumpCore(domain.Id, new(path));
        Assert.Equal(1, domain.ControllerPauseCount);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, new FileInfo(path).UnixFileMode);

        var core = new ReadCore(File.ReadAllBytes(path));
        using var opened = _lab.Hypervisor.Open(domain.Id);
        var first = opened.ReadVcpu(new(0));
        Assert.Equal((1, first.Rip, first.Cr0, first.Rbx), (core.Vcpus.Length, core.Vcpus[0].UserRegs.Rip, core.Vcpus[0].Cr0, core.Vcpus[0].UserRegs.Rbx));
        Assert.Equal(((ulong)core.Vcpus.Length, (ulong)core.Frames.Length, 4096UL), core.Header);
        Assert.Equal(core.Frames.Order(), core.Frames);
        Assert.Equal(domain.Ram.TotalPages, core.Frames.Length);
        var expected = new byte[Gfn.PageSize];
        foreach (var gfn in core.Frames)
        {
            opened.Memory.ReadPhysical(new(gfn * Gfn.PageSize), expected);
            Assert.Equal(expected, core.Page(gfn));
        }

        Assert.Contains(core.Frames, gfn => core.Page(gfn).AsSpan().ContainsAnyExcept((byte)0));
    }

    [Fact]
    public void A_core_that_cannot_be_written_is_refused_and_leaves_no_file()
    {
        var created = _lab.Lab.Create(Demo("guest") with { StartPaused = true });
        var id = new DomainId(created.Domain);
        Assert.Equal(Errno.ENOENT, Assert.Throws<HypervisorException>(() => _lab.Lab.DumpCore(id, new(_lab.PathOf("no/core")))).Error);
        Assert.Equal(Errno.EINVAL, Assert.Throws<HypervisorException>(() => _lab.Lab.DumpCore(id, new("core"))).Error);
        Assert.Equal(Errno.ESRCH, Assert.Throws<HypervisorException>(() => _lab.Lab.DumpCore(new(99), new(_lab.PathOf("core")))).Error);
        Assert.Equal(["host"], _lab.Folder.GetFiles().Select(static f => f.Name));
        Assert.Equal(1, _lab.Machine.Find(id.Value)!.ControllerPauseCount);
    }

    [Theory]
    [InlineData(EndAction.CoredumpDestroy)]
    [InlineData(EndAction.CoredumpRestart)]
    internal void A_crash_leaves_a_core_and_then_what_is_to_be_done_is_done(EndAction action)
    {
        var created = _lab.Lab.Create(Demo("a/../b") with { StartPaused = true, OnCrash = action, OnPoweroff = EndAction.Preserve });
        _lab.Machine.Find(created.Domain)!.Shutdown(ShutdownReason.Crash);
        if (action == EndAction.CoredumpDestroy)
        {
            Assert.Equal("crash", _lab.Lab.WaitForEnd(created.Uuid, LabFixture.Patience).Reason);
            Assert.True(SpinWait.SpinUntil(() => _lab.Machine.Domains.Count == 0, LabFixture.Patience));
        }
        else
        {
            Assert.True(SpinWait.SpinUntil(() => _lab.Lab.Report(created.Uuid).Boot == 2, LabFixture.Patience));
        }

        var path = Path.Combine(_lab.PathOf("dumps"), "a_.._b.core");
        Assert.Equal([path], Directory.GetFiles(_lab.PathOf("dumps")));
        Assert.NotEmpty(new ReadCore(File.ReadAllBytes(path)).Frames);
        Assert.Contains(_lab.Log, line => line.Contains(path, StringComparison.Ordinal));
    }

    [Fact]
    public void A_core_for_which_there_is_no_place_is_told_of_and_the_domain_goes_all_the_same()
    {
        File.WriteAllText(_lab.PathOf("dumps"), "in the way");
        var created = _lab.Lab.Create(Demo("guest") with { StartPaused = true, OnCrash = EndAction.CoredumpDestroy });
        _lab.Machine.Find(created.Domain)!.Shutdown(ShutdownReason.Crash);
        Assert.Equal(("crash", null), (_lab.Lab.WaitForEnd(created.Uuid, LabFixture.Patience).Reason, _lab.Lab.Report(created.Uuid).Failure));
        Assert.True(SpinWait.SpinUntil(() => _lab.Machine.Domains.Count == 0, LabFixture.Patience));
        Assert.Contains(_lab.Log, line => line.Contains("could not be dumped", StringComparison.Ordinal));
    }

    [Fact]
    public void What_nobody_expects_at_one_domains_end_leaves_the_host_and_the_others()
    {
        using var lab = new LabFixture("no path \0");
        var created = lab.Lab.Create(Demo("guest") with { StartPaused = true, OnCrash = EndAction.CoredumpDestroy });
        lab.Machine.Find(created.Domain)!.Shutdown(ShutdownReason.Crash);
        Assert.Equal("crash", lab.Lab.WaitForEnd(created.Uuid, LabFixture.Patience).Reason);
        Assert.Contains(lab.Log, line => line.Contains("could not be dumped", StringComparison.Ordinal));
        created = lab.Lab.Create(Demo("next") with { StartPaused = true, OnCrash = EndAction.Preserve });
        lab.Machine.Find(created.Domain)!.Shutdown(ShutdownReason.Crash);
        Assert.Equal("crash", lab.Lab.WaitForEnd(created.Uuid, LabFixture.Patience).Reason);
    }

    [Theory]
    [InlineData(0u, null, "/var/lib/introspect/dump")]
    [InlineData(1000u, null, "/home/one/.local/state/introspect/dump")]
    [InlineData(1000u, "/state", "/state/introspect/dump")]
    [InlineData(1000u, "state", "/home/one/.local/state/introspect/dump")]
    public void Cores_go_where_a_users_state_is(uint user, string? state, string expected) =>
        Assert.Equal(expected, LabDumps.FolderOf(user, name => name == "XDG_STATE_HOME" ? state : name == "HOME" ? "/home/one" : null));

    [Theory]
    [InlineData("guest", "/d/guest.core")]
    [InlineData("..", "/d/_..core")]
    [InlineData("../x y", "/d/_._x_y.core")]
    public void A_name_is_no_path(string name, string expected) => Assert.Equal(expected, LabDumps.PathFor("/d", name));

    private static LabDescription Demo(string name) => new() { Name = name, Kernel = LabKernels.Demo, MemoryKiB = 8 * 1024 };
}
