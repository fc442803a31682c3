using System.Text.Json;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary>
/// Guests that others wrote: images of the Xen Test Framework in the folder that INTROSPECT_XTF names. The
/// framework's own verdict on the guest's console is the yardstick.
/// </summary>
public sealed class XtfTests
{
    /// <summary>These need viridian and more vCPUs, which their own test gives them: ViridianXtfTests.</summary>
    private static readonly string[] Beyond =
    [
        "test-hvm32-xsa-472-1", "test-hvm32-xsa-472-2", "test-hvm32-xsa-472-3",
    ];

    /// <summary>The images in the folder, and one that stands for none where there is no folder.</summary>
    public static TheoryData<string> Images => [.. Found()];

    private static IEnumerable<string> Found() => Directory.Exists(Folder)
        ? Directory.GetFiles(Folder, "test-hvm*").Select(path => Path.GetFileName(path)!)
            .Where(name => !name.Contains('.', StringComparison.Ordinal)).Except(Beyond).Order(StringComparer.Ordinal)
        : ["test-hvm64-example"];

    private static string? Folder => Environment.GetEnvironmentVariable("INTROSPECT_XTF");

    [TheoryWithXtf]
    [MemberData(nameof(Images))]
    public void An_image_says_success_or_skips_what_the_core_does_not_offer(string image)
    {
        var (code, output, error) = IntrospectProcess.Run("trace", "--kernel", Path.Combine(Folder!, image), "--duration", "60");

        Assert.True(code == 0, error);
        var last = output.Split('\n').Last(line => line.StartsWith("console | ", StringComparison.Ordinal) && line.Length > 12);
        Assert.True(last.Trim() is "console | Test result: SUCCESS" or "console | Test result: SKIP", output);
    }

    [TheoryWithXtf]
    [InlineData("test-hvm64-example")]
    public void Events_of_an_image_have_addresses_in_it(string image)
    {
        var (code, output, error) = IntrospectProcess.Run("trace", "--kernel", Path.Combine(Folder!, image), "--cr", "--cpuid", "--json");

        Assert.True(code == 0, error);
        var events = output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonDocument.Parse(line).RootElement)
            .Where(line => line.GetProperty("type").GetString() == "event").ToList();
        Assert.Contains(events, e => e.GetProperty("reason").GetString() == "write_ctrlreg");
        Assert.Contains(events, e => e.GetProperty("reason").GetString() == "cpuid");
        Assert.All(events, e => Assert.InRange(Convert.ToUInt64(e.GetProperty("rip").GetString(), 16), 0x100000UL, 0x200000UL));
    }

    /// <summary>A test that needs the images.</summary>
    private sealed class TheoryWithXtfAttribute : TheoryAttribute
    {
        public TheoryWithXtfAttribute() =>
            Skip = Directory.Exists(Folder) ? null : "INTROSPECT_XTF names no folder with images of the Xen Test Framework";
    }
}
