using System.Diagnostics.CodeAnalysis;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Language;

namespace Introspect.Rules.Tests.Language;

public sealed class ScopeTests
{
    private static readonly VmEvent Event = Compile.Write(ControlRegisterIndex.Cr4, 5, 6);

    [Fact]
    public void a_macro_stands_for_its_expression_as_if_in_parentheses()
    {
        var scope = Compile.Scope(macros: [("small", "new < 3 or new == 6"), ("kernel", "cpl == 0"), ("sum", "old + new"), ("which", "register")]);
        Assert.True(Compile.IsTrue("kernel and small", Event, scope: scope));
        Assert.False(Compile.IsTrue("not small", Event, scope: scope));
        Assert.True(Compile.IsTrue("sum * 2 == 22 and which == cr4", Event, scope: scope));
    }

    [Fact]
    public void a_mistake_in_a_macro_is_told_there_and_where_it_is_used()
    {
        var scope = Compile.Scope(macros: [("page", "gfn == 5")]);
        var only = Assert.Single(Compile.Mistakes("old == 1 and page", Compile.Writes, scope));
        Assert.Equal("page.yaml:1:1", only.Span.ToString());
        Assert.EndsWith("(in 'page', used at test.yaml:1:14)", only.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void the_grammar_of_a_macro_is_told_when_it_is_added_and_never_again()
    {
        var diagnostics = new DiagnosticBag();
        var scope = new ExpressionScope();
        scope.AddMacro("broken", default, SourceFragment.Of("m.yaml", "old =="), diagnostics);
        Assert.Single(diagnostics.All);
        Assert.Null(ConditionCompiler.Compile(SourceFragment.Of("t.yaml", "broken"), Compile.Writes, scope, diagnostics));
        Assert.Single(diagnostics.All);
    }

    [Theory]
    [InlineData("a", "'a' is defined by itself: a -> b -> c -> a")]
    [InlineData("old in $x", "'$x' is defined by itself: $x -> $y -> $x")]
    public void what_is_defined_by_itself_is_an_error(string condition, string message)
    {
        var scope = Compile.Scope(macros: [("a", "not b"), ("b", "c or c"), ("c", "a")], lists: [("x", ["1", "$y"]), ("y", ["2", "$x"])]);
        Assert.Equal(message, Assert.Single(Compile.Mistakes(condition, Compile.Writes, scope)).Message);
    }

    [Fact]
    public void macros_that_double_each_other_end_in_an_error()
    {
        var scope = Compile.Scope(macros: Enumerable.Range(1, 60).Select(i => ($"m{i}", i == 60 ? "old == 1" : $"m{i + 1} and m{i + 1}")));
        Assert.Contains("parts", Assert.Single(Compile.Mistakes("m1", Compile.Writes, scope)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void macros_that_nest_too_deep_end_in_an_error()
    {
        var scope = Compile.Scope(macros: Enumerable.Range(1, 60).Select(i => ($"m{i}", i == 60 ? "old == 1" : $"{new string('!', 50)}m{i + 1}")));
        Assert.Contains("deeper", Assert.Single(Compile.Mistakes("m1", Compile.Writes, scope)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("rip", "is a field")]
    [InlineData("and", "is a word of the language")]
    [InlineData("1x", "begins with a letter")]
    [InlineData("a.b", "has letters")]
    public void a_macro_has_a_name_of_its_own(string name, string message)
    {
        var diagnostics = new DiagnosticBag();
        var file = new SourceText("m.yaml", $"macro: {name}");
        new ExpressionScope().AddMacro(name, file.Span(7, name.Length), SourceFragment.Of("m", "true"), diagnostics);
        Assert.Contains(message, Assert.Single(diagnostics.All).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void a_list_is_numbers_or_texts_as_it_is_compared()
    {
        var scope = Compile.Scope(lists:
        [
            ("numbers", ["1", "0x4..6", "$more"]),
            ("more", ["100", "2K"]),
            ("registers", ["cr0", "CR4"]),
            ("names", ["db-1", "\"web-1\"", "$others"]),
            ("others", ["x y"]),
        ]);
        Assert.True(Compile.IsTrue("old in $numbers and new in (7, $numbers) and register in $registers", Event, scope: scope));
        Assert.True(Compile.IsTrue("domain_name in $names and domain_name not in $others", Event, scope: scope));
        Assert.Equal("numbers", Assert.Single(Compile.Mistakes("old in $nmbers", Compile.Writes, scope)).Suggestion?[1..]);
        var wrong = Assert.Single(Compile.Mistakes("old in $names", Compile.Writes, Compile.Scope(lists: [("names", ["5", "old_nw"])])));
        Assert.Equal("names.yaml:1:1", wrong.Span.ToString());
        Assert.Contains("(in '$names', used at test.yaml:1:8)", wrong.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void symbols_are_addresses_and_ranges()
    {
        var scope = Compile.Scope(symbols: new Symbols());
        var e = Event;
        e.Registers.Rip = 0x1010;
        Assert.True(Compile.IsTrue("rip in sym(do_idle) and rip == &do_idle + 0x10 and rip in (1, sym(\"do_idle\"))", e, scope: scope));
        Assert.False(Compile.IsTrue("rip in sym(twice)", e, scope: scope));
        e.Registers.Rip = 0x3005;
        Assert.True(Compile.IsTrue("rip in sym(twice) and rip not in sym(do_idle)", e, scope: scope));
        Assert.Equal("do_idle", Assert.Single(Compile.Mistakes("rip in sym(do_idel)", Compile.Writes, scope)).Suggestion);
        Assert.Contains("2 symbols", Assert.Single(Compile.Mistakes("rip == &twice", Compile.Writes, scope)).Message, StringComparison.Ordinal);
        Assert.Equal("do_idle+0x10 far", Compile.Text("{rip - 0x1ff5:symbol} far", e, scope: scope));
        Assert.Equal([new(0x1000, 0x10ff)], Compile.Condition("rip in sym(do_idle)", Compile.Writes, scope).Facts.For(VmEventReason.WriteCtrlreg)!.InstructionPointers.Ranges);
    }

    [Fact]
    public void without_symbols_a_comparison_with_one_is_never_true_and_warned_of()
    {
        var diagnostics = new DiagnosticBag();
        var condition = ConditionCompiler.Compile(SourceFragment.Of("t.yaml", "not rip in sym(do_idle) or rip != &x"), Compile.Writes, new(), diagnostics);
        Assert.All(diagnostics.All, d => Assert.Equal(DiagnosticSeverity.Warning, d.Severity));
        Assert.Equal(2, diagnostics.All.Count);
        var context = Compile.Context();
        Assert.False(condition!.Evaluate(in Event, ref context));
    }

    [Fact]
    public void what_is_known_of_the_domain_is_decided_before_any_event()
    {
        var scope = Compile.Scope(macros: [("web", "domain_name matches 'web-*'")]);
        Assert.False(Compile.Condition("web and old == 1", Compile.Writes, scope).Facts.IsNever);
        Assert.False(Compile.Condition("web and old == 1", Compile.Writes, scope.For(Compile.Domain, null)).Facts.IsNever);
        var other = new RuleDomain(new(new(8), "db", Guid.Empty, CpuVendor.Svm, 1, default, 0, DomainState.Running, 0));
        foreach (var text in new[] { "web and old == 1", "domain == 7 and old == 1", "vendor == vmx and old == 1", "domain_uuid != '00000000-0000-0000-0000-000000000000' and old == 1" })
        {
            Assert.True(Compile.Condition(text, Compile.Writes, scope.For(other, null)).Facts.IsNever, text);
        }
    }

    private sealed class Symbols : ISymbolResolver
    {
        public IEnumerable<string> Names => ["do_idle", "twice"];

        public IReadOnlyList<NumberRange> RangesOf(string name) => name switch
        {
            "do_idle" => [new(0x1000, 0x10ff)],
            "twice" => [new(0x2000, 0x2001), new(0x3000, 0x30ff)],
            _ => [],
        };

        public bool TryFind(ulong address, [NotNullWhen(true)] out string? name, out ulong offset)
        {
            (name, offset) = ("do_idle", address - 0x1000);
            return address >= 0x1000;
        }
    }
}
