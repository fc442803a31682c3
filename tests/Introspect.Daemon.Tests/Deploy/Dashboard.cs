using System.Text.Json;

namespace Introspect.Daemon.Tests.Deploy;

/// <summary>The Grafana dashboard, as far as a test can look at it without a Grafana.</summary>
internal static class Dashboard
{
    public static JsonElement Root { get; } = JsonDocument.Parse(File.ReadAllText(Repository.PathOf("deploy", "grafana", "introspect.json"))).RootElement;

    /// <summary>Panels that show something.</summary>
    public static IEnumerable<JsonElement> Panels => Root.GetProperty("panels").EnumerateArray().Where(p => p.GetProperty("type").GetString() != "row");

    /// <summary>The queries with their panels' titles, as they are written.</summary>
    public static IEnumerable<(string Panel, string Query)> Queries => Panels.SelectMany(
        panel => panel.GetProperty("targets").EnumerateArray().Select(target => (panel.GetProperty("title").GetString()!, target.GetProperty("expr").GetString()!)));

    /// <summary>The dashboard's variables, by name.</summary>
    public static IReadOnlyDictionary<string, JsonElement> Variables { get; } =
        Root.GetProperty("templating").GetProperty("list").EnumerateArray().ToDictionary(v => v.GetProperty("name").GetString()!);

    /// <summary>A query as Grafana asks it, with everything selected.</summary>
    public static string Fill(string query) => query
        .Replace("$__rate_interval", "1m", StringComparison.Ordinal)
        .Replace("$domain", Variables["domain"].GetProperty("allValue").GetString(), StringComparison.Ordinal);
}
