using Introspect.XenLab.Events;

namespace Introspect.Hypervisor.Tests.XenLab;

/// <summary>The table that the lab fills on real Xen: docs/xen.md has all of its rows, and the core can fill it, too.</summary>
public sealed class EventTableTests
{
    [Fact]
    public void The_document_has_the_labs_rows()
    {
        var table = EventTable.FindIn(File.ReadAllText(Document("xen.md")));
        Assert.Equal(["what", "---", .. EventTable.Titles], Cells(table).Select(static row => row[0]));
    }

    [Fact]
    public void The_core_fills_it_where_the_vendors_have_events()
    {
        using var lab = new CoreLab(CpuVendor.Svm, overSocket: false);
        var rows = Cells(EventTable.Write(lab)).Skip(2).ToDictionary(static row => row[0], static row => (row[1], row[2]));
        Assert.Equal(EventTable.Titles, rows.Keys);
        Assert.Equal(("done", "7"), rows["writes of CR0"]);
        Assert.Equal(("done", "5"), rows["writes of CR3, async"]);
        Assert.Equal(("done", "4"), rows["debug exceptions, async"]);
        Assert.Equal(("EOPNOTSUPP", "–"), rows["single steps"]);
        Assert.Equal(("EINVAL", "–"), rows["accesses to memory"]);
    }

    [Fact]
    public void A_document_without_the_table_has_none() => Assert.Equal("", EventTable.FindIn("# On real Xen\n"));

    private static string Document(string name)
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            var path = Path.Combine(directory.FullName, "docs", name);
            if (File.Exists(path))
            {
                return path;
            }
        }

        throw new FileNotFoundException($"docs/{name} is above the test's directory");
    }

    private static IEnumerable<string[]> Cells(string table) =>
        table.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(static line => Array.ConvertAll(line.Trim('|').Split(" | "), static cell => cell.Trim()));
}
