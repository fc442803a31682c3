using System.Text;
using Introspect.Rules.Names;

namespace Introspect.Rules.Tests.Names;

/// <summary>Text of somebody else's does not steer who reads it.</summary>
public sealed class PrintableTextTests
{
    [Theory]
    [InlineData("plain, with\ta tab and ünïcödé 😀", "plain, with\ta tab and ünïcödé 😀")]
    [InlineData("red \e[31m", "red \\x1b[31m")]
    [InlineData("bell\a, delete\u007f", "bell\\x07, delete\\x7f")]
    [InlineData("csi \u009b2J", "csi \\xc2\\x9b2J")]
    [InlineData("left \u202e right", "left \\xe2\\x80\\xae right")]
    [InlineData("one\ntwo\r\nthree\u2028four", "one two three four")]
    public void A_line_shows_what_a_terminal_would_obey(string text, string shown) => Assert.Equal(shown, PrintableText.Line(text));

    [Fact]
    public void Half_a_character_is_none() => Assert.Equal("half \ufffd", PrintableText.Line("half \ud83d"));

    [Fact]
    public void Bytes_that_are_no_text_are_shown_as_such()
    {
        Assert.Equal("a\\xff\\xc3b", PrintableText.Of([(byte)'a', 0xff, 0xc3, (byte)'b']));
        Assert.Equal("ü", PrintableText.Of(Encoding.UTF8.GetBytes("ü")));
    }

    [Fact]
    public void A_line_has_an_end()
    {
        var longest = new string('x', PrintableText.LongestLine);
        Assert.Equal(longest, PrintableText.Line(longest));
        Assert.Equal(longest + "…", PrintableText.Line(longest + "yz"));
        Assert.InRange(PrintableText.Line(new string('\e', 1_000_000)).Length, PrintableText.LongestLine, PrintableText.LongestLine + 10);
    }

    [Fact]
    public void None_of_several_lines_begins_where_a_line_of_a_log_does() =>
        Assert.Equal("  one\n  2026-01-01 ERR two\n     at \\x1b three", PrintableText.Indented("one\r\n2026-01-01 ERR two\n   at \e three"));
}
