
namespace Introspect.Hypervisor.Core.Platform;

/// <summary>
/// The one place that says which features the interpreter implements. A feature may be told to a guest only when
/// every instruction, control bit and MSR that it stands for works; extend the list with the interpreter.
/// </summary>
internal static class CpuFeatures
{
    /// <summary>What the interpreter implements, for any vendor.</summary>
    public static readonly CpuFeatureSet Implemented = CpuFeatureSet.Of(
        CpuFeature.Apic, CpuFeature.X2Apic, CpuFeature.TscDeadline,
        CpuFeature.De, CpuFeature.Pse, CpuFeature.Tsc, CpuFeature.Msr, CpuFeature.Pae,
        CpuFeature.Cx8, CpuFeature.Sep, CpuFeature.Mtrr, CpuFeature.Pge, CpuFeature.Cmov, CpuFeature.Pat,
        CpuFeature.Pse36, CpuFeature.Cx16, CpuFeature.Popcnt, CpuFeature.Hypervisor,
        CpuFeature.Syscall, CpuFeature.Nx, CpuFeature.Page1Gb, CpuFeature.Rdtscp, CpuFeature.Lm,
        CpuFeature.LahfLm, CpuFeature.Prefetchw,
        CpuFeature.FsGsBase, CpuFeature.TscAdjust, CpuFeature.Smep, CpuFeature.Erms, CpuFeature.NoFpuSelectors,
        CpuFeature.Smap, CpuFeature.Umip,
        CpuFeature.Itsc).With(VectorFeatures.Implemented);

    private static readonly CpuFeature[] AmdOnly =
    [
        CpuFeature.MmxExt, CpuFeature.Ffxsr, CpuFeature.CmpLegacy, CpuFeature.Svm, CpuFeature.Cr8Legacy,
        CpuFeature.Sse4a, CpuFeature.MisalignSse, CpuFeature.Osvw, CpuFeature.Dbext, CpuFeature.Clzero,
        CpuFeature.AmdIbpb, CpuFeature.AmdIbrs, CpuFeature.AmdSsbd, CpuFeature.VirtSsbd,
    ];

    private static readonly CpuFeature[] IntelOnly =
    [
        CpuFeature.Vmx, CpuFeature.TscDeadline, CpuFeature.Hle, CpuFeature.Rtm, CpuFeature.FdpExceptionOnly,
        CpuFeature.NoFpuSelectors, CpuFeature.MdClear, CpuFeature.IbrsIbpb, CpuFeature.Stibp, CpuFeature.L1dFlush,
        CpuFeature.ArchCapabilities, CpuFeature.Ssbd,
    ];

    // A feature needs another one; the table is in an order in which one pass settles everything.
    private static readonly (CpuFeature Needed, CpuFeature Dependent)[] Dependencies =
    [
        (CpuFeature.Pae, CpuFeature.Lm),
        (CpuFeature.Fxsr, CpuFeature.Sse), (CpuFeature.Sse, CpuFeature.Sse2), (CpuFeature.Sse2, CpuFeature.Lm),
        (CpuFeature.Sse2, CpuFeature.Sse3), (CpuFeature.Sse3, CpuFeature.Ssse3), (CpuFeature.Ssse3, CpuFeature.Sse41),
        (CpuFeature.Sse41, CpuFeature.Sse42), (CpuFeature.Sse3, CpuFeature.Sse4a),
        (CpuFeature.Sse2, CpuFeature.Aes), (CpuFeature.Sse2, CpuFeature.Pclmulqdq), (CpuFeature.Sse2, CpuFeature.Sha),
        (CpuFeature.Xsave, CpuFeature.Avx), (CpuFeature.Sse42, CpuFeature.Avx),
        (CpuFeature.Xsave, CpuFeature.XsaveOpt), (CpuFeature.Xsave, CpuFeature.Xsavec),
        (CpuFeature.Xsave, CpuFeature.Xgetbv1), (CpuFeature.Xsavec, CpuFeature.Xsaves), (CpuFeature.Xsave, CpuFeature.Pku),
        (CpuFeature.Avx, CpuFeature.Fma), (CpuFeature.Avx, CpuFeature.F16c), (CpuFeature.Avx, CpuFeature.Avx2),
        (CpuFeature.Lm, CpuFeature.Page1Gb), (CpuFeature.Lm, CpuFeature.LahfLm), (CpuFeature.Lm, CpuFeature.FsGsBase),
        (CpuFeature.Lm, CpuFeature.Pcid), (CpuFeature.Lm, CpuFeature.La57), (CpuFeature.Lm, CpuFeature.Cx16),
        (CpuFeature.Pcid, CpuFeature.Invpcid),
        (CpuFeature.Apic, CpuFeature.X2Apic), (CpuFeature.Apic, CpuFeature.TscDeadline),
    ];

    /// <summary>What a guest of this vendor personality is told by default.</summary>
    public static CpuFeatureSet Default(CpuVendor vendor) => Consistent(Implemented, vendor);

    /// <summary>A set without what the vendor does not have, and without what lacks a feature that it needs.</summary>
    public static CpuFeatureSet Consistent(CpuFeatureSet features, CpuVendor vendor)
    {
        features = features.Without(vendor == CpuVendor.Vmx ? AmdOnly : IntelOnly);

        // These two follow control registers, never the configuration.
        features = features.Without(CpuFeature.OsXsave, CpuFeature.OsPke);
        foreach (var (needed, dependent) in Dependencies)
        {
            if (!features.Has(needed))
            {
                features = features.Without(dependent);
            }
        }

        return features;
    }
}
