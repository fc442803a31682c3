using System.ComponentModel.DataAnnotations;
using System.Reflection;
using System.Runtime.CompilerServices;

namespace Introspect.Rules.Plugins;

/// <summary>
/// Makes an object of settings from values of the configuration. All mistakes are collected. Nothing is kept of the
/// classes, so that those of a plugin can be unloaded.
/// </summary>
internal sealed class OptionsBinder
{
    private const char Separator = ':';

    private readonly List<OptionMistake> _mistakes = [];
    private readonly SortedDictionary<string, string?> _values;

    private OptionsBinder(IEnumerable<KeyValuePair<string, string?>> values) =>
        _values = new(values.ToDictionary(pair => pair.Key, pair => pair.Value), new PathComparer());

    /// <summary>Makes the object.</summary>
    /// <param name="type">Its class.</param>
    /// <param name="values">Values by path: parts are separated by <c>:</c>, items of lists are numbers.</param>
    /// <exception cref="PluginOptionsException">The values do not fit; has all mistakes.</exception>
    public static object Bind(Type type, IEnumerable<KeyValuePair<string, string?>> values)
    {
        var binder = new OptionsBinder(values);
        var bound = binder.BindObject(type, "");
        return binder._mistakes.Count == 0 ? bound! : throw new PluginOptionsException(binder._mistakes);
    }

    private object? BindObject(Type type, string path)
    {
        object made;
        try
        {
            made = Activator.CreateInstance(type)!;
        }
        catch (Exception e) when (e is MissingMethodException or MemberAccessException or TargetInvocationException)
        {
            Mistake(path, null, $"its class {type.Name} cannot be made: {(e.InnerException ?? e).Message}");
            return null;
        }

        var properties = type.GetProperties(BindingFlags.Public | BindingFlags.Instance)
            .Where(property => property.SetMethod is { IsPublic: true } && property.GetIndexParameters().Length == 0)
            .ToDictionary(property => PluginNames.SnakeCase(property.Name), StringComparer.OrdinalIgnoreCase);
        if (_values.TryGetValue(path, out var scalar) && !string.IsNullOrEmpty(scalar))
        {
            Mistake(path, scalar, $"is a value where keys must be: {Names(properties.Keys)}");
            return made;
        }

        var given = Children(path);
        foreach (var name in given.Where(name => !properties.ContainsKey(name)))
        {
            Mistake(Join(path, name), null, properties.Count == 0 ? "is not known; there are no keys here" : $"is not known; known here: {Names(properties.Keys)}");
        }

        foreach (var (name, property) in properties)
        {
            BindProperty(made, property, Join(path, name), given.Contains(name, StringComparer.OrdinalIgnoreCase));
        }

        return made;
    }

    private void BindProperty(object owner, PropertyInfo property, string path, bool isGiven)
    {
        if (isGiven)
        {
            var before = _mistakes.Count;
            var value = BindValue(property.PropertyType, path);
            if (_mistakes.Count != before)
            {
                return;
            }

            property.SetValue(owner, value);
        }
        else if (property.IsDefined(typeof(RequiredMemberAttribute)))
        {
            Mistake(path, null, "is missing; give it");
            return;
        }

        // One by one: the framework's own validator keeps what it learnt about a class for ever.
        foreach (var rule in property.GetCustomAttributes<ValidationAttribute>(inherit: true))
        {
            if (!rule.IsValid(property.GetValue(owner)))
            {
                Mistake(path, isGiven && _values.TryGetValue(path, out var text) ? text : null, $"does not fit: {rule.FormatErrorMessage(PluginNames.SnakeCase(property.Name)).TrimEnd('.')}");
            }
        }
    }

    private object? BindValue(Type type, string path)
    {
        var plain = Nullable.GetUnderlyingType(type) ?? type;
        if (OptionValues.IsKnown(plain))
        {
            return BindScalar(plain, path);
        }

        if (plain.IsArray && plain.GetArrayRank() == 1)
        {
            return BindList(plain.GetElementType()!, path);
        }

        if (plain.IsGenericType)
        {
            var arguments = plain.GetGenericArguments();
            if (arguments is [var item] && plain.IsAssignableFrom(item.MakeArrayType()))
            {
                return BindList(item, path);
            }

            var isDictionary = arguments is [var key, _] && key == typeof(string) && plain.IsAssignableFrom(typeof(Dictionary<,>).MakeGenericType(arguments));
            if (isDictionary)
            {
                return BindDictionary(arguments[1], path);
            }
        }

        if (plain.IsClass && !plain.IsAbstract && plain.Namespace?.StartsWith("System", StringComparison.Ordinal) is not true)
        {
            return BindObject(plain, path);
        }

        Mistake(path, null, $"its class {plain.Name} cannot be had from a configuration; use the types that docs/plugins.md names");
        return null;
    }

    private object? BindScalar(Type type, string path)
    {
        var text = _values.GetValueOrDefault(path);
        if (text is null && Children(path).Count != 0)
        {
            Mistake(path, null, "has keys below it where one value must be");
            return null;
        }

        if (OptionValues.TryRead(type, text ?? "", out var value, out var what))
        {
            return value;
        }

        Mistake(path, text, what);
        return null;
    }

    private Array BindList(Type item, string path)
    {
        // One value is a list of one; a list in an environment variable has commas.
        if (_values.GetValueOrDefault(path) is { Length: > 0 } text)
        {
            var parts = text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
            for (var i = 0; i < parts.Length; i++)
            {
                _values.TryAdd(Join(path, i.ToString(System.Globalization.CultureInfo.InvariantCulture)), parts[i]);
            }
        }

        var items = Children(path).OrderBy(name => int.TryParse(name, out var n) ? n : int.MaxValue).ToList();
        var list = Array.CreateInstance(item, items.Count);
        for (var i = 0; i < items.Count; i++)
        {
            if (BindValue(item, Join(path, items[i])) is { } value)
            {
                list.SetValue(value, i);
            }
        }

        return list;
    }

    private object BindDictionary(Type item, string path)
    {
        var made = (System.Collections.IDictionary)Activator.CreateInstance(typeof(Dictionary<,>).MakeGenericType(typeof(string), item))!;
        foreach (var name in Children(path))
        {
            if (BindValue(item, Join(path, name)) is { } value)
            {
                made[name] = value;
            }
        }

        return made;
    }

    private List<string> Children(string path)
    {
        var prefix = path.Length == 0 ? "" : path + Separator;
        return [.. _values.Keys
            .Where(key => key.Length > prefix.Length && key.StartsWith(prefix, StringComparison.OrdinalIgnoreCase))
            .Select(key => key[prefix.Length..].Split(Separator)[0])
            .Distinct(StringComparer.OrdinalIgnoreCase)];
    }

    private void Mistake(string path, string? value, string what) => _mistakes.Add(new(path, value, what));

    private static string Names(IEnumerable<string> names) => string.Join(", ", names.Order(StringComparer.Ordinal));

    private static string Join(string path, string name) => path.Length == 0 ? name : path + Separator + name;

    // As the configuration compares them, and always in the same order.
    private sealed class PathComparer : IComparer<string>
    {
        public int Compare(string? x, string? y) => StringComparer.OrdinalIgnoreCase.Compare(x, y);
    }
}
