using Introspect.Hypervisor.Abi;
using Introspect.Rules.Language;

namespace Introspect.Rules.Tests.Language;

public sealed class DiagnosticTests
{
    [Fact]
    public void a_mistake_is_shown_in_its_line_with_carets_under_it()
    {
        var text = "rules:\n  - when: register == cr4 and\n\tnew contains CR4.SMPE\n";
        var file = new SourceText("rules.yaml", text);
        var start = text.IndexOf("register", StringComparison.Ordinal);
        var diagnostics = new DiagnosticBag();
        Assert.Null(ConditionCompiler.Compile(new(file.Span(start, text.Length - start)), Compile.Writes, new(), diagnostics));
        var only = Assert.Single(diagnostics.All);
        Assert.Equal("rules.yaml:3:15: error: CR4 has no bit 'SMPE'; did you mean 'CR4.SMEP'?", only.ToString());
        Assert.Equal(only + "\n  \tnew contains CR4.SMPE\n  \t             ^^^^^^^^", only.Render());
    }

    [Theory]
    [InlineData("regster == cr4", "regster", "no name", "register")]
    [InlineData("register == cr5", "cr5", "no name", "cr0")]
    [InlineData("register == 'cr5'", "'cr5'", "no register has the name", "cr0")]
    [InlineData("register == 4", "4", "is no register", null)]
    [InlineData("register < cr4", "register < cr4", "no order", null)]
    [InlineData("register + 1 == cr4", "register", "has names for values", null)]
    [InlineData("register in cr0..cr4", "cr0..cr4", "no ranges", null)]
    [InlineData("gfn == 4", "gfn", "those of mem_access, mem_sharing, mem_paging, software_breakpoint, singlestep, debug_exception have", null)]
    [InlineData("mem_access.gfn == 4", "mem_access.gfn", "events of write_ctrlreg have no 'mem_access.gfn'", null)]
    [InlineData("new", "new", "'new' is a number, neither true nor false", null)]
    [InlineData("CR4.SMEP", "CR4.SMEP", "is a mask", null)]
    [InlineData("domain_name", "domain_name", "is a text", null)]
    [InlineData("new == 'x'", "new == 'x'", "cannot be compared", null)]
    [InlineData("new startswith 1", "new startswith 1", "is for texts", null)]
    [InlineData("domain_name < 'x'", "domain_name < 'x'", "no order", null)]
    [InlineData("domain_name in (web)", "web", "\"web\"", null)]
    [InlineData("new == 0x1g2", "0x1g2", "'g' is no hexadecimal digit", null)]
    [InlineData("new == 12a", "12a", "'a' is no decimal digit", null)]
    [InlineData("new == 0b12", "0b12", "'2' is no binary digit", null)]
    [InlineData("new == 1_", "1_", "this is no number", null)]
    [InlineData("new == 1.5", "1.5", "numbers are whole", null)]
    [InlineData("new == 18446744073709551616", "18446744073709551616", "64 bits", null)]
    [InlineData("new == 17179869184G", "17179869184G", "64 bits", null)]
    [InlineData("new = 1", "=", "write ==", null)]
    [InlineData("new / 2 == 1", "/", "no division", null)]
    [InlineData("new == 'x", "'", "has no end", null)]
    [InlineData("new == '\\q'", "\\q", "an escape is", null)]
    [InlineData("new == 1 rax == 2", "rax", "cannot follow here", null)]
    [InlineData("0 < new < 5", "<", "do not chain", null)]
    [InlineData("(new == 1", "(", "not closed", null)]
    [InlineData("new == 1)", ")", "no open one", null)]
    [InlineData("u64[new == 1", "[", "not closed", null)]
    [InlineData("u65[new] == 1", "u65", "no read of memory", "u64")]
    [InlineData("new in ()", ")", "empty list", null)]
    [InlineData("new in 5..1", "5..1", "ends before it begins", null)]
    [InlineData("new == 1..2", "..", "behind 'in'", null)]
    [InlineData("new == $x", "$x", "stands behind 'in'", null)]
    [InlineData("new in $x", "$x", "there is no list", null)]
    [InlineData("new == sym(x)", "sym(x)", "in sym", null)]
    [InlineData("clered(CR4.SMEP)", "clered", "no function", "cleared")]
    [InlineData("cleared(CR4.SMEP, 1)", "cleared(CR4.SMEP, 1)", "takes one mask", null)]
    [InlineData("cleared(CR4.SMEP | CR0.WP)", "CR4.SMEP | CR0.WP", "two registers", null)]
    [InlineData("cleared(EFER.NXE)", "cleared(EFER.NXE)", "those of mov_to_msr do", null)]
    [InlineData("cleared(RFLAGS.IF)", "RFLAGS.IF", "give no events", null)]
    [InlineData("cleared(0)", "0", "no bits", null)]
    [InlineData("sync == 1", "sync == 1", "joined by and", null)]
    [InlineData("sync in (true)", "sync", "in no list", null)]
    [InlineData("new == sync", "new == sync", "joined by and", null)]
    [InlineData("new == 1 and", "", "missing at the end", null)]
    [InlineData("and new == 1", "and", "a value is missing before 'and'", null)]
    [InlineData("new == ยง", "ย", "no meaning", null)]
    [InlineData("  ", "  ", "is empty", null)]
    [InlineData("new.bits == 1", "new.bits", "no name", null)]
    [InlineData("new. == 1", ".", "a name follows a dot", null)]
    public void a_mistake_is_told_where_it_is(string text, string where, string message, string? suggestion)
    {
        var all = Compile.Mistakes(text, Compile.Writes);
        Assert.Equal(DiagnosticSeverity.Error, all[0].Severity);
        Assert.Equal((where, suggestion), (all[0].Span.Characters.ToString(), all[0].Suggestion));
        Assert.Contains(message, all[0].Message, StringComparison.Ordinal);
        Assert.True(all.Count <= 2, string.Join("\n", all));
    }

    [Fact]
    public void all_mistakes_are_told_at_once()
    {
        var all = Compile.Mistakes("regster == cr4 and (nwe == 1 or u65[rsp] == 2) and rax in (1, rbxx, 5..3) and vcpu = 1", Compile.Writes);
        Assert.Equal(["=", "regster", "nwe", "u65", "rbxx", "5..3"], all.Select(d => d.Span.Characters.ToString()));
    }

    [Fact]
    public void grammar_mistakes_in_several_places_are_told_at_once()
    {
        var all = Compile.Mistakes("(new == ) and (rax in (1 2)) and rbx > * 5", Compile.Writes);
        Assert.Equal([")", "2", "*"], all.Select(d => d.Span.Characters.ToString()));
    }

    [Fact]
    public void a_name_with_two_meanings_is_told()
    {
        var both = Compile.Accesses.With(VmEventReason.DescriptorAccess);
        var only = Assert.Single(Compile.Mistakes("access == w", both));
        Assert.Contains("mem_access.access or descriptor_access.access", only.Message, StringComparison.Ordinal);
        Compile.Condition("mem_access.access == w or descriptor_access.access == load", both);
    }

    [Theory]
    [InlineData("new & CR4.SMEP == 0", "CR4.SMEP")]
    [InlineData("register == cr4 and cpl == 0 or not (old contains CR0.WP | CR0.PG)", "CR0.WP")]
    [InlineData("register != cr0 and old ^ new == CR4.SMEP", "CR4.SMEP")]
    [InlineData("register == cr4 and new & CR4.SMEP == 0", null)]
    [InlineData("register == cr4 and (cpl == 0 or new & CR4.SMEP == 0)", null)]
    [InlineData("register == cr4 and new & CR4.SMEP == 0 or register == cr0", null)]
    [InlineData("not (register != cr4 or new & CR4.SMEP == 0)", null)]
    [InlineData("cleared(CR4.SMEP) or set(CR0.WP)", null)]
    [InlineData("cr4 contains CR4.SMEP", null)]
    [InlineData("register == cr0 and new == 5 and cr4 & CR4.SMEP == 0", null)]
    public void bits_that_are_looked_for_in_another_register_are_a_warning(string text, string? where)
    {
        var diagnostics = new DiagnosticBag();
        Assert.NotNull(ConditionCompiler.Compile(SourceFragment.Of("r.yaml", text), Compile.Writes, new(), diagnostics));
        Assert.All(diagnostics.All, d => Assert.Equal(DiagnosticSeverity.Warning, d.Severity));
        Assert.Equal(where, diagnostics.All.Select(d => d.Span.Characters.ToString()).FirstOrDefault());
    }

    [Fact]
    public void a_long_line_is_shown_around_the_mistake_and_without_control_characters()
    {
        var all = Compile.Mistakes($"rax == 1 {string.Concat(Enumerable.Repeat("or rax == 1 ", 500))} or rxa == '\u001b[2J'", Compile.Writes);
        var lines = all[0].Render().Split('\n');
        Assert.Equal(3, lines.Length);
        Assert.True(lines[1].Length <= 122);
        Assert.DoesNotContain('\u001b', lines[1]);
        Assert.Equal("rxa", lines[1].Substring(lines[2].IndexOf('^', StringComparison.Ordinal), 3));
    }

    [Fact]
    public void text_with_escapes_in_its_file_has_places_there()
    {
        // A YAML scalar "new == \x27x'" of 13 characters, whose value has 10.
        var file = new SourceText("f.yaml", "when: \"new == \\x27x'\"");
        var fragment = new SourceFragment("new == 'x'", file, [7, 8, 9, 10, 11, 12, 13, 14, 18, 19, 20]);
        var diagnostics = new DiagnosticBag();
        Assert.Null(ConditionCompiler.Compile(fragment, Compile.Writes, new(), diagnostics));
        Assert.Equal("new == \\x27x'", Assert.Single(diagnostics.All).Span.Characters.ToString());
    }

    [Fact]
    public void a_bag_keeps_each_mistake_once_and_not_more_than_it_can()
    {
        var text = new SourceText("f", new string('x', 5000));
        var bag = new DiagnosticBag();
        for (var i = 0; i < 3000; i++)
        {
            bag.Error(text.Span(i, 1), "wrong");
            bag.Error(text.Span(0, 1), "wrong");
        }

        Assert.Equal(DiagnosticBag.Capacity, bag.All.Count);
        Assert.True(bag.HasErrors);
    }

    [Fact]
    public void lines_and_columns_are_counted_from_one()
    {
        var text = new SourceText("f", "a\r\nbc\n\nd");
        Assert.Equal((1, 1), text.PositionOf(0));
        Assert.Equal((2, 2), text.PositionOf(4));
        Assert.Equal((3, 1), text.PositionOf(6));
        Assert.Equal((4, 2), text.PositionOf(100));
        Assert.Equal("a", text.LineAt(1).ToString());
        Assert.Equal("bc", text.LineAt(2).ToString());
        Assert.Equal("", text.LineAt(3).ToString());
        Assert.Equal("d", text.LineAt(4).ToString());
    }
}
