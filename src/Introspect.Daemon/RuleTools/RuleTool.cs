using System.Globalization;
using System.Text.Json;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Symbols;
using Introspect.Rules.Files;
using Introspect.Rules.Language;
using Introspect.Rules.Testing;

namespace Introspect.Daemon.RuleTools;

/// <summary>The commands about rule files.</summary>
internal sealed class RuleTool(TextWriter output)
{
    private const string TestPattern = "*.test.yaml";

    /// <summary><c>introspect rules check</c>.</summary>
    /// <returns>Failure when there is an error; a warning is none.</returns>
    public int Check(RulesCheckRequest request)
    {
        RequirePaths(request.Paths);
        var diagnostics = new DiagnosticBag();
        var set = RuleFileLoader.Load(request.Paths, diagnostics, SymbolFile.Choose(request.Symbols, ofImage: null));
        foreach (var finding in diagnostics.All)
        {
            output.Write((request.Json ? Json(finding) : finding.Render()) + "\n");
        }

        if (!request.Json)
        {
            output.Write(Summary(set, diagnostics) + "\n");
        }

        output.Flush();
        return diagnostics.HasErrors ? ExitCode.Failure : ExitCode.Ok;
    }

    /// <summary><c>introspect rules explain</c>.</summary>
    public int Explain(IReadOnlyList<string> paths)
    {
        RequirePaths(paths);
        var diagnostics = new DiagnosticBag();
        var set = RuleFileLoader.Load(paths, diagnostics);
        if (diagnostics.HasErrors)
        {
            foreach (var finding in diagnostics.All)
            {
                output.Write(finding.Render() + "\n");
            }

            output.Flush();
            return ExitCode.Failure;
        }

        output.Write(RuleExplanation.Of(set));
        output.Flush();
        return ExitCode.Ok;
    }

    /// <summary><c>introspect rules test</c>.</summary>
    public int Test(RulesTestRequest request)
    {
        RequirePaths(request.Paths);
        var results = new List<RuleTestResult>();
        foreach (var file in request.Paths.SelectMany(TestFiles))
        {
            foreach (var result in Run(file))
            {
                results.Add(result);
                output.Write($"{(result.Failures.Count == 0 ? "ok    " : "FAILED")}  {result.File}: {result.Name}\n");
                foreach (var failure in result.Failures)
                {
                    output.Write($"          {failure.ReplaceLineEndings("\n          ")}\n");
                }
            }
        }

        var failed = results.Count(result => result.Failures.Count > 0);
        output.Write(string.Create(CultureInfo.InvariantCulture, $"{results.Count} tests, {failed} failed\n"));
        output.Flush();
        if (request.JUnitFile is { } report)
        {
            WriteReport(report, results);
        }

        return failed == 0 ? ExitCode.Ok : ExitCode.Failure;
    }

    private static IEnumerable<RuleTestResult> Run(string path)
    {
        var diagnostics = new DiagnosticBag();
        if (RuleFileLoader.TryRead(path, diagnostics, out var text))
        {
            var file = RuleTestFile.Read(text, diagnostics);
            if (!diagnostics.HasErrors)
            {
                var rules = RuleFileLoader.Load(file.Rules, diagnostics);
                if (!diagnostics.HasErrors)
                {
                    return RuleTestRunner.Run(file, rules);
                }
            }
        }

        // A file that cannot be run is a test that fails, so that no build server overlooks it.
        return [new(path, "the files are right", [.. diagnostics.All.Where(d => d.Severity == DiagnosticSeverity.Error).Select(d => d.Render())])];
    }

    private static IEnumerable<string> TestFiles(string path)
    {
        if (!Directory.Exists(path))
        {
            return [path];
        }

        string[] files = [.. Directory.EnumerateFiles(path, TestPattern).Order(StringComparer.Ordinal)];
        return files.Length > 0 ? files : throw UserError.Usage($"'{path}': there is no test in the folder; the names of tests end in .test.yaml");
    }

    private static void WriteReport(string path, List<RuleTestResult> results)
    {
        try
        {
            using var stream = File.Create(path);
            JUnitReport.Write(stream, results);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw UserError.Failure($"--junit '{path}': {e.Message}; name a file in a folder that can be written", e);
        }
    }

    /// <summary>Makes sure that there are files and folders of the names that a user gave.</summary>
    /// <param name="paths">The names.</param>
    /// <param name="option">The option behind which they stand; null: they stand by themselves.</param>
    /// <exception cref="UserError">One is not there.</exception>
    public static void RequirePaths(IReadOnlyList<string> paths, string? option = null)
    {
        foreach (var path in paths)
        {
            if (option is null && path.StartsWith('-'))
            {
                throw UserError.Usage($"unknown option '{path}'; see 'introspect rules --help'");
            }

            if (!File.Exists(path) && !Directory.Exists(path))
            {
                throw UserError.Usage($"{(option is null ? "" : option + ": ")}'{path}': there is no such file or folder; name files of rules");
            }
        }
    }

    private static string Summary(RuleSet set, DiagnosticBag diagnostics)
    {
        var warnings = diagnostics.All.Count(d => d.Severity == DiagnosticSeverity.Warning);
        return diagnostics.ErrorCount + warnings == 0
            ? string.Create(CultureInfo.InvariantCulture, $"{Count(set.Files.Count, "file")}: right; {Count(set.Rules.Count, "rule")}, {set.Enabled.Count()} in force")
            : string.Create(CultureInfo.InvariantCulture, $"{Count(set.Files.Count, "file")}: {Count(diagnostics.ErrorCount, "error")}, {Count(warnings, "warning")}");
    }

    private static string Count(int count, string what) => string.Create(CultureInfo.InvariantCulture, $"{count} {what}{(count == 1 ? "" : "s")}");

    private static string Json(RuleDiagnostic finding)
    {
        var (line, column) = finding.Span.Text.PositionOf(finding.Span.Start);
        var (endLine, endColumn) = finding.Span.Text.PositionOf(finding.Span.End);
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            json.WriteStartObject();
            json.WriteString("type", "rule_finding");
            json.WriteString("severity", RuleValues.NameOf(finding.Severity));
            json.WriteString("file", finding.Span.Text.Name);
            json.WriteNumber("line", line);
            json.WriteNumber("column", column);
            json.WriteNumber("end_line", endLine);
            json.WriteNumber("end_column", endColumn);
            json.WriteString("message", finding.Message);
            if (finding.Suggestion is { } suggestion)
            {
                json.WriteString("suggestion", suggestion);
            }

            json.WriteEndObject();
        }

        return System.Text.Encoding.UTF8.GetString(stream.ToArray());
    }
}
