using System.Runtime.CompilerServices;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Tests.Policies;

/// <summary>The tables in docs/domain-roles.md are the code's.</summary>
public sealed class DocumentedPoliciesTests
{
    /// <summary>Set to write the tables anew, in place of comparing them.</summary>
    private const string Rewrite = "INTROSPECT_WRITE_DOCS";

    [Theory]
    [InlineData("x86")]
    [InlineData("arm")]
    public void The_documented_table_is_the_codes(string table)
    {
        var path = Documentation();
        var text = File.ReadAllText(path);
        var expected = Render(table);
        var start = text.IndexOf($"<!-- {table} -->\n", StringComparison.Ordinal) + $"<!-- {table} -->\n".Length;
        var end = text.IndexOf("<!-- end -->", start, StringComparison.Ordinal);
        if (Environment.GetEnvironmentVariable(Rewrite) is not null)
        {
            File.WriteAllText(path, text[..start] + expected + text[end..]);
            return;
        }

        Assert.True(expected == text[start..end], $"docs/domain-roles.md: the table '{table}' is not the code's; run this test with {Rewrite}=1");
    }

    private static string Render(string table)
    {
        var isX86 = table == "x86";
        var policies = isX86 ? X86PolicyTable.All : ArmPolicyTable.For(ArmMachine.QemuVirt(GicVersion.V3), GicVersion.V3, configuredLines: 0);
        var lines = new List<string>
        {
            isX86 ? "| policy | ordinary | control | hardware | both | Xen's site | on the core |" : "| policy | ordinary | control | hardware | both | Xen's site |",
            isX86 ? "| --- | --- | --- | --- | --- | --- | --- |" : "| --- | --- | --- | --- | --- | --- |",
        };
        lines.AddRange(policies.Select(policy =>
            $"| {policy.Name} | {string.Join(" | ", PolicyEntry.Columns.Select(policy.Decide))} | `{policy.Site}` |{(isX86 ? policy.IsWired ? " yes |" : " – |" : "")}"));
        return string.Join('\n', lines) + "\n";
    }

    private static string Documentation([CallerFilePath] string here = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(here)!, "../../../docs/domain-roles.md"));
}
