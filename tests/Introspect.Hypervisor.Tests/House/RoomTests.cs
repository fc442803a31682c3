using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;

namespace Introspect.Hypervisor.Tests.House;

/// <summary>The fences that docs/architecture.md describes, held against the sources.</summary>
public sealed partial class RoomTests
{
    private static readonly string[] UnsafeRooms = ["Abi", "Ring", "Linux", "Xen", "Core/Cpu", "Core/Memory"];

    private static string Source([CallerFilePath] string here = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "../../../src/Introspect.Hypervisor"));

    [Fact]
    public void Unsafe_code_stays_in_its_rooms()
    {
        var offenders = Files().Where(file => !UnsafeRooms.Any(room => file.Name.StartsWith(room + "/", StringComparison.Ordinal)))
            .Where(file => UnsafeKeyword().IsMatch(file.Code)).Select(file => file.Name);

        Assert.Empty(offenders);
    }

    [Fact]
    public void Libc_is_called_in_one_room()
    {
        var offenders = Files().Where(file => !file.Name.StartsWith("Linux/", StringComparison.Ordinal))
            .Where(file => NativeImport().IsMatch(file.Code)).Select(file => file.Name);

        Assert.Empty(offenders);
    }

    [Theory]
    [InlineData("Abi", "Ring|Linux|Core")]
    [InlineData("Linux", "Ring|Core")]
    [InlineData("Ring", "Core")]
    [InlineData("Core/Memory", @"Core\.(Policies|Cpu|State|Platform|Xenstore|Domains|Viridian|Monitoring|Hypercalls|Execution|Building|Host|Saving|Lab)")]
    [InlineData("Core/Cpu", @"Core\.(Policies|State|Platform|Xenstore|Domains|Viridian|Monitoring|Hypercalls|Execution|Building|Host|Saving|Lab)")]
    [InlineData("Core/Policies", @"Core\.(Memory|Cpu|State|Platform|Xenstore|Domains|Viridian|Monitoring|Hypercalls|Execution|Building|Host|Saving|Lab)")]
    [InlineData("Core/Platform", @"Core\.(Xenstore|Domains|Viridian|Monitoring|Hypercalls|Execution|Building|Host|Saving|Lab)")]
    [InlineData("Core/Xenstore", @"Core\.(Memory|Policies|Cpu|State|Platform|Domains|Viridian|Monitoring|Hypercalls|Execution|Building|Host|Saving|Lab)")]
    [InlineData("Core/Domains", @"Core\.(Viridian|Hypercalls|Execution|Building|Host|Saving|Lab)")]
    [InlineData("Core/Viridian", @"Core\.(Domains|Monitoring|Hypercalls|Execution|Building|Host|Saving|Lab)")]
    [InlineData("Core/Monitoring", @"Core\.(Hypercalls|Execution|Building|Host|Saving|Lab)")]
    [InlineData("Core/Hypercalls", @"Core\.(Execution|Building|Host|Saving|Lab)")]
    [InlineData("Core/Execution", @"Core\.(Building|Host|Saving|Lab)")]
    [InlineData("Core/Host", @"Core\.(Saving|Lab)")]
    public void A_room_knows_only_those_above_it(string room, string below)
    {
        // The toolstack's door is what the host carries over its socket, and implements the host's interface.
        var forbidden = new Regex($@"using Introspect\.Hypervisor\.({below})\b");
        var offenders = Files().Where(file => file.Name.StartsWith(room + "/", StringComparison.Ordinal)
                && file.Name is not ("Core/Hypercalls/Toolstack/LocalToolstack.cs" or "Core/Hypercalls/Toolstack/ForeignPages.cs"))
            .SelectMany(file => forbidden.Matches(file.Code).Select(match => $"{file.Name}: {match.Value}"));

        Assert.Empty(offenders);
    }

    [Fact]
    public void Nothing_asks_for_openssl()
    {
        // The runtime's hashes, random numbers and TLS load libssl, which a dom0 need not have.
        var sources = Path.GetFullPath(Path.Combine(Source(), ".."));
        var offenders = Directory.EnumerateFiles(sources, "*.cs", SearchOption.AllDirectories)
            .Where(path => OpenSslUser().IsMatch(Comments().Replace(File.ReadAllText(path), "")))
            .Select(path => Path.GetRelativePath(sources, path));

        Assert.Empty(offenders);
    }

    [Fact]
    public void No_hand_written_file_grows_past_its_readers()
    {
        const int Most = 600;
        var root = Path.GetFullPath(Path.Combine(Source(), "../.."));
        var offenders = new[] { "src", "tests" }.SelectMany(folder => Directory.EnumerateFiles(Path.Combine(root, folder), "*.cs", SearchOption.AllDirectories))
            .Where(path => !path.Contains("/obj/", StringComparison.Ordinal) && !path.Contains("/bin/", StringComparison.Ordinal))
            .Select(path => (Path: Path.GetRelativePath(root, path), Lines: File.ReadLines(path).Count()))
            .Where(file => file.Lines > Most)
            .Select(file => $"{file.Path}: {file.Lines} lines");

        Assert.Empty(offenders);
    }

    private static IEnumerable<(string Name, string Code)> Files()
    {
        var root = Source();
        return Directory.EnumerateFiles(root, "*.cs", SearchOption.AllDirectories)
            .Select(path => (Path.GetRelativePath(root, path), Comments().Replace(File.ReadAllText(path), "")))
            .Where(file => !file.Item1.StartsWith("obj/", StringComparison.Ordinal) && !file.Item1.StartsWith("bin/", StringComparison.Ordinal));
    }

    [GeneratedRegex(@"\bunsafe\b")]
    private static partial Regex UnsafeKeyword();

    [GeneratedRegex(@"System\.Security\.Cryptography|\bSslStream\b|\b(SHA|MD5|HMAC)[0-9]*\.")]
    private static partial Regex OpenSslUser();

    [GeneratedRegex(@"\[(Library|Dll)Import")]
    private static partial Regex NativeImport();

    [GeneratedRegex(@"//[^\n]*")]
    private static partial Regex Comments();
}
