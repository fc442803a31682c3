using System.Text;
using Introspect.Rules.Language;

namespace Introspect.Rules.Files;

/// <summary>Reads rule files and folders of them.</summary>
public static class RuleFileLoader
{
    private const long LargestFile = 4 << 20;
    private const string TestSuffix = ".test.yaml";

    /// <summary>Reads files, each folder's in the order of their names, and makes one set of them.</summary>
    /// <param name="paths">Files and folders.</param>
    /// <param name="diagnostics">Takes every mistake; the set may be used when there is no error.</param>
    /// <param name="symbols">Symbols of the guests that the rules are for; null where they are not known, or not yet.</param>
    public static RuleSet Load(IEnumerable<string> paths, DiagnosticBag diagnostics, ISymbolResolver? symbols = null)
    {
        ArgumentNullException.ThrowIfNull(paths);
        ArgumentNullException.ThrowIfNull(diagnostics);
        var builder = new RuleSetBuilder(diagnostics, symbols);
        foreach (var path in paths)
        {
            foreach (var file in FilesOf(path, diagnostics))
            {
                if (TryRead(file, diagnostics, out var text))
                {
                    builder.Add(text);
                }
            }
        }

        return builder.Build();
    }

    /// <summary>Makes a set of texts, as if they were files.</summary>
    internal static RuleSet Load(IEnumerable<SourceText> texts, DiagnosticBag diagnostics)
    {
        var builder = new RuleSetBuilder(diagnostics);
        foreach (var text in texts)
        {
            builder.Add(text);
        }

        return builder.Build();
    }

    /// <summary>The rule files that a path means, in the order in which they are read. Tests and hidden files are none.</summary>
    public static IReadOnlyList<string> FilesOf(string path, DiagnosticBag diagnostics)
    {
        ArgumentNullException.ThrowIfNull(diagnostics);
        try
        {
            if (!Directory.Exists(path))
            {
                return [path];
            }

            string[] files = [.. Directory.EnumerateFiles(path).Where(IsRuleFile).Order(StringComparer.Ordinal)];
            if (files.Length == 0)
            {
                Refuse(path, "there is no rule file in the folder; rule files end in .yaml or .yml", diagnostics);
            }

            return files;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Refuse(path, $"the folder cannot be read ({e.GetType().Name}); let the program read it", diagnostics);
            return [];
        }
    }

    /// <summary>Reads a file of rules or of tests.</summary>
    internal static bool TryRead(string file, DiagnosticBag diagnostics, out SourceText text)
    {
        text = new(file, "");
        try
        {
            if (new FileInfo(file) is { Exists: true, Length: > LargestFile })
            {
                Refuse(file, "the file is larger than 4 MiB; make several files of it", diagnostics);
                return false;
            }

            // A mark of the byte order is no part of the text.
            text = new(file, File.ReadAllText(file, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true)).TrimStart('\ufeff'));
            return true;
        }
        catch (DecoderFallbackException)
        {
            Refuse(file, "the file is no UTF-8 text", diagnostics);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            Refuse(file, e is FileNotFoundException or DirectoryNotFoundException ? "there is no such file; name a file or a folder of rules" : "the file cannot be read; let the program read it", diagnostics);
        }

        return false;
    }

    private static bool IsRuleFile(string file) =>
        (file.EndsWith(".yaml", StringComparison.Ordinal) || file.EndsWith(".yml", StringComparison.Ordinal))
        && !file.EndsWith(TestSuffix, StringComparison.Ordinal)
        && !Path.GetFileName(file).StartsWith('.');

    private static void Refuse(string path, string why, DiagnosticBag diagnostics) => diagnostics.Error(new SourceText(path, "").Span(0, 0), why);
}
