using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>
/// The features of a domain by their positive names. <c>HVM_PARAM_VIRIDIAN</c> has a bit for the frequency registers'
/// absence; it is made and read here and nowhere else.
/// </summary>
internal readonly record struct ViridianFeatureSet
{
    private readonly uint _features;

    private ViridianFeatureSet(uint features) => _features = features;

    /// <summary>How many features there are.</summary>
    public static int FeatureCount { get; } = Enum.GetValues<ViridianFeature>().Length;

    /// <summary>No viridian.</summary>
    public static ViridianFeatureSet None => default;

    /// <summary>Every feature.</summary>
    public static ViridianFeatureSet All { get; } = new((1u << FeatureCount) - 1);

    /// <summary>What the word <c>defaults</c> stands for.</summary>
    public static ViridianFeatureSet Defaults { get; } = Of(
        ViridianFeature.Base, ViridianFeature.Freq, ViridianFeature.TimeRefCount, ViridianFeature.ApicAssist,
        ViridianFeature.CrashCtl, ViridianFeature.NoVpLimit, ViridianFeature.CpuHotplug);

    /// <summary>What <c>viridian=1</c> stood for before there was a list.</summary>
    public static ViridianFeatureSet BaseAndFrequency { get; } = Of(ViridianFeature.Base, ViridianFeature.Freq);

    /// <summary>There are none.</summary>
    public bool IsEmpty => _features == 0;

    /// <summary>Guest OS id, hypercall page, VP index, EOI, ICR and TPR.</summary>
    public bool HasBase => Has(ViridianFeature.Base);

    /// <summary>TSC and APIC frequency.</summary>
    public bool HasFrequencyMsrs => Has(ViridianFeature.Freq);

    /// <summary>Reference counter.</summary>
    public bool HasTimeReferenceCounter => Has(ViridianFeature.TimeRefCount);

    /// <summary>Reference TSC page.</summary>
    public bool HasReferenceTsc => Has(ViridianFeature.ReferenceTsc);

    /// <summary>VP assist page.</summary>
    public bool HasApicAssist => Has(ViridianFeature.ApicAssist);

    /// <summary>Crash registers.</summary>
    public bool HasCrashMsrs => Has(ViridianFeature.CrashCtl);

    /// <summary>Synthetic interrupt controller.</summary>
    public bool HasSynic => Has(ViridianFeature.Synic);

    /// <summary>Synthetic timers.</summary>
    public bool HasSyntheticTimers => Has(ViridianFeature.Stimer);

    /// <summary>A set of features.</summary>
    public static ViridianFeatureSet Of(params ReadOnlySpan<ViridianFeature> features)
    {
        var bits = 0u;
        foreach (var feature in features)
        {
            bits |= 1u << (int)feature;
        }

        return new(bits);
    }

    /// <summary>The set that a mask of <c>HVM_PARAM_VIRIDIAN</c> says; 0 is none.</summary>
    /// <returns>False: the mask has an unknown bit, or some without <c>HVMPV_base_freq</c>.</returns>
    public static bool TryFromMask(ulong mask, out ViridianFeatureSet features)
    {
        features = default;
        if (mask == 0)
        {
            return true;
        }

        var known = (ViridianFeatures)mask;
        if ((known & ~ViridianFeatures.All) != 0 || (known & ViridianFeatures.BaseFreq) == 0)
        {
            return false;
        }

        // From the third on, the bits are the features.
        features = new((uint)(known & ~(ViridianFeatures.BaseFreq | ViridianFeatures.NoFreq)));
        features = features.With((known & ViridianFeatures.NoFreq) == 0 ? BaseAndFrequency : Of(ViridianFeature.Base));
        return true;
    }

    /// <summary>
    /// The set that a saved domain had. The mask of the stream says it alone, whatever is the default by now; 1, which
    /// was a boolean before there was a mask, is base and freq.
    /// </summary>
    /// <exception cref="HypervisorException">EINVAL: the mask is not one that this core knows.</exception>
    public static ViridianFeatureSet FromStream(ulong mask)
    {
        if (TryFromMask(mask, out var features))
        {
            return features;
        }

        var unknown = mask & ~(ulong)ViridianFeatures.All;
        var why = unknown != 0 ? $"bits 0x{unknown:x} are not known to this core" : "'base' is not in it, which all others need";
        throw new HypervisorException(
            Errno.EINVAL, $"viridian: the saved domain's feature mask is 0x{mask:x}: {why}; known are bits 0x{(ulong)ViridianFeatures.All:x} ({All})");
    }

    /// <summary>The mask of <c>HVM_PARAM_VIRIDIAN</c>.</summary>
    public ulong ToMask()
    {
        if (IsEmpty)
        {
            return 0;
        }

        var others = _features & ~BaseAndFrequency._features;
        return others | (HasBase ? (ulong)ViridianFeatures.BaseFreq : 0) | (HasFrequencyMsrs ? 0 : (ulong)ViridianFeatures.NoFreq);
    }

    /// <summary>The feature is in it.</summary>
    public bool Has(ViridianFeature feature) => (_features & (1u << (int)feature)) != 0;

    /// <summary>Both sets.</summary>
    public ViridianFeatureSet With(ViridianFeatureSet other) => new(_features | other._features);

    /// <summary>What is not in the other set.</summary>
    public ViridianFeatureSet Without(ViridianFeatureSet other) => new(_features & ~other._features);

    /// <inheritdoc/>
    public override string ToString() => ViridianFeatureList.Format(this);
}
