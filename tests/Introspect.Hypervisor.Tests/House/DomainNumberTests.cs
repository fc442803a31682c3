using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;

namespace Introspect.Hypervisor.Tests.House;

/// <summary>
/// Nothing is decided by a domain's number being 0: what a domain may do are its roles, and domain 0 need have none of
/// them. The sources are searched for comparisons of domain numbers with 0, and for names that hide one.
/// </summary>
public sealed partial class DomainNumberTests
{
    [Fact]
    public void No_code_asks_whether_a_domain_is_domain_0()
    {
        var root = Source();
        var offenders = Directory.EnumerateFiles(root, "*.cs", SearchOption.AllDirectories)
            .Where(path => !path.Contains("/obj/", StringComparison.Ordinal) && !path.Contains("/bin/", StringComparison.Ordinal))
            .SelectMany(path => Offences(File.ReadAllText(path)).Select(offence => $"{Path.GetRelativePath(root, path)}: {offence}"));

        Assert.Empty(offenders);
    }

    [Theory]
    [InlineData("if (domain.Id == 0)")]
    [InlineData("if (domain.Id.Value == 0)")]
    [InlineData("return d.DomainId != 0;")]
    [InlineData("return 0 == caller.DomainId;")]
    [InlineData("var isMine = domid is 0;")]
    [InlineData("if (operation.Domid is not 0 and var target)")]
    [InlineData("if (config.Id > 0)")]
    [InlineData("if (domainId < 1)")]
    [InlineData("x = domain == 0x0 ? a : b;")]
    [InlineData("x = argument.Domain == 0u;")]
    [InlineData("if (id == default(DomainId))")]
    [InlineData("if (domain.Id == new DomainId(0))")]
    [InlineData("if (domain.Id.Value == BootDomain.Number)")]
    [InlineData("if (BootDomain.Number == domain)")]
    [InlineData("if (id == DomId.Dom0)")]
    [InlineData("if (domain.IsDom0)")]
    [InlineData("switch (domain.Id.Value) { case 0: break; }")]
    [InlineData("_ = caller.DomainId switch { 0 => true, _ => false };")]
    [InlineData("if (domain.Id.Value.Equals(0))")]
    public void The_search_finds_such_code(string code) => Assert.NotEmpty(Offences(code));

    [Theory]
    [InlineData("if (domain.IsHardwareDomain)")]
    [InlineData("if (domain.Id.Value == caller.DomainId)")]
    [InlineData("if (vcpu.Id == 0)")]
    [InlineData("var port = Events.AllocateUnbound(remoteDomain: BootDomain.Number, out var store) == 0;")]
    [InlineData("XenFeature.Dom0")]
    [InlineData("// a comment on domain.Id == 0")]
    [InlineData("domains.Count == 0")]
    [InlineData("throw new(\"domain == 0 is text\");")]
    public void And_leaves_other_code_alone(string code) => Assert.Empty(Offences(code));

    private static IEnumerable<string> Offences(string source)
    {
        var code = TextAndComments().Replace(source, static match => match.Value[0] == '"' ? "\"\"" : "");
        return Patterns().Matches(code).Select(static match => match.Value);
    }

    private static string Source([CallerFilePath] string here = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "../../../src"));

    // Whatever is called a domain's number: domain.Id, d.Id.Value, DomainId, domid, Domain (in a call's structure), wanted.
    private const string Number = @"\b(?:[Dd]omain(?:\.Id)?|[Dd]omainId|[Dd]om[Ii]d|[Cc]onfig\.Id|d\.Id)(?:\.Value)?";
    private const string Zero = @"(?:0(?:x0+)?[uUlLsS]*\b(?!\.|x)|default\b|new(?:\s+DomainId)?\(0\)|BootDomain\.Number\b)";

    [GeneratedRegex(
        Number + @"\s*(?:==|!=|<=|>|is(?:\s+not)?)\s*" + Zero
        + "|" + Zero + @"\s*(?:==|!=|<|>=)\s*(?:\w+\.)*" + Number
        + "|" + Number + @"\s*(?:<|>=|is\s*<|is\s*>=)\s*1\b"
        + "|" + Number + @"\.Equals\(\s*" + Zero
        + @"|switch\s*\([^()]*" + Number + @"\)\s*\{\s*case\s+0\b"
        + "|" + Number + @"\s+switch\s*\{\s*0\b"
        + @"|==\s*default\(DomainId\)|\bDomId\.Dom0\b|\bIsDom(?:ain)?0\b|\bIsDomainZero\b")]
    private static partial Regex Patterns();

    [GeneratedRegex(@"//[^\n]*|/\*.*?\*/|""(?:\\.|[^""\\\n])*""", RegexOptions.Singleline)]
    private static partial Regex TextAndComments();
}
