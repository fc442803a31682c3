using System.Text;
using System.Text.RegularExpressions;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Language;
using Introspect.Rules.Names;

namespace Introspect.Rules.Tests.Language;

/// <summary>docs/rules-language.md says what the code does. With INTROSPECT_UPDATE_DOCS=1 its tables are written anew.</summary>
public sealed class ReferenceTests
{
    private static readonly string Docs = Path.Combine(Root(), "docs");

    private static readonly string Page = Path.Combine(Docs, "rules-language.md");

    [Theory]
    [InlineData("fields")]
    [InlineData("values")]
    [InlineData("bits")]
    public void a_table_is_that_of_the_code(string name)
    {
        var table = name switch
        {
            "fields" => Fields(),
            "values" => Values(),
            _ => Bits(),
        };
        var text = File.ReadAllText(Page);
        var pattern = new Regex($"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", RegexOptions.Singleline);
        if (Environment.GetEnvironmentVariable("INTROSPECT_UPDATE_DOCS") == "1")
        {
            File.WriteAllText(Page, pattern.Replace(text, table.Replace("$", "$$", StringComparison.Ordinal), 1));
            return;
        }

        Assert.Equal(table, pattern.Match(text).Value);
    }

    [Fact]
    public void every_example_compiles_without_a_mistake()
    {
        var blocks = Regex.Matches(File.ReadAllText(Page), "```(when|output) ([a-z_]+)\n(.*?)```", RegexOptions.Singleline);
        Assert.True(blocks.Count >= 5);
        foreach (Match block in blocks)
        {
            Assert.True(Vocabulary.Reason.TryGetValue(block.Groups[2].Value, out var reason));
            var reasons = VmEventReasonSet.Of((VmEventReason)reason);
            foreach (var line in block.Groups[3].Value.Split('\n', StringSplitOptions.RemoveEmptyEntries))
            {
                var diagnostics = new DiagnosticBag();
                var source = SourceFragment.Of("example", line);
                object? compiled = block.Groups[1].Value == "when"
                    ? ConditionCompiler.Compile(source, reasons, new(), diagnostics)
                    : OutputTemplate.Compile(source, reasons, new(), diagnostics);
                Assert.True(compiled is not null && diagnostics.All.Count == 0, string.Join("\n", diagnostics.All.Select(d => d.Render())));
            }
        }
    }

    [Fact]
    public void every_word_function_and_format_is_told_of()
    {
        var text = File.ReadAllText(Page);
        Assert.All(Keywords.All.Keys, word => Assert.Contains($"`{word}`", text, StringComparison.Ordinal));
        Assert.All(TemplateFormat.Names, name => Assert.Contains($"`{name}`", text, StringComparison.Ordinal));
        foreach (var limit in new[] { $"{Lexer.LongestSource / 1000} {Lexer.LongestSource % 1000}", $"{Parser.MaxDepth} levels", $"({Binder.MaxDepth} with", $"{Binder.MaxParts / 1000} 000" })
        {
            Assert.Contains(limit, text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void fields_have_the_names_that_lines_of_json_have()
    {
        // The rows of docs/events-json.md: reason, then members, with values of some of them in parentheses.
        string[] values = ["rwx", "gdtr", "idtr", "ldtr", "tr", "load", "store"];
        var rows = Regex.Matches(File.ReadAllText(Path.Combine(Docs, "events-json.md")), @"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \| (.*) \|$", RegexOptions.Multiline);
        var seen = 0;
        foreach (Match row in rows)
        {
            foreach (var name in Words(row.Groups[1].Value))
            {
                if (!Vocabulary.Reason.TryGetValue(name, out var reason))
                {
                    continue;
                }

                seen++;
                foreach (var member in Words(row.Groups[2].Value).Except(values))
                {
                    var isKnown = member == "vendor" || FieldCatalog.Find(member).Any(f => f.Reasons.Contains((VmEventReason)reason));
                    Assert.True(isKnown, $"{name}.{member}");
                }
            }
        }

        Assert.Equal(VmEventReasonSet.All.Count, seen);
    }

    [Fact]
    public void no_two_fields_of_a_reason_have_one_name()
    {
        foreach (var reason in VmEventReasonSet.All.Reasons)
        {
            var names = FieldCatalog.NamesOn(VmEventReasonSet.Of(reason)).ToList();
            Assert.Equal(names.Count, names.Distinct(StringComparer.OrdinalIgnoreCase).Count());
            Assert.All(names, name => Assert.DoesNotContain(name, Keywords.All.Keys));
        }
    }

    private static IEnumerable<string> Words(string text) => Regex.Matches(text, "`([a-z0-9_]+)`").Select(m => m.Groups[1].Value);

    private static string Fields()
    {
        var table = new StringBuilder("| field | on | is |\n| --- | --- | --- |\n");
        foreach (var field in FieldCatalog.All)
        {
            var on = field.Reasons == VmEventReasonSet.All ? "all" : string.Join(", ", field.Reasons.Reasons.Select(r => $"`{ReasonNames.Of(r)}`"));
            var kind = field.Type switch
            {
                FieldType.Boolean => " (truth)",
                FieldType.Text => " (text)",
                _ when field.Vocabulary is { IsStrict: true } => " (by name)",
                _ when field.Vocabulary is not null => " (by number or name)",
                _ => "",
            };
            table.Append($"| `{field.Name}` | {on} | {field.Description}{kind} |\n");
        }

        return table.ToString();
    }

    private static string Values()
    {
        var table = new StringBuilder("| of | names |\n| --- | --- |\n");
        foreach (var names in FieldCatalog.All.Where(f => f.Vocabulary is not null).Select(f => f.Vocabulary!).Distinct())
        {
            table.Append($"| {names.What} | {string.Join(", ", names.Names.Select(n => $"`{n}`"))} |\n");
        }

        return table.ToString();
    }

    private static string Bits()
    {
        var table = new StringBuilder("| register | bits |\n| --- | --- |\n");
        foreach (var register in RegisterBits.All)
        {
            table.Append($"| `{register.Register}` | {string.Join(", ", register.Names.Select(n => $"`{n}`"))} |\n");
        }

        return table.ToString();
    }

    private static string Root()
    {
        var at = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(at.FullName, "Introspect.sln")))
        {
            at = at.Parent ?? throw new DirectoryNotFoundException("Introspect.sln");
        }

        return at.FullName;
    }
}
