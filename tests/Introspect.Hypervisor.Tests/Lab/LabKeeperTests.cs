using System.Text;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Tests.Building;
using Introspect.Hypervisor.Tests.Smp;

namespace Introspect.Hypervisor.Tests.Lab;

/// <summary>The life of domains as a client of the host leads it.</summary>
public sealed class LabKeeperTests : IDisposable
{
    private readonly LabFixture _lab = new();

    public void Dispose() => _lab.Dispose();

    [Fact]
    public void A_domain_is_created_runs_and_its_end_is_told_with_all_that_it_wrote()
    {
        var created = _lab.Lab.Create(Demo("short") with { StartPaused = true });
        Assert.Equal((false, 1, null), (created.HasEnded, created.Boot, created.Reason));
        Assert.Equal(created.Uuid, _lab.Hypervisor.ListDomains().Single().Uuid);
        Assert.False(_lab.Lab.WaitForEnd(created.Uuid, TimeSpan.Zero).HasEnded);
        _lab.Hypervisor.Open(new DomainId(created.Domain)).Unpause();

        var (text, end) = _lab.ReadToEnd(created.Uuid);
        Assert.NotEmpty(text);
        Assert.Equal("poweroff", end.Reason);
        Assert.Equal(end, _lab.Lab.WaitForEnd(created.Uuid, LabFixture.Patience) with { Description = end.Description });
        Eventually(() => _lab.Machine.Domains.Count == 0);
    }

    [Fact]
    public void What_the_image_of_a_domain_lacks_is_told_and_it_boots()
    {
        var elf = new TestElf { Symbols = [("f", TestElf.LoadAddress + 0x4000_0000, 0x12, 1)] };
        var image = elf.Build();
        Assert.Null(_lab.Lab.Create(Demo("whole") with { Kernel = _lab.WriteImage(image), StartPaused = true }).Warning);

        TestElf.Put32(elf.SectionHeader(image, elf.SymbolSection), 40, 0);
        var path = _lab.WriteImage(image);
        var created = _lab.Lab.Create(Demo("damaged") with { Kernel = path, StartPaused = true });
        Assert.StartsWith($"kernel '{path}' boots without symbols: the symbols in section", created.Warning, StringComparison.Ordinal);
        Assert.Equal(created.Warning, _lab.Lab.Report(created.Uuid).Warning);

        // Both at once are still one line; the name alone is one of its own.
        TestElf.Put32(elf.SectionHeader(image, elf.SymbolSection), 0, 0x1000);
        var both = _lab.Lab.Create(Demo("twice") with { Kernel = _lab.WriteImage(image), StartPaused = true }).Warning!;
        Assert.Contains("boots without symbols: the symbols in section", both, StringComparison.Ordinal);
        Assert.Contains($"; and without the name of a section: section {elf.SymbolSection} has its name at 0x1000", both, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', both);
        image = elf.Build();
        TestElf.Put32(elf.SectionHeader(image, elf.SymbolSection), 0, 0x1000);
        path = _lab.WriteImage(image);
        Assert.StartsWith(
            $"kernel '{path}' boots without the name of a section: section {elf.SymbolSection} has its name at 0x1000",
            _lab.Lab.Create(Demo("nameless") with { Kernel = path, StartPaused = true }).Warning,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Saved_and_restored_it_goes_on_with_its_console_and_its_description()
    {
        var created = _lab.Lab.Create(Demo("long") with { StartPaused = true, OnPoweroff = EndAction.Preserve });
        var path = _lab.PathOf("saved");
        _lab.Lab.Save(new(created.Domain), new(path));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, new FileInfo(path).UnixFileMode);
        Assert.Equal(["host", "saved"], _lab.Folder.GetFiles().Select(static f => f.Name).Order());
        var saved = _lab.Lab.Report(created.Uuid);
        Assert.Equal((true, "saved"), (saved.HasEnded, saved.Reason));
        Assert.Empty(_lab.Machine.Domains);

        var restored = _lab.Lab.Restore(new(path, StartPaused: true));
        Assert.Equal((created.Uuid, "long", 1), (restored.Uuid, restored.Name, restored.Boot));
        Assert.Equal(EndAction.Preserve, restored.Description!.OnPoweroff);
        _lab.Hypervisor.Open(new DomainId(restored.Domain)).Unpause();
        var (text, end) = _lab.ReadToEnd(created.Uuid);
        Assert.NotEmpty(text);
        Assert.Equal("poweroff", end.Reason);

        // Preserved: it is there to be looked at.
        Assert.Equal(DomainState.PowerOff, _lab.Hypervisor.ListDomains().Single().State);
    }

    [Fact]
    public void Saved_to_go_on_it_does_and_saved_to_stand_still_it_does_too()
    {
        var created = _lab.Lab.Create(Demo("guest") with { StartPaused = true });
        var domain = new DomainId(created.Domain);
        var inside = _lab.Machine.Find(domain.Value)!;
        _lab.Lab.Save(domain, new(_lab.PathOf("one"), AfterSave.Continue));
        Assert.Equal(1, inside.ControllerPauseCount);
        _lab.Lab.Save(domain, new(_lab.PathOf("two"), AfterSave.Pause));
        Assert.Equal(2, inside.ControllerPauseCount);

        // The name and the UUID are taken as long as it is there.
        Assert.Equal(Errno.EEXIST, Refused(() => _lab.Lab.Restore(new(_lab.PathOf("one")))).Error);
        Assert.Equal(Errno.EEXIST, Refused(() => _lab.Lab.Restore(new(_lab.PathOf("one"), Name: "other"))).Error);
        var other = _lab.Lab.Restore(new(_lab.PathOf("one"), "other", Guid.NewGuid(), StartPaused: true));
        Assert.Equal("other", other.Name);
        Assert.Equal(2, _lab.Lab.ReportAll().Count);
    }

    [Fact]
    public void What_reboots_is_built_anew_with_the_same_uuid_and_another_number()
    {
        var created = _lab.Lab.Create(Demo("again") with { StartPaused = true });
        _lab.Machine.Find(created.Domain)!.Shutdown(ShutdownReason.Reboot);
        Eventually(() => _lab.Lab.Report(created.Uuid).Boot == 2);
        var now = _lab.Lab.Report(created.Uuid);
        Assert.NotEqual(created.Domain, now.Domain);
        Assert.Equal(created.Uuid, now.Uuid);

        // The new one runs by itself, to its own end.
        var (text, end) = _lab.ReadToEnd(created.Uuid);
        Assert.NotEmpty(text);
        Assert.Equal(("poweroff", 2), (end.Reason, end.Boot));
    }

    [Fact]
    public void Set_aside_it_keeps_its_memory_under_another_name()
    {
        var created = _lab.Lab.Create(Demo("crashing") with { StartPaused = true, OnCrash = EndAction.RenameRestart, OnPoweroff = EndAction.Preserve });
        _lab.Machine.Find(created.Domain)!.Shutdown(ShutdownReason.Crash);
        Eventually(() => _lab.Lab.Report(created.Uuid).Boot == 2);
        var names = _lab.Hypervisor.ListDomains().ToDictionary(static d => d.Name);
        Assert.Equal(DomainState.Crash, names["crashing-1"].State);
        Assert.NotEqual(created.Uuid, names["crashing-1"].Uuid);
        Assert.Equal(created.Uuid, names["crashing"].Uuid);
    }

    [Fact]
    public void A_kernel_that_is_gone_at_a_reboot_is_told()
    {
        var kernel = _lab.WriteImage(Core.Building.Demo.DemoGuest.Build().Image);
        var created = _lab.Lab.Create(Demo("guest") with { Kernel = kernel, StartPaused = true });
        File.Delete(kernel);
        _lab.Machine.Find(created.Domain)!.Shutdown(ShutdownReason.Reboot);
        var end = _lab.Lab.WaitForEnd(created.Uuid, LabFixture.Patience);
        Assert.True(end.HasEnded);
        Assert.Contains(kernel, end.Failure, StringComparison.Ordinal);
        Assert.Contains(_lab.Log, line => line.Contains("'guest'", StringComparison.Ordinal));
    }

    [Fact]
    public void A_domain_that_somebody_destroys_has_ended()
    {
        var created = _lab.Lab.Create(Demo("guest") with { StartPaused = true });
        _lab.Hypervisor.Open(new DomainId(created.Domain)).Destroy();
        Assert.Equal("destroyed", _lab.Lab.WaitForEnd(created.Uuid, LabFixture.Patience).Reason);
    }

    [FactWithTool(CGuestBuilder.Compiler)]
    public void Features_that_are_taken_away_stay_away_when_it_is_restored()
    {
        var created = _lab.Lab.Create(Demo("guest") with
        {
            Kernel = _lab.WriteImage(SmpGuest.Image),
            CommandLine = "marks 3 10",
            Vcpus = 3,
            WithoutCpuFeatures = ["avx2", "Smap"],
            StartPaused = true,
        });
        AssertWithout(created);
        _lab.Lab.Save(new(created.Domain), new(_lab.PathOf("saved")));
        var restored = _lab.Lab.Restore(new(_lab.PathOf("saved"), StartPaused: true));
        AssertWithout(restored);
        _lab.Hypervisor.Open(new DomainId(restored.Domain)).Unpause();
        Assert.Equal("marks: ok\n", _lab.ReadToEnd(created.Uuid).Text);
    }

    [Fact]
    public void What_is_typed_waits_for_the_guest()
    {
        var created = _lab.Lab.Create(Demo("guest") with { StartPaused = true });
        Assert.Equal(5, _lab.Lab.WriteConsole(created.Uuid, "hello"u8));
        var taken = new byte[16];
        var console = ((DomainPlatform)_lab.Machine.Find(created.Domain)!.Platform).Console;
        Assert.Equal("hello", Encoding.ASCII.GetString(taken, 0, console.TakeInput(taken)));
    }

    [Fact]
    public void A_name_or_a_UUID_that_is_taken_is_refused_with_who_has_it()
    {
        var created = _lab.Lab.Create(Demo("guest") with { StartPaused = true });
        var refused = Refused(() => _lab.Lab.Create(Demo("guest")));
        Assert.Equal((Errno.EEXIST, "there is a domain 'guest' already (1): destroy it, or give another name (EEXIST)"), (refused.Error, refused.Message));
        refused = Refused(() => _lab.Lab.Create(Demo("other") with { Uuid = created.Uuid }));
        Assert.Equal((Errno.EEXIST, $"domain 1 has the UUID {created.Uuid} already: destroy it, or give another UUID (EEXIST)"), (refused.Error, refused.Message));
        Assert.Single(_lab.Machine.Domains);
    }

    [Fact]
    public void Of_domains_with_one_UUID_that_are_created_at_once_no_more_than_one_stays()
    {
        const int Rounds = 20;
        for (var round = 0; round < Rounds; round++)
        {
            var uuid = Guid.NewGuid();
            var names = new[] { "one", "two", "three" };
            using var start = new Barrier(names.Length);
            var threads = names.Select(name => new Thread(() =>
            {
                using var host = CoreHypervisor.Connect(_lab.SocketPath);
                start.SignalAndWait();
                try
                {
                    host.Lab!.Create(Demo(name) with { Uuid = uuid, StartPaused = true });
                }
                catch (HypervisorException refused) when (refused.Error == Errno.EEXIST)
                {
                    // Another one was faster.
                }
            })).ToList();
            threads.ForEach(static thread => thread.Start());
            threads.ForEach(static thread => thread.Join());
            Assert.InRange(_lab.Machine.Domains.Count, 0, 1);
            foreach (var domain in _lab.Machine.Domains)
            {
                Assert.Equal(domain.Id.Value, _lab.Lab.Report(uuid).Domain);
                _lab.Hypervisor.Open(domain.Id).Destroy();
            }
        }
    }

    [Fact]
    public void What_cannot_be_is_refused_in_one_line_and_leaves_nothing()
    {
        Assert.Equal(Errno.EINVAL, Refused(() => _lab.Lab.Create(Demo(""))).Error);
        Assert.Equal(Errno.EINVAL, Refused(() => _lab.Lab.Create(Demo("a") with { Kernel = "relative" })).Error);
        Assert.Equal(Errno.ENOENT, Refused(() => _lab.Lab.Create(Demo("a") with { Kernel = _lab.PathOf("none") })).Error);
        Assert.Equal(Errno.EINVAL, Refused(() => _lab.Lab.Create(Demo("a") with { WithoutCpuFeatures = ["warp"] })).Error);
        Assert.Equal(Errno.EINVAL, Refused(() => _lab.Lab.Create(Demo("a") with { MemoryKiB = ulong.MaxValue })).Error);
        Assert.Equal(Errno.EINVAL, Refused(() => _lab.Lab.Create(Demo("a") with { Vcpus = 1000 })).Error);
        Assert.Equal(Errno.ENOENT, Refused(() => _lab.Lab.Restore(new(_lab.PathOf("none")))).Error);
        Assert.Equal(Errno.EINVAL, Refused(() => _lab.Lab.Restore(new("relative"))).Error);
        Assert.Equal(Errno.ESRCH, Refused(() => _lab.Lab.Report(Guid.NewGuid())).Error);
        Assert.Equal(Errno.ESRCH, Refused(() => _lab.Lab.Save(new(77), new(_lab.PathOf("x")))).Error);
        Assert.Empty(_lab.Machine.Domains);

        var created = _lab.Lab.Create(Demo("guest") with { StartPaused = true });
        Assert.Equal(Errno.ENOENT, Refused(() => _lab.Lab.Save(new(created.Domain), new(_lab.PathOf("no/such/folder")))).Error);
        Assert.Equal(1, _lab.Machine.Find(created.Domain)!.ControllerPauseCount);
        Assert.Equal(["host"], _lab.Folder.GetFiles().Select(static f => f.Name));
    }

    private static LabDescription Demo(string name) => new() { Name = name, MemoryKiB = 8 * 1024 };

    private static void Eventually(Func<bool> condition) => Assert.True(SpinWait.SpinUntil(condition, LabFixture.Patience));

    private static HypervisorException Refused(Action action)
    {
        var refused = Assert.Throws<HypervisorException>(action);
        Assert.NotEmpty(refused.Message);
        Assert.DoesNotContain('\n', refused.Message);
        return refused;
    }

    private void AssertWithout(LabReport report)
    {
        var policy = ((DomainPlatform)_lab.Machine.Find(report.Domain)!.Platform).Policy;
        Assert.False(policy.Has(CpuFeature.Avx2) || policy.Has(CpuFeature.Smap));
        Assert.True(policy.Has(CpuFeature.Smep));
    }
}
