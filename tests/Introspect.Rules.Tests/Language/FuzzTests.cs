using System.Text;
using Introspect.Rules.Language;

namespace Introspect.Rules.Tests.Language;

/// <summary>Whatever a file says, it is compiled or refused: nothing is thrown and nothing hangs.</summary>
public sealed class FuzzTests
{
    private static readonly VmEventReasonSet Reasons = VmEventReasonSet.All;

    private static readonly string[] Words =
    [
        "and", "or", "not", "in", "true", "false", "(", ")", "[", "]", ",", ".", "..", "+", "-", "*", "~", "&", "|", "^", "<<", ">>",
        "==", "!=", "<", "<=", ">", ">=", "&&", "||", "!", "=", "startswith", "contains", "matches", "0", "0x", "12K", "0b2", "1.5", "1..5",
        "'a'", "\"", "'", "\\", "$", "$list", "$loop", "register", "cr4", "old", "new", "gfn", "msr", "LSTAR", "CR4.SMEP", "u64", "u64[", "p8[rsp]",
        "sym(", "sym(x)", "&x", "cleared(", "set(CR4.SMEP)", "macro", "circle", "domain_name", "sync", "access", "rw", "{", "}", ":", ":x", "#", "\n", "§", "\ud800",
    ];

    private static readonly string[] Good =
    [
        "register == cr4 and (old ^ new) & CR4.SMEP != 0 or msr in (LSTAR, 0x10..0x1f, $list)",
        "not (domain_name matches 'web-*' and u64[rsp + 8] == &do_idle) and rip in sym(do_idle)",
        "cleared(CR4.SMEP | CR4.SMAP) and cpl == 3 and macro and gfn not in 1..5",
        "write {register} {old:x16} -> {new:cr4} by {rip:symbol} {{ {u8[rsp]} }}",
    ];

    [Fact]
    public void random_words_are_compiled_or_refused()
    {
        var random = new Random(1);
        for (var i = 0; i < 3000; i++)
        {
            var text = new StringBuilder();
            for (var words = random.Next(1, 25); words > 0; words--)
            {
                text.Append(Words[random.Next(Words.Length)]).Append(random.Next(3) == 0 ? "" : " ");
            }

            Try(text.ToString());
        }
    }

    [Fact]
    public void mutated_expressions_are_compiled_or_refused()
    {
        var random = new Random(2);
        for (var i = 0; i < 2000; i++)
        {
            var text = new StringBuilder(Good[random.Next(Good.Length)]);
            for (var changes = random.Next(1, 4); changes > 0; changes--)
            {
                var at = random.Next(text.Length);
                switch (random.Next(4))
                {
                    case 0:
                        text.Remove(at, Math.Min(random.Next(1, 5), text.Length - at));
                        break;
                    case 1:
                        text.Insert(at, Words[random.Next(Words.Length)]);
                        break;
                    case 2:
                        text[at] = (char)random.Next(random.Next(2) == 0 ? 128 : 0x10000);
                        break;
                    default:
                        text.Append(text.ToString(0, at));
                        break;
                }

                text.Append(text.Length == 0 ? "x" : "");
            }

            Try(text.ToString());
        }
    }

    [Theory]
    [InlineData("(", ")")]
    [InlineData("not ", "")]
    [InlineData("~", "")]
    [InlineData("-", "")]
    [InlineData("u64[", "]")]
    [InlineData("old + (", ")")]
    [InlineData("old == 1 and (", ")")]
    [InlineData("old in (", ")")]
    [InlineData("set(", ")")]
    [InlineData("{", "}")]
    public void whatever_is_nested_too_deep_is_refused(string open, string close)
    {
        foreach (var depth in new[] { 99, 101, 5000 })
        {
            Try($"{Repeat(open, depth)}old == 1{Repeat(close, depth)}");
            Try(Repeat(open, depth));
        }
    }

    [Theory]
    [InlineData("old == 1", " or old == 1")]
    [InlineData("old == 1", " and old == 1 or new == 2")]
    [InlineData("old == 1", " + 1")]
    [InlineData("old == 1", " | old")]
    [InlineData("old == 1", " == 1")]
    [InlineData("old in (1", ", 3")]
    [InlineData("old in (rax", ", rax")]
    [InlineData("1", "1")]
    [InlineData("a", "a")]
    [InlineData("a", ".a")]
    [InlineData("'", "a")]
    [InlineData("a", " a")]
    [InlineData("(", "a,")]
    [InlineData("{old}", "{old}")]
    [InlineData("#", "#")]
    [InlineData("", ")")]
    public void whatever_is_long_is_compiled_or_refused(string start, string more)
    {
        foreach (var count in new[] { 90, 3000, 70_000 })
        {
            Try(start + Repeat(more, count));
        }
    }

    [Fact]
    public void a_long_condition_of_many_parts_is_no_deeper_for_it()
    {
        var diagnostics = new DiagnosticBag();
        var condition = ConditionCompiler.Compile(SourceFragment.Of("t", "old == 1" + Repeat(" or old == 2", 2000)), Compile.Writes, new(), diagnostics);
        Assert.NotNull(condition);
        var e = Compile.Write(0, 2, 0);
        var context = Compile.Context();
        Assert.True(condition.Evaluate(in e, ref context));
    }

    private static string Repeat(string text, int count) => string.Concat(Enumerable.Repeat(text, count));

    private static void Try(string text)
    {
        var scope = Compile.Scope(
            macros: [("macro", "old == 1 or new == 2"), ("circle", "circle or circle")],
            lists: [("list", ["1", "2..3", "x"]), ("loop", ["$loop"])]);
        var fragment = SourceFragment.Of("fuzz.yaml", text);
        var conditions = new DiagnosticBag();
        var templates = new DiagnosticBag();
        var condition = ConditionCompiler.Compile(fragment, Reasons, scope, conditions);
        Assert.Equal(condition is null, conditions.HasErrors);
        var template = OutputTemplate.Compile(fragment, Reasons, scope, templates);
        Assert.Equal(template is null, templates.HasErrors);
        scope.AddMacro("fuzzed", default, fragment, conditions);
        scope.AddList("fuzzed_list", default, [fragment], conditions);
        ConditionCompiler.Compile(SourceFragment.Of("t", "fuzzed or old in $fuzzed_list or domain_name in $fuzzed_list"), Reasons, scope, conditions);
        foreach (var diagnostic in conditions.All.Concat(templates.All))
        {
            Assert.DoesNotContain('\0', diagnostic.Render());
        }
    }
}
