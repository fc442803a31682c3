using System.Collections;
using System.Globalization;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Rules.Files;
using Introspect.Rules.Language;
using Introspect.Rules.Testing;

namespace Introspect.Daemon.Tests.Configuration;

/// <summary>
/// Damaged files that a user writes, by the thousand: each is taken or refused with lines that say where, nothing else is
/// thrown, and no input takes memory that it has no right to. INTROSPECT_FUZZ_INPUTS=N makes N inputs of each format.
/// </summary>
public sealed class ConfigurationFuzzTests : IDisposable
{
    private const int InputsInTheBuild = 1_000;

    // Aliases and repetition are bounded: what is read of a file is a multiple of its size.
    private const long AllocationFloor = 16 << 20;
    private const long AllocationFactor = 4096;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("introspect-fuzz-");

    // One line a format: its good files, and what reads one and gives what is wrong with it.
    private static readonly Dictionary<string, (string[] Good, Func<string, string, IEnumerable<string>> Read)> Formats = new()
    {
        ["configuration"] = (["deploy/config/introspect.yaml", "deploy/debian/introspect.yaml"], ReadConfiguration),
        ["rules"] = (["deploy/rules/10-protections.yaml", "deploy/rules/20-entries.yaml", "deploy/rules/30-memory.yaml", "deploy/rules/40-debugging.yaml"], ReadRules),
        ["rule tests"] = (["deploy/rules/starting.test.yaml"], ReadRuleTests),
    };

    public static TheoryData<string> FormatNames => [.. Formats.Keys];

    [Theory]
    [MemberData(nameof(FormatNames))]
    public void a_damaged_file_is_taken_or_refused_line_by_line(string format)
    {
        var (good, read) = Formats[format];
        string[] texts = [.. good.Select(file => File.ReadAllText(Repository.PathOf(file)))];
        var path = Path.Combine(_folder.FullName, "input.yaml");
        Assert.All(texts, text => Assert.DoesNotContain(read(path, text), line => line.Contains("YAML", StringComparison.Ordinal)));

        var fuzzer = new TextFuzzer(texts);
        var inputs = int.TryParse(Environment.GetEnvironmentVariable("INTROSPECT_FUZZ_INPUTS"), CultureInfo.InvariantCulture, out var given) ? given : InputsInTheBuild;
        var refused = 0;
        for (var number = 0; number < inputs; number++)
        {
            var text = fuzzer.Make(number);
            var before = GC.GetAllocatedBytesForCurrentThread();
            List<string> lines;
            try
            {
                lines = [.. read(path, text)];
            }
            catch (Exception e)
            {
                throw new Xunit.Sdk.XunitException($"{format}, input {number}: {e}");
            }

            refused += lines.Count > 0 ? 1 : 0;
            var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            Assert.True(allocated <= AllocationFloor + (AllocationFactor * text.Length), $"{format}, input {number}: {allocated} bytes for {text.Length} characters");
            Assert.All(lines, line => Assert.True(line.Length > 0 && !line.Contains('\n', StringComparison.Ordinal), $"{format}, input {number}: '{line}'"));
        }

        // The damage is neither nothing nor everything.
        Assert.InRange(refused, inputs / 4, inputs - 1);
    }

    public void Dispose() => _folder.Delete(true);

    private static IEnumerable<string> ReadConfiguration(string path, string text)
    {
        File.WriteAllText(path, text);
        try
        {
            ConfigurationLoader.Load(path, new Hashtable());
            return [];
        }
        catch (ConfigurationMistakes e)
        {
            return e.Mistakes;
        }
        catch (UserError e)
        {
            return [e.Message];
        }
    }

    private static IEnumerable<string> ReadRules(string path, string text) =>
        Told(diagnostics => RuleFileLoader.Load([new SourceText(path, text)], diagnostics));

    private static IEnumerable<string> ReadRuleTests(string path, string text) =>
        Told(diagnostics => RuleTestFile.Read(new SourceText(path, text), diagnostics));

    private static IEnumerable<string> Told(Action<DiagnosticBag> read)
    {
        var diagnostics = new DiagnosticBag();
        read(diagnostics);
        return diagnostics.HasErrors ? diagnostics.All.Select(d => d.Message) : [];
    }
}
