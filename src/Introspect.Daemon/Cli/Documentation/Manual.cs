namespace Introspect.Daemon.Cli.Documentation;

/// <summary>The manual of the command line, docs/cli.md, which the program carries along: its examples are in the manual pages, too.</summary>
internal static class Manual
{
    private const string Resource = "introspect.cli.md";

    private static readonly Lazy<string> Text = new(Read);

    /// <summary>The command lines that the manual shows for a command; for the program itself the first of each.</summary>
    public static IReadOnlyList<string> Examples(IReadOnlyList<string> path)
    {
        var sections = Text.Value.Split("\n## ").Skip(1);
        return path.Count == 0
            ? [.. sections.Select(section => Lines(section).FirstOrDefault()).OfType<string>()]
            : [.. sections.Where(section => section.StartsWith($"`introspect {string.Join(' ', path)}`", StringComparison.Ordinal)).SelectMany(Lines)];
    }

    private static IEnumerable<string> Lines(string section) =>
        section.Split("```sh\n").Skip(1).SelectMany(block => block.Split("```")[0].Split('\n')).Where(line => line.StartsWith("introspect ", StringComparison.Ordinal));

    private static string Read()
    {
        using var stream = typeof(Manual).Assembly.GetManifestResourceStream(Resource)!;
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
