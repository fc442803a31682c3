using System.Text.Json;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary>
/// Guests that others wrote: images of the Xen Test Framework in the folder that INTROSPECT_XTF names. The
/// framework's own verdict on the guest's console is the yardstick.
/// </summary>
public sealed class XtfTests
{
    /// <summary>The images that need no more than the base contract of a Xen HVM guest.</summary>
    public static TheoryData<string> Easy =>
    [
        "example", "cpuid", "msr", "rtm-check", "debug-regs", "lbr-tsx-vmentry", "livepatch-priv-check", "argo",
        "nested-svm", "nested-vmx", "xsa-122", "xsa-168", "xsa-188", "xsa-221", "xsa-231", "xsa-232", "xsa-278",
        "xsa-304", "xsa-317", "xsa-454", "xsa-463",
    ];

    private static string? Folder => Environment.GetEnvironmentVariable("INTROSPECT_XTF");

    [TheoryWithXtf]
    [MemberData(nameof(Easy))]
    public void An_image_says_success_or_skips_what_the_core_does_not_offer(string test)
    {
        var (code, output, error) = IntrospectProcess.Run("trace", "--kernel", Image(test), "--duration", "60");

        Assert.True(code == 0, error);
        var last = output.Split('\n').Last(line => line.StartsWith("console | ", StringComparison.Ordinal) && line.Length > 12);
        Assert.True(last.Trim() is "console | Test result: SUCCESS" or "console | Test result: SKIP", output);
    }

    [TheoryWithXtf]
    [InlineData("example")]
    public void Events_of_an_image_have_addresses_in_it(string test)
    {
        var (code, output, error) = IntrospectProcess.Run("trace", "--kernel", Image(test), "--cr", "--cpuid", "--json");

        Assert.True(code == 0, error);
        var events = output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonDocument.Parse(line).RootElement)
            .Where(line => line.GetProperty("type").GetString() == "event").ToList();
        Assert.Contains(events, e => e.GetProperty("reason").GetString() == "write_ctrlreg");
        Assert.Contains(events, e => e.GetProperty("reason").GetString() == "cpuid");
        Assert.All(events, e => Assert.InRange(Convert.ToUInt64(e.GetProperty("rip").GetString(), 16), 0x100000UL, 0x200000UL));
    }

    private static string Image(string test) =>
        Directory.GetFiles(Folder!, $"test-hvm64-{test}*").OrderBy(path => path.Length).First();

    /// <summary>A test that needs the images.</summary>
    private sealed class TheoryWithXtfAttribute : TheoryAttribute
    {
        public TheoryWithXtfAttribute() =>
            Skip = Directory.Exists(Folder) ? null : "INTROSPECT_XTF names no folder with images of the Xen Test Framework";
    }
}
