namespace Introspect.Rules.Tests;

/// <summary>Where the repository's files are.</summary>
internal static class Repository
{
    private static readonly string Root = Find();

    /// <summary>The path of a file.</summary>
    public static string PathOf(params string[] parts) => Path.Combine([Root, .. parts]);

    private static string Find()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Introspect.sln")))
        {
            folder = folder.Parent;
        }

        return folder?.FullName ?? throw new InvalidOperationException("the tests do not run in the repository");
    }
}
