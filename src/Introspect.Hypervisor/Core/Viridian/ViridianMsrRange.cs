using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>Registers that come with a feature.</summary>
/// <param name="First">First number.</param>
/// <param name="Last">Last number.</param>
/// <param name="Name">Name, as the specification has it.</param>
/// <param name="Feature">The feature that they are behind.</param>
/// <param name="IsOpenOnXen">Xen lets every guest with viridian at them.</param>
internal readonly record struct ViridianMsrRange(uint First, uint Last, string Name, ViridianFeature Feature, bool IsOpenOnXen = false)
{
    /// <summary>The last number that is not Xen's own when a domain has viridian.</summary>
    public const uint LastNumber = 0x4000_01FF;

    /// <summary>Every register that there is.</summary>
    public static IReadOnlyList<ViridianMsrRange> All { get; } =
    [
        new(Msr.HvGuestOsId, Msr.HvGuestOsId, "GUEST_OS_ID", ViridianFeature.Base),
        new(Msr.HvHypercall, Msr.HvHypercall, "HYPERCALL", ViridianFeature.Base),
        new(Msr.HvVpIndex, Msr.HvVpIndex, "VP_INDEX", ViridianFeature.Base),
        new(Msr.HvTimeRefCount, Msr.HvTimeRefCount, "TIME_REF_COUNT", ViridianFeature.TimeRefCount),
        new(Msr.HvReferenceTsc, Msr.HvReferenceTsc, "REFERENCE_TSC", ViridianFeature.ReferenceTsc),
        new(Msr.HvTscFrequency, Msr.HvTscFrequency, "TSC_FREQUENCY", ViridianFeature.Freq),
        new(Msr.HvApicFrequency, Msr.HvApicFrequency, "APIC_FREQUENCY", ViridianFeature.Freq),
        new(Msr.HvEoi, Msr.HvEoi, "EOI", ViridianFeature.Base),
        new(Msr.HvIcr, Msr.HvIcr, "ICR", ViridianFeature.Base),
        new(Msr.HvTpr, Msr.HvTpr, "TPR", ViridianFeature.Base),
        new(Msr.HvVpAssistPage, Msr.HvVpAssistPage, "VP_ASSIST_PAGE", ViridianFeature.ApicAssist, IsOpenOnXen: true),
        new(Msr.HvScontrol, Msr.HvScontrol, "SCONTROL", ViridianFeature.Synic),
        new(Msr.HvSversion, Msr.HvSversion, "SVERSION", ViridianFeature.Synic),
        new(Msr.HvSiefp, Msr.HvSiefp, "SIEFP", ViridianFeature.Synic),
        new(Msr.HvSimp, Msr.HvSimp, "SIMP", ViridianFeature.Synic),
        new(Msr.HvEom, Msr.HvEom, "EOM", ViridianFeature.Synic),
        new(Msr.HvSint0, Msr.HvSint15, "SINT0-15", ViridianFeature.Synic),
        new(Msr.HvStimer0Config, Msr.HvStimer3Count, "STIMER0-3_CONFIG, _COUNT", ViridianFeature.Stimer),
        new(Msr.HvCrashP0, Msr.HvCrashP4, "CRASH_P0-4", ViridianFeature.CrashCtl, IsOpenOnXen: true),
        new(Msr.HvCrashCtl, Msr.HvCrashCtl, "CRASH_CTL", ViridianFeature.CrashCtl, IsOpenOnXen: true),
    ];

    /// <summary>A domain with these features has the register.</summary>
    public static bool IsPresent(uint msr, ViridianFeatureSet features, ViridianOptions options)
    {
        for (var i = 0; i < All.Count; i++)
        {
            if (msr >= All[i].First && msr <= All[i].Last)
            {
                return features.Has(All[i].Feature) || (All[i].IsOpenOnXen && options.OpenRegisters);
            }
        }

        return false;
    }
}
