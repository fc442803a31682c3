using System.Globalization;
using System.Text.Json;

namespace Introspect.Daemon.Tests.EndToEnd;

/// <summary>What <c>introspect trace --json</c> gave, run in this process on the real core.</summary>
internal sealed class TraceRun
{
    private readonly List<JsonElement> _objects;

    private TraceRun(List<JsonElement> objects) => _objects = objects;

    public List<JsonElement> Events => _objects.FindAll(o => Text(o, "type") == "event");

    public string Console => string.Concat(_objects.FindAll(o => Text(o, "type") == "console").Select(o => Text(o, "text") + "\n"));

    public JsonElement Summary => _objects[^1];

    public string End => Text(Summary, "end");

    public static async Task<TraceRun> OfAsync(params string[] arguments)
    {
        var (exitCode, output, error) = await RunAsync(arguments);
        Assert.Equal((0, ""), (exitCode, error));
        return new([.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement)]);
    }

    /// <summary>Runs a trace that cannot be made, and gives the line that it says.</summary>
    public static async Task<string> RefusedAsync(params string[] arguments)
    {
        var (exitCode, output, error) = await RunAsync(arguments);
        Assert.Equal((1, ""), (exitCode, output));
        Cli.CommandLineTests.AssertOneLine(error);
        return error;
    }

    public static string Text(JsonElement e, string name) => e.GetProperty(name).GetString()!;

    public static ulong Number(JsonElement e, string name) => ulong.Parse(Text(e, name).AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    private static Task<(int ExitCode, string Output, string Error)> RunAsync(string[] arguments) =>
        DocumentedCommand.RunAsync(["trace", .. arguments, "--json", "--lossless"], _ => false, Task.Delay(Timeout.Infinite));
}
