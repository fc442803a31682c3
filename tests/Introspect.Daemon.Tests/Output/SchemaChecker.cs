using System.Text.Json;
using System.Text.RegularExpressions;

namespace Introspect.Daemon.Tests.Output;

/// <summary>
/// Checks a document against the part of JSON Schema that the schemas in docs use. A keyword that it does not
/// know is an error, so that the schema cannot promise what nobody checks.
/// </summary>
internal sealed class SchemaChecker
{
    private readonly JsonElement _root;

    public SchemaChecker(string schema) => _root = JsonDocument.Parse(schema).RootElement;

    public IEnumerable<string> Definitions => _root.GetProperty("$defs").EnumerateObject().Select(d => d.Name);

    /// <summary>Everything that is wrong with a document; empty when nothing is.</summary>
    public IReadOnlyList<string> Check(string json)
    {
        using var document = JsonDocument.Parse(json);
        return Check(_root, document.RootElement, "$");
    }

    private List<string> Check(JsonElement schema, JsonElement value, string path)
    {
        var mistakes = new List<string>();
        foreach (var keyword in schema.EnumerateObject())
        {
            switch (keyword.Name)
            {
                case "$schema" or "$defs" or "title" or "description":
                    break;
                case "$ref":
                    mistakes.AddRange(Check(Resolve(keyword.Value.GetString()!), value, path));
                    break;
                case "oneOf":
                    CheckOneOf(keyword.Value, value, path, mistakes);
                    break;
                case "anyOf":
                    var forms = keyword.Value.EnumerateArray().Select(form => Check(form, value, path)).ToList();
                    if (!forms.Exists(form => form.Count == 0))
                    {
                        mistakes.Add($"{path} has none of its forms; nearest: {string.Join("; ", forms.MinBy(form => form.Count)!)}");
                    }

                    break;
                case "type":
                    var types = keyword.Value.ValueKind == JsonValueKind.Array ? keyword.Value.EnumerateArray().ToList() : [keyword.Value];
                    Require(types.Exists(type => IsOfType(type.GetString()!, value)), $"is no {keyword.Value}");
                    break;
                case "items":
                    if (value.ValueKind == JsonValueKind.Array)
                    {
                        mistakes.AddRange(value.EnumerateArray().SelectMany((item, i) => Check(keyword.Value, item, $"{path}[{i}]")));
                    }

                    break;
                case "minItems":
                    Require(value.ValueKind != JsonValueKind.Array || value.GetArrayLength() >= keyword.Value.GetInt32(), $"has fewer than {keyword.Value} items");
                    break;
                case "minProperties":
                    Require(value.ValueKind != JsonValueKind.Object || value.EnumerateObject().Count() >= keyword.Value.GetInt32(), $"has fewer than {keyword.Value} members");
                    break;
                case "maxProperties":
                    Require(value.ValueKind != JsonValueKind.Object || value.EnumerateObject().Count() <= keyword.Value.GetInt32(), $"has more than {keyword.Value} members");
                    break;
                case "maximum":
                    Require(value.ValueKind != JsonValueKind.Number || value.GetDouble() <= keyword.Value.GetDouble(), $"is more than {keyword.Value}");
                    break;
                case "propertyNames":
                    if (value.ValueKind == JsonValueKind.Object)
                    {
                        mistakes.AddRange(value.EnumerateObject().SelectMany(m => Check(keyword.Value, JsonSerializer.SerializeToElement(m.Name), $"{path}.{m.Name}")));
                    }

                    break;
                case "const":
                    Require(JsonElement.DeepEquals(keyword.Value, value), $"is not {keyword.Value}");
                    break;
                case "enum":
                    Require(keyword.Value.EnumerateArray().Any(v => JsonElement.DeepEquals(v, value)), $"is not among {keyword.Value}");
                    break;
                case "pattern":
                    Require(value.ValueKind != JsonValueKind.String || Regex.IsMatch(value.GetString()!, keyword.Value.GetString()!), $"does not match {keyword.Value}");
                    break;
                case "minimum":
                    Require(value.ValueKind != JsonValueKind.Number || value.GetDouble() >= keyword.Value.GetDouble(), $"is less than {keyword.Value}");
                    break;
                case "properties":
                    CheckProperties(keyword.Value, value, path, mistakes);
                    break;
                case "required":
                    foreach (var name in keyword.Value.EnumerateArray().Select(n => n.GetString()!))
                    {
                        Require(value.ValueKind == JsonValueKind.Object && value.TryGetProperty(name, out _), $"has no {name}");
                    }

                    break;
                case "additionalProperties":
                    CheckAdditional(schema, keyword.Value, value, path, mistakes);
                    break;
                default:
                    throw new NotSupportedException($"the schema uses '{keyword.Name}', which this checker does not know");
            }
        }

        return mistakes;

        void Require(bool holds, string what)
        {
            if (!holds)
            {
                mistakes.Add($"{path} {what}: {value}");
            }
        }
    }

    private void CheckOneOf(JsonElement options, JsonElement value, string path, List<string> mistakes)
    {
        var results = options.EnumerateArray().Select(o => Check(o, value, path)).ToList();
        if (results.Count(r => r.Count == 0) != 1)
        {
            mistakes.Add($"{path} is not exactly one of its forms; nearest: {string.Join("; ", results.MinBy(r => r.Count)!)}");
        }
    }

    private void CheckProperties(JsonElement properties, JsonElement value, string path, List<string> mistakes)
    {
        if (value.ValueKind != JsonValueKind.Object)
        {
            return;
        }

        foreach (var member in value.EnumerateObject())
        {
            if (properties.TryGetProperty(member.Name, out var schema))
            {
                mistakes.AddRange(Check(schema, member.Value, $"{path}.{member.Name}"));
            }
        }
    }

    private void CheckAdditional(JsonElement schema, JsonElement allowed, JsonElement value, string path, List<string> mistakes)
    {
        if (allowed.ValueKind == JsonValueKind.True || value.ValueKind != JsonValueKind.Object)
        {
            return;
        }

        var others = value.EnumerateObject().Where(m => !schema.TryGetProperty("properties", out var known) || !known.TryGetProperty(m.Name, out _));
        mistakes.AddRange(allowed.ValueKind == JsonValueKind.False
            ? others.Select(m => $"{path} has the unknown member {m.Name}")
            : others.SelectMany(m => Check(allowed, m.Value, $"{path}.{m.Name}")));
    }

    private static bool IsOfType(string type, JsonElement value) => type switch
    {
        "object" => value.ValueKind == JsonValueKind.Object,
        "array" => value.ValueKind == JsonValueKind.Array,
        "string" => value.ValueKind == JsonValueKind.String,
        "boolean" => value.ValueKind is JsonValueKind.True or JsonValueKind.False,
        "number" => value.ValueKind == JsonValueKind.Number,
        "null" => value.ValueKind == JsonValueKind.Null,
        "integer" => value.ValueKind == JsonValueKind.Number && (value.TryGetInt64(out _) || value.TryGetUInt64(out _)),
        _ => throw new NotSupportedException($"the schema uses the type '{type}', which this checker does not know"),
    };

    private JsonElement Resolve(string reference)
    {
        const string Prefix = "#/$defs/";
        return reference.StartsWith(Prefix, StringComparison.Ordinal)
            ? _root.GetProperty("$defs").GetProperty(reference[Prefix.Length..])
            : throw new NotSupportedException($"the schema refers to '{reference}', which this checker cannot find");
    }
}
