using System.ComponentModel.DataAnnotations;
using Introspect.Rules.Plugins;

namespace Introspect.Rules.Tests.Plugins;

public sealed class OptionsBinderTests
{
    [Fact]
    public void Every_type_that_the_manual_names_is_bound()
    {
        var bound = Bind(
            ("must_be_given", "here"), ("flag", "on"), ("small", "-5"), ("large", "0xffff_ffff_ffff_ffff"), ("ratio", "0.25"), ("wait", "1.5s"),
            ("colour", "dark_red"), ("uuid", "8c2f5c9e-3b1a-4c8f-9a50-0d6f1f7e2b11"), ("maybe", "3"), ("words:0", "a"), ("words:10", "c"), ("words:2", "b"), ("numbers", "1, 0x2"),
            ("limits:cpu", "2"), ("limits:mem", "3"), ("nested:port", "80"), ("many:0:port", "1"), ("many:1:port", "2"));
        Assert.Equal("here", bound.MustBeGiven);
        Assert.True(bound.Flag);
        Assert.Equal((-5, ulong.MaxValue, 0.25, TimeSpan.FromSeconds(1.5)), (bound.Small, bound.Large, bound.Ratio, bound.Wait));
        Assert.Equal((Colour.DarkRed, Guid.Parse("8c2f5c9e-3b1a-4c8f-9a50-0d6f1f7e2b11"), 3), (bound.Colour, bound.Uuid, bound.Maybe));
        Assert.Equal(["a", "b", "c"], bound.Words);
        Assert.Equal([1u, 2u], bound.Numbers);
        Assert.Equal(new Dictionary<string, int> { ["cpu"] = 2, ["mem"] = 3 }, bound.Limits);
        Assert.Equal(80, bound.Nested.Port);
        Assert.Equal([1, 2], bound.Many.Select(nested => nested.Port));
    }

    [Fact]
    public void What_is_not_given_keeps_its_value()
    {
        var bound = Bind(("must_be_given", ""));
        Assert.Equal((7, true, null), (bound.Small, bound.Flag, bound.Maybe));
        Assert.Equal(443, bound.Nested.Port);
    }

    [Theory]
    [InlineData("smal", "1", "smal", "is not known; known here:")]
    [InlineData("small", "many", "small", "is no whole number from -128 to 127")]
    [InlineData("small", "128", "small", "is no whole number from -128 to 127")]
    [InlineData("large", "-1", "large", "is no whole number from 0 to 18446744073709551615")]
    [InlineData("large", "0x1_0000_0000_0000_0000", "large", "is no whole number from 0")]
    [InlineData("flag", "maybe", "flag", "is neither true nor false")]
    [InlineData("wait", "soon", "wait", "is no time; write seconds, or a number with ms, s, m or h")]
    [InlineData("ratio", "NaN", "ratio", "is no number")]
    [InlineData("colour", "green", "colour", "is none of dark_red, blue")]
    [InlineData("uuid", "x", "uuid", "is no UUID")]
    [InlineData("numbers:1", "x", "numbers:1", "is no whole number")]
    [InlineData("nested:port", "x", "nested:port", "is no whole number")]
    [InlineData("nested:prt", "1", "nested:prt", "is not known; known here: port")]
    [InlineData("nested", "1", "nested", "is a value where keys must be: port")]
    [InlineData("many:1:port", "0", "many:1:port", "must be between 1 and 65535")]
    [InlineData("small:deeper", "1", "small", "has keys below it where one value must be")]
    [InlineData("limits:cpu", "x", "limits:cpu", "is no whole number")]
    [InlineData("unsupported", "1", "unsupported", "cannot be had from a configuration")]
    public void A_mistake_is_told_with_its_key(string key, string value, string told, string what)
    {
        var mistakes = Assert.Throws<PluginOptionsException>(() => Bind(("must_be_given", ""), (key, value))).Mistakes;
        var mistake = Assert.Single(mistakes);
        Assert.Equal(told, mistake.Key);
        Assert.Contains(what, mistake.What, StringComparison.Ordinal);
    }

    [Fact]
    public void All_mistakes_are_told_at_once()
    {
        var mistakes = Assert.Throws<PluginOptionsException>(() => Bind(("small", "x"), ("flag", "x"), ("other", "x"))).Mistakes;
        Assert.Equal(["flag", "must_be_given", "other", "small"], mistakes.Select(mistake => mistake.Key).Order());
        Assert.Contains(mistakes, mistake => mistake is { Key: "must_be_given", Value: null, What: "is missing; give it" });
    }

    private static Everything Bind(params (string Key, string? Value)[] values) =>
        (Everything)OptionsBinder.Bind(typeof(Everything), values.Select(pair => KeyValuePair.Create(pair.Key, pair.Value)));

#pragma warning disable CA1812 // Made by the binder.
    private sealed class Everything
    {
        public required string MustBeGiven { get; init; }

        public bool Flag { get; init; } = true;

        public sbyte Small { get; init; } = 7;

        public ulong Large { get; init; }

        public double Ratio { get; init; }

        public TimeSpan Wait { get; init; }

        public Colour Colour { get; init; }

        public Guid Uuid { get; init; }

        public int? Maybe { get; init; }

        public IReadOnlyList<string> Words { get; init; } = [];

        public uint[] Numbers { get; init; } = [];

        public IReadOnlyDictionary<string, int> Limits { get; init; } = new Dictionary<string, int>();

        public Nested Nested { get; init; } = new();

        public IEnumerable<Nested> Many { get; init; } = [];

        public Uri? Unsupported { get; init; }

        public string ReadOnly => "";
    }

    private sealed class Nested
    {
        [Range(1, 65535, ErrorMessage = "{0} must be between {1} and {2}.")]
        public int Port { get; init; } = 443;
    }

    private enum Colour
    {
        DarkRed,
        Blue,
    }
}
