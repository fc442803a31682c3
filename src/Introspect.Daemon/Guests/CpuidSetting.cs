using System.Collections.Frozen;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Daemon.Guests;

/// <summary>
/// <c>cpuid="host,key=value,…"</c>: what a guest is not told of the CPU. A feature can be taken away; what the core does not
/// have cannot be given, and numbers (family, model, …) cannot be chosen.
/// </summary>
internal static class CpuidSetting
{
    private static readonly FrozenDictionary<string, CpuFeature> Features = new Dictionary<string, CpuFeature>(StringComparer.Ordinal)
    {
        ["sse3"] = CpuFeature.Sse3,
        ["pclmulqdq"] = CpuFeature.Pclmulqdq,
        ["monitor"] = CpuFeature.Monitor,
        ["vmx"] = CpuFeature.Vmx,
        ["ssse3"] = CpuFeature.Ssse3,
        ["fma"] = CpuFeature.Fma,
        ["cmpxchg16"] = CpuFeature.Cx16,
        ["cx16"] = CpuFeature.Cx16,
        ["pcid"] = CpuFeature.Pcid,
        ["sse4_1"] = CpuFeature.Sse41,
        ["sse4.1"] = CpuFeature.Sse41,
        ["sse4_2"] = CpuFeature.Sse42,
        ["sse4.2"] = CpuFeature.Sse42,
        ["x2apic"] = CpuFeature.X2Apic,
        ["movbe"] = CpuFeature.Movbe,
        ["popcnt"] = CpuFeature.Popcnt,
        ["tsc-deadline"] = CpuFeature.TscDeadline,
        ["aes"] = CpuFeature.Aes,
        ["xsave"] = CpuFeature.Xsave,
        ["avx"] = CpuFeature.Avx,
        ["f16c"] = CpuFeature.F16c,
        ["rdrand"] = CpuFeature.Rdrand,
        ["hypervisor"] = CpuFeature.Hypervisor,
        ["fpu"] = CpuFeature.Fpu,
        ["vme"] = CpuFeature.Vme,
        ["de"] = CpuFeature.De,
        ["pse"] = CpuFeature.Pse,
        ["tsc"] = CpuFeature.Tsc,
        ["msr"] = CpuFeature.Msr,
        ["pae"] = CpuFeature.Pae,
        ["mce"] = CpuFeature.Mce,
        ["cmpxchg8"] = CpuFeature.Cx8,
        ["cx8"] = CpuFeature.Cx8,
        ["apic"] = CpuFeature.Apic,
        ["sysenter"] = CpuFeature.Sep,
        ["sep"] = CpuFeature.Sep,
        ["mtrr"] = CpuFeature.Mtrr,
        ["pge"] = CpuFeature.Pge,
        ["mca"] = CpuFeature.Mca,
        ["cmov"] = CpuFeature.Cmov,
        ["pat"] = CpuFeature.Pat,
        ["pse36"] = CpuFeature.Pse36,
        ["clfsh"] = CpuFeature.Clflush,
        ["clflush"] = CpuFeature.Clflush,
        ["mmx"] = CpuFeature.Mmx,
        ["fxsr"] = CpuFeature.Fxsr,
        ["sse"] = CpuFeature.Sse,
        ["sse2"] = CpuFeature.Sse2,
        ["htt"] = CpuFeature.Htt,
        ["fsgsbase"] = CpuFeature.FsGsBase,
        ["tsc_adjust"] = CpuFeature.TscAdjust,
        ["bmi1"] = CpuFeature.Bmi1,
        ["hle"] = CpuFeature.Hle,
        ["avx2"] = CpuFeature.Avx2,
        ["smep"] = CpuFeature.Smep,
        ["bmi2"] = CpuFeature.Bmi2,
        ["erms"] = CpuFeature.Erms,
        ["invpcid"] = CpuFeature.Invpcid,
        ["rtm"] = CpuFeature.Rtm,
        ["rdseed"] = CpuFeature.Rdseed,
        ["adx"] = CpuFeature.Adx,
        ["smap"] = CpuFeature.Smap,
        ["clflushopt"] = CpuFeature.Clflushopt,
        ["clwb"] = CpuFeature.Clwb,
        ["sha"] = CpuFeature.Sha,
        ["umip"] = CpuFeature.Umip,
        ["pku"] = CpuFeature.Pku,
        ["rdpid"] = CpuFeature.Rdpid,
        ["fsrm"] = CpuFeature.Fsrm,
        ["md-clear"] = CpuFeature.MdClear,
        ["ibrsb"] = CpuFeature.IbrsIbpb,
        ["stibp"] = CpuFeature.Stibp,
        ["l1d-flush"] = CpuFeature.L1dFlush,
        ["arch-caps"] = CpuFeature.ArchCapabilities,
        ["ssbd"] = CpuFeature.Ssbd,
        ["lahfsahf"] = CpuFeature.LahfLm,
        ["cmplegacy"] = CpuFeature.CmpLegacy,
        ["svm"] = CpuFeature.Svm,
        ["altmovcr8"] = CpuFeature.Cr8Legacy,
        ["abm"] = CpuFeature.Abm,
        ["sse4a"] = CpuFeature.Sse4a,
        ["misalignsse"] = CpuFeature.MisalignSse,
        ["3dnowprefetch"] = CpuFeature.Prefetchw,
        ["osvw"] = CpuFeature.Osvw,
        ["syscall"] = CpuFeature.Syscall,
        ["nx"] = CpuFeature.Nx,
        ["mmxext"] = CpuFeature.MmxExt,
        ["ffxsr"] = CpuFeature.Ffxsr,
        ["page1gb"] = CpuFeature.Page1Gb,
        ["rdtscp"] = CpuFeature.Rdtscp,
        ["lm"] = CpuFeature.Lm,
        ["invtsc"] = CpuFeature.Itsc,
        ["clzero"] = CpuFeature.Clzero,
        ["ibpb"] = CpuFeature.AmdIbpb,
        ["xsaveopt"] = CpuFeature.XsaveOpt,
        ["xsavec"] = CpuFeature.Xsavec,
        ["xgetbv1"] = CpuFeature.Xgetbv1,
        ["xsaves"] = CpuFeature.Xsaves,
    }.ToFrozenDictionary(StringComparer.Ordinal);

    // Features that xl knows and this core never has.
    private static readonly FrozenSet<string> Absent = new[]
    {
        "dtes64", "dscpl", "smx", "est", "tm2", "cntxid", "xtpr", "pdcm", "dca", "osxsave", "psn", "ds", "acpi", "ss", "tm", "ia64", "pbe",
        "arat", "cmt", "mpx", "avx512f", "avx512dq", "avx512-ifma", "proc-trace", "avx512pf", "avx512er", "avx512cd", "avx512bw", "avx512vl",
        "prefetchwt1", "avx512-vbmi", "ospke", "avx512-vbmi2", "cet-ss", "gfni", "vaes", "vpclmulqdq", "avx512-vnni", "avx512-bitalg",
        "avx512-vpopcntdq", "cldemote", "avx512-4vnniw", "avx512-4fmaps", "avx512-vp2intersect", "srbds-ctrl", "serialize", "tsxldtrk",
        "cet-ibt", "core-caps", "extapic", "ibs", "xop", "skinit", "wdt", "lwp", "fma4", "nodeid", "tbm", "topoext", "perfctr_core",
        "perfctr_nb", "3dnowext", "3dnow", "rstr-fp-err-ptrs", "wbnoinvd", "ppin",
    }.ToFrozenSet(StringComparer.Ordinal);

    // Fields of several bits.
    private static readonly FrozenSet<string> Numbers = new[]
    {
        "maxleaf", "family", "model", "stepping", "localapicid", "proccount", "brandid", "procpkgid", "apicidsize", "nc", "maxhvleaf",
    }.ToFrozenSet(StringComparer.Ordinal);

    /// <summary>Reads the setting.</summary>
    /// <param name="text">What it says.</param>
    /// <param name="mistake">Told, in one line each, what is wrong.</param>
    /// <returns>The names of the features that the guest is not told.</returns>
    public static IReadOnlyList<string> Read(string text, Action<string> mistake)
    {
        var words = text.Split(',');
        if (words[0] != "host")
        {
            mistake($"cpuid begins with '{words[0]}': write \"host,key=value,...\", or a list of leaves");
            return [];
        }

        var without = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var word in words.AsSpan(1))
        {
            var split = word.IndexOf('=', StringComparison.Ordinal);
            if (split <= 0)
            {
                mistake($"cpuid: '{word}' is no key=value");
                continue;
            }

            var (key, value) = (word[..split], word[(split + 1)..]);
            if (Numbers.Contains(key))
            {
                // What the core has by itself may be said.
                if (value is not ("x" or "k" or "s"))
                {
                    mistake($"cpuid: '{key}' is the core's to choose: leave it out");
                }
            }
            else if (!Features.TryGetValue(key, out var feature) && !Absent.Contains(key))
            {
                mistake($"cpuid: there is no key '{key}'{Suggestion.For(key, Features.Keys)}");
            }
            else
            {
                ReadFeature(key, value, Features.ContainsKey(key) ? feature : null, without, mistake);
            }
        }

        return [.. without];
    }

    private static void ReadFeature(string key, string value, CpuFeature? feature, SortedSet<string> without, Action<string> mistake)
    {
        var isThere = feature is { } known && CpuFeatures.Implemented.Has(known);
        switch (value)
        {
            case "0" when isThere:
                without.Add(feature!.Value.ToString());
                break;
            case "1" when !isThere:
                mistake($"cpuid: the core has no '{key}' to give: leave it out");
                break;
            case "0" or "1":
                break;
            case "x" or "k" or "s":
                // As the core has it. The last one counts.
                if (isThere)
                {
                    without.Remove(feature!.Value.ToString());
                }

                break;
            default:
                mistake($"cpuid: '{key}={value}': write 0 (the guest is not told of it), 1 (it must be there) or x (as it is)");
                break;
        }
    }
}
