using System.Globalization;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Daemon.Guests;

/// <summary>
/// <c>cpuid=["LEAF[,SUBLEAF]:REGISTER=BITS,…"]</c>, the form of xend: 32 characters a register, from bit 31 down. As with the
/// other form a feature can be taken away; what the core does not have cannot be given, and what is no feature stays as it is.
/// </summary>
internal static class XendCpuidSetting
{
    private const int Bits = 32;
    private const string Form = "write 'leaf[,subleaf]:register=bits,...' with eax, ebx, ecx or edx and 32 characters of 0, 1, x, k or s";

    private static readonly string[] Registers = ["eax", "ebx", "ecx", "edx"];

    /// <summary>Reads the list.</summary>
    /// <param name="entries">Its texts.</param>
    /// <param name="mistake">Told, in one line each, of which text and what is wrong.</param>
    /// <returns>The names of the features that the guest is not told.</returns>
    public static IReadOnlyList<string> Read(IReadOnlyList<string> entries, Action<int, string> mistake)
    {
        var without = new SortedSet<string>(StringComparer.Ordinal);
        for (var index = 0; index < entries.Count; index++)
        {
            var place = index;
            ReadEntry(entries[index], without, what => mistake(place, what));
        }

        return [.. without];
    }

    private static void ReadEntry(string entry, SortedSet<string> without, Action<string> mistake)
    {
        var colon = entry.IndexOf(':', StringComparison.Ordinal);
        var leaf = colon < 0 ? [] : entry[..colon].Split(',');
        uint number = 0, subleaf = 0;
        if (leaf.Length is 0 or > 2 || !TryNumber(leaf[0], out number) || (leaf.Length == 2 && !TryNumber(leaf[1], out subleaf)))
        {
            mistake($"cpuid: '{entry}' names no leaf: {Form}");
            return;
        }

        foreach (var part in entry[(colon + 1)..].Split(','))
        {
            var (register, bits) = part.IndexOf('=', StringComparison.Ordinal) is var split and >= 0 ? (part[..split].Trim(), part[(split + 1)..].Trim()) : (part, "");
            if (!Registers.Contains(register) || bits.Length != Bits || bits.AsSpan().ContainsAnyExcept("01xks"))
            {
                mistake($"cpuid: '{part}' is no register with its bits: {Form}");
                continue;
            }

            ReadBits(string.Create(CultureInfo.InvariantCulture, $"leaf 0x{number:x}{(leaf.Length == 2 ? $",{subleaf}" : "")} {register}"), WordOf(number, leaf.Length == 2 ? subleaf : null, register), bits, without, mistake);
        }
    }

    private static void ReadBits(string what, CpuFeatureWord? word, string bits, SortedSet<string> without, Action<string> mistake)
    {
        if (word is null)
        {
            if (bits.AsSpan().ContainsAny('0', '1'))
            {
                mistake($"cpuid: {what} has no features, and is the core's to choose: write x for its bits, or leave it out");
            }

            return;
        }

        for (var bit = 0; bit < Bits; bit++)
        {
            var feature = (CpuFeature)(((int)word.Value * Bits) + bit);
            var isThere = Enum.IsDefined(feature) && CpuFeatures.Implemented.Has(feature);
            switch (bits[Bits - 1 - bit])
            {
                case '0' when isThere:
                    without.Add(feature.ToString());
                    break;
                case '1' when !isThere:
                    mistake(string.Create(CultureInfo.InvariantCulture, $"cpuid: the core has nothing to give in bit {bit} of {what}: write x"));
                    break;
                case 'x' or 'k' or 's' when isThere:
                    // As the core has it. The last one counts.
                    without.Remove(feature.ToString());
                    break;
            }
        }
    }

    // A feature word that has a subleaf in the manuals is meant without one, too, where that is 0.
    private static CpuFeatureWord? WordOf(uint leaf, uint? subleaf, string register) => (leaf, subleaf, register) switch
    {
        (1, null, "edx") => CpuFeatureWord.Leaf1Edx,
        (1, null, "ecx") => CpuFeatureWord.Leaf1Ecx,
        (0x8000_0001, null, "edx") => CpuFeatureWord.Extended1Edx,
        (0x8000_0001, null, "ecx") => CpuFeatureWord.Extended1Ecx,
        (0xd, 1, "eax") => CpuFeatureWord.XstateEax,
        (7, null or 0, "ebx") => CpuFeatureWord.Leaf7Ebx,
        (7, null or 0, "ecx") => CpuFeatureWord.Leaf7Ecx,
        (0x8000_0007, null, "edx") => CpuFeatureWord.Extended7Edx,
        (0x8000_0008, null, "ebx") => CpuFeatureWord.Extended8Ebx,
        (7, null or 0, "edx") => CpuFeatureWord.Leaf7Edx,
        _ => null,
    };

    private static bool TryNumber(string text, out uint number)
    {
        var isNumber = SettingReader.TryNumber(text, out var value) && value is >= 0 and <= uint.MaxValue;
        number = isNumber ? (uint)value : 0;
        return isNumber;
    }
}
