using Introspect.Hypervisor.Core.Viridian;

namespace Introspect.Hypervisor.Tests.Viridian;

/// <summary>docs/viridian.md says what the code does.</summary>
public sealed class ViridianManualTests
{
    public static TheoryData<string> Names => [.. ViridianFeatureList.Names];

    [Theory]
    [MemberData(nameof(Names))]
    public void The_table_of_features_has_their_bits_leaves_and_registers(string name)
    {
        var feature = (ViridianFeature)ViridianFeatureList.Names.ToList().IndexOf(name);
        var row = Lines().Single(line => line.StartsWith($"| `{name}` |", StringComparison.Ordinal)).Split('|', StringSplitOptions.TrimEntries);

        Assert.Equal(BitOf(feature), row[2]);
        Assert.Equal(ViridianFeatureSet.Defaults.Has(feature) ? "yes" : "–", row[3]);
        Assert.Equal(Listed(ViridianCpuid.Bits.Where(bit => bit.Feature == feature).Select(static bit => bit.Bit < 0 ? $"{bit.Leaf}.{Register(bit)}" : $"{bit.Leaf}.{Register(bit)}[{bit.Bit}]")), row[5]);
        Assert.Equal(Listed(ViridianMsrRange.All.Where(range => range.Feature == feature).Select(static range => $"{range.Name} {range.First:x}")), row[6]);
    }

    [Fact]
    public void The_table_of_features_has_no_other_rows() => Assert.Equal(
        ViridianFeatureList.Names,
        Lines().SkipWhile(static line => !line.StartsWith("| feature |", StringComparison.Ordinal)).Skip(2)
            .TakeWhile(static line => line.StartsWith('|')).Select(static line => line.Split('`')[1]));

    [Fact]
    public void The_examples_are_lists_that_can_be_read() => Assert.All(
        Lines().Where(static line => line.StartsWith("viridian = [", StringComparison.Ordinal)),
        static line =>
        {
            var names = line[..line.IndexOf(']', StringComparison.Ordinal)].Split('"').Where(static (_, n) => n % 2 == 1).ToArray();
            Assert.NotEmpty(names);
            Assert.Null(ViridianFeatureList.Parse(names).Error);
        });

    // Of the first two, one is said by a bit's absence.
    private static string BitOf(ViridianFeature feature)
    {
        var mask = ViridianFeatureSet.Of(ViridianFeature.Base, ViridianFeature.Freq, feature).ToMask();
        return feature switch
        {
            ViridianFeature.Base => "0",
            ViridianFeature.Freq => ViridianFeatureSet.Of(ViridianFeature.Base).ToMask() == 3 ? "1 clear" : "?",
            _ => $"{ulong.Log2(mask)}",
        };
    }

    private static string Register(ViridianCpuidBit bit) => bit.Register.ToString().ToUpperInvariant();

    private static string Listed(IEnumerable<string> parts) => string.Join(", ", parts) is { Length: > 0 } text ? text : "–";

    private static string[] Lines()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            var path = Path.Combine(folder.FullName, "docs", "viridian.md");
            if (File.Exists(path))
            {
                return File.ReadAllLines(path);
            }
        }

        throw new FileNotFoundException("docs/viridian.md is above the test's directory");
    }
}
