namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>What a configuration's <c>viridian=</c> came to.</summary>
/// <param name="Features">The features; none when there is an error.</param>
/// <param name="Error">One line, or null.</param>
/// <param name="ErrorIndex">Which name of the list the error is about; -1: the list as a whole.</param>
/// <param name="Warning">One line, or null.</param>
internal readonly record struct ViridianListResult(ViridianFeatureSet Features, string? Error = null, int ErrorIndex = -1, string? Warning = null);

/// <summary>Features as a guest's configuration writes them: names, the groups <c>defaults</c> and <c>all</c>, and <c>!name</c> to leave one out.</summary>
internal static class ViridianFeatureList
{
    private const string DefaultsGroup = "defaults";
    private const string AllGroup = "all";

    private static readonly string[] NamesInOrder =
    [
        "base", "freq", "time_ref_count", "reference_tsc", "hcall_remote_tlb_flush", "apic_assist", "crash_ctl", "synic", "stimer",
        "hcall_ipi", "ex_processor_masks", "no_vp_limit", "cpu_hotplug",
    ];

    /// <summary>The names of the features, in the order of <see cref="ViridianFeature"/>.</summary>
    public static IReadOnlyList<string> Names => NamesInOrder;

    private static string Known => $"known: {string.Join(", ", NamesInOrder)}, {DefaultsGroup}, {AllGroup}, and !name";

    /// <summary>The name of a feature.</summary>
    public static string NameOf(ViridianFeature feature) => NamesInOrder[(int)feature];

    /// <summary>Reads a list of names. Their order does not matter; an empty list is none.</summary>
    public static ViridianListResult Parse(IReadOnlyList<string> names)
    {
        ViridianFeatureSet grouped = default, enabled = default, disabled = default;
        for (var i = 0; i < names.Count; i++)
        {
            var (name, exclude) = names[i].StartsWith('!') ? (names[i][1..], true) : (names[i], false);
            if (!exclude && GroupOf(name) is { } group)
            {
                grouped = grouped.With(group);
                continue;
            }

            if (Find(name) is not { } feature)
            {
                var why = exclude && GroupOf(name) is not null ? $"'{names[i]}': a group cannot be excluded" : $"'{names[i]}' is not known";
                return Failed($"viridian: {why}; {Known}", i);
            }

            var one = ViridianFeatureSet.Of(feature);
            if ((exclude ? enabled : disabled).Has(feature))
            {
                return Failed($"viridian: '{name}' is both enabled and disabled (by '{names[i]}'): leave one of them out; {Known}", i);
            }

            (enabled, disabled) = exclude ? (enabled, disabled.With(one)) : (enabled.With(one), disabled);
        }

        return Check(grouped.With(enabled).Without(disabled));
    }

    /// <summary>Reads the deprecated form, a boolean.</summary>
    public static ViridianListResult FromBoolean(bool value) => new(
        value ? ViridianFeatureSet.BaseAndFrequency : ViridianFeatureSet.None,
        Warning: value
            ? "viridian=1 is deprecated and means viridian=[\"base\",\"freq\"]: write the list"
            : "viridian=0 is deprecated and means viridian=[]: write the list, or leave it out");

    /// <summary>The names of a set with a blank between them, as a configuration's dump has them; empty for none.</summary>
    public static string Format(ViridianFeatureSet features) => string.Join(' ', ToNames(features));

    /// <summary>The names of a set: a list that <see cref="Parse"/> reads as the same set.</summary>
    public static IReadOnlyList<string> ToNames(ViridianFeatureSet features) =>
        [.. Enum.GetValues<ViridianFeature>().Where(features.Has).Select(NameOf)];

    private static ViridianListResult Check(ViridianFeatureSet features)
    {
        if (!features.IsEmpty && !features.HasBase)
        {
            return Failed($"viridian: [{Quoted(features)}] is without 'base', which all others need: add it; {Known}");
        }

        var missing = ViridianFeatureSet.Of(ViridianFeature.TimeRefCount, ViridianFeature.Synic).Without(features);
        return features.HasSyntheticTimers && !missing.IsEmpty
            ? Failed($"viridian: 'stimer' needs {string.Join(" and ", ToNames(missing).Select(static name => $"'{name}'"))}: add what is missing, or leave 'stimer' out; {Known}")
            : new(features);
    }

    private static string Quoted(ViridianFeatureSet features) => string.Join(", ", ToNames(features).Select(static name => $"'{name}'"));

    private static ViridianListResult Failed(string error, int index = -1) => new(ViridianFeatureSet.None, error, index);

    private static ViridianFeatureSet? GroupOf(string name) =>
        Same(name, DefaultsGroup) ? ViridianFeatureSet.Defaults : Same(name, AllGroup) ? ViridianFeatureSet.All : null;

    private static ViridianFeature? Find(string name)
    {
        var index = Array.FindIndex(NamesInOrder, known => Same(name, known));
        return index < 0 ? null : (ViridianFeature)index;
    }

    private static bool Same(string a, string b) => string.Equals(a, b, StringComparison.OrdinalIgnoreCase);
}
