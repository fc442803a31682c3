using Introspect.Daemon.Tests.Cli;
using Introspect.Daemon.Tests.EndToEnd;
using Introspect.Rules.Capture;

namespace Introspect.Daemon.Tests.Capturing;

/// <summary><c>introspect record</c> on guests of the core: what it leaves in the file, and the guest as it was.</summary>
public sealed class RecordTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("introspect-record-").FullName;

    private string File => Path.Combine(_folder, "guest.ivc");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task The_demo_is_recorded_whole()
    {
        var (exitCode, output, error) = await DemoCapture.RunAsync("record", "--demo", "-o", File, "--cr", "--window", "rip");
        Assert.Equal((0, ""), (exitCode, error));
        var summary = Read();
        Assert.Equal(26, summary.Events);
        Assert.Matches($"^recorded 26 events of domain 1 in [0-9.]+ s to {System.Text.RegularExpressions.Regex.Escape(File)} \\({summary.Bytes} bytes\\), ended by poweroff\n$", output);
        Assert.Equal(("poweroff", 0ul, null, 26L), (summary.End!.Reason, summary.Lost, summary.Damage, summary.WithMemory));
        Assert.Equal(("core", "demo", false), (summary.Header.HypervisorName, summary.Header.Domain.Name, summary.Header.MayDrop));
        Assert.Equal(3, summary.Header.Watched.Events.Count);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, System.IO.File.GetUnixFileMode(File));
    }

    [Fact]
    public async Task Limits_end_the_recording_and_the_guest_goes_on()
    {
        using var lab = new Lab();
        Assert.True(lab.GuestGoesOn);
        var (exitCode, _, error) = await DemoCapture.RunAsync("record", "demo", "--connect", lab.Socket, "-o", File, "--cpuid", "--count", "20", "--drop");
        Assert.Equal((0, ""), (exitCode, error));
        var counted = Read();
        Assert.Equal((20, "count", true), (counted.Events, counted.End!.Reason, counted.Header.MayDrop));

        (exitCode, _, error) = await DemoCapture.RunAsync("record", "demo", "--connect", lab.Socket, "-o", File, "--max-size", "64K", "--window", "rsp+4096,rip-4096+4096,rdi+4096");
        Assert.Equal((0, ""), (exitCode, error));
        var limited = Read();
        Assert.Equal(("max_size", null), (limited.End!.Reason, limited.Damage));
        Assert.InRange(new FileInfo(File).Length, 1000, 64 << 10);
        Assert.True(lab.GuestGoesOn);
    }

    [Fact]
    public async Task A_full_disk_is_one_line_and_the_guest_goes_on()
    {
        using var lab = new Lab();
        Assert.True(lab.GuestGoesOn);
        var (exitCode, output, error) = await DemoCapture.RunAsync("record", "demo", "--connect", lab.Socket, "-o", "/dev/full");
        Assert.Equal((1, ""), (exitCode, output));
        CommandLineTests.AssertOneLine(error);
        Assert.Contains("--output '/dev/full': ", error, StringComparison.Ordinal);
        Assert.True(lab.GuestGoesOn);
    }

    [Fact]
    public async Task A_file_that_cannot_be_made_is_one_line()
    {
        var (exitCode, _, error) = await DemoCapture.RunAsync("record", "--demo", "-o", Path.Combine(_folder, "nowhere", "x"));
        Assert.Equal(1, exitCode);
        CommandLineTests.AssertOneLine(error);
        (exitCode, _, error) = await DemoCapture.RunAsync("record", "--demo", "-o", _folder);
        Assert.Equal(1, exitCode);
        CommandLineTests.AssertOneLine(error);
    }

    [Fact]
    public async Task What_was_in_the_file_stays_when_nothing_is_recorded()
    {
        await System.IO.File.WriteAllTextAsync(File, "precious");
        var (exitCode, _, _) = await DemoCapture.RunAsync("record", "--demo", "-o", File, "--io");
        Assert.Equal((1, "precious"), (exitCode, await System.IO.File.ReadAllTextAsync(File)));
    }

    [Fact]
    public void A_recorder_that_is_killed_leaves_its_blocks_and_one_that_is_ended_the_end()
    {
        using var lab = new Lab();
        Assert.True(lab.GuestGoesOn);
        using (var killed = IntrospectProcess.Start("record", "demo", "--connect", lab.Socket, "-o", File, "--cpuid"))
        {
            WaitForBlocks(3);
            killed.Kill();
            killed.WaitForExit();
        }

        var cut = Read();
        Assert.True(cut.Events > 0);
        Assert.Equal((null, null), (cut.End, cut.Damage));
        Assert.Equal(0, IntrospectProcess.Run("recover", "demo", "--connect", lab.Socket).ExitCode);
        System.IO.File.Delete(File);
        using (var ended = IntrospectProcess.Start("record", "demo", "--connect", lab.Socket, "-o", File, "--cpuid"))
        {
            WaitForBlocks(2);
            ended.Terminate();
            Assert.Equal(0, ended.WaitForExit());
        }

        Assert.Equal("interrupted", Read().End!.Reason);
        Assert.True(lab.GuestGoesOn);
    }

    private void WaitForBlocks(int count) =>
        Assert.True(SpinWait.SpinUntil(() => System.IO.File.Exists(File) && Blocks() >= count, TimeSpan.FromSeconds(60)));

    private long Blocks()
    {
        try
        {
            return Read().Blocks;
        }
        catch (CaptureException)
        {
            return 0;
        }
    }

    private CaptureSummary Read()
    {
        using var capture = CaptureReader.Open(new FileStream(File, FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        return CaptureSummary.Of(capture);
    }
}
