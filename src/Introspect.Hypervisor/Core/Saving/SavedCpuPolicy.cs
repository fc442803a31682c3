using System.Runtime.InteropServices;
using Introspect.Hypervisor.Core.Execution;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Saving;

/// <summary>What stands before the feature words and the leaves in the record of a CPUID policy.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SavedPolicyHeader
{
    public ulong TscFrequency;

    /// <summary>Bits of a guest-physical address.</summary>
    public uint PhysicalAddressBits;

    /// <summary>The forced emulation prefix is one.</summary>
    public uint ForcedEmulationPrefix;
    public uint FeatureWords;
    public uint Leaves;
}

/// <summary>A leaf, as Xen's <c>xen_cpuid_leaf_t</c> has it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct SavedCpuidLeaf(uint Leaf, uint Subleaf, uint Eax, uint Ebx, uint Ecx, uint Edx);

/// <summary>
/// What CPUID told a domain: the features that the policy is made from, and every leaf that was told, against which the
/// policy of the restored domain is held. A guest that has seen a feature never sees it go, whatever the default is by then.
/// </summary>
/// <param name="Features">Features, as they were told.</param>
/// <param name="TscFrequency">Frequency of the TSC.</param>
/// <param name="PhysicalAddressBits">Bits of a guest-physical address.</param>
/// <param name="ForcedEmulationPrefix">The forced emulation prefix is one.</param>
/// <param name="Leaves">The leaves.</param>
internal sealed record SavedCpuPolicy(
    CpuFeatureSet Features,
    ulong TscFrequency,
    int PhysicalAddressBits,
    bool ForcedEmulationPrefix,
    SavedCpuidLeaf[] Leaves)
{
    private const uint FirstExtended = 0x8000_0000;

    // Subleaves that a leaf is asked for; most look at none.
    private const uint Subleaves = 16;

    /// <summary>The policy that a platform tells.</summary>
    public static SavedCpuPolicy Of(DomainPlatform platform) => new(
        platform.Policy.Features,
        platform.Options.TscFrequency,
        platform.Policy.PhysicalAddressBits,
        platform.Options.ForcedEmulationPrefix,
        LeavesOf(platform.Policy));

    /// <summary>The record.</summary>
    public byte[] ToRecord()
    {
        var words = WordsOf(Features);
        var header = new SavedPolicyHeader
        {
            TscFrequency = TscFrequency,
            PhysicalAddressBits = (uint)PhysicalAddressBits,
            ForcedEmulationPrefix = ForcedEmulationPrefix ? 1u : 0,
            FeatureWords = (uint)words.Length,
            Leaves = (uint)Leaves.Length,
        };
        return
        [
            .. MemoryMarshal.AsBytes(new ReadOnlySpan<SavedPolicyHeader>(in header)),
            .. MemoryMarshal.AsBytes(words.AsSpan()),
            .. MemoryMarshal.AsBytes(Leaves.AsSpan()),
        ];
    }

    /// <summary>Reads the record, of which nothing is believed.</summary>
    public static SavedCpuPolicy Parse(SavedStreamReader reader)
    {
        var payload = reader.Payload;
        var (fixedBytes, leafBytes) = (Marshal.SizeOf<SavedPolicyHeader>(), Marshal.SizeOf<SavedCpuidLeaf>());
        if (payload.Length < fixedBytes)
        {
            throw reader.Malformed($"it has {payload.Length} bytes");
        }

        var header = MemoryMarshal.Read<SavedPolicyHeader>(payload);
        if ((ulong)fixedBytes + ((ulong)header.FeatureWords * sizeof(uint)) + ((ulong)header.Leaves * (ulong)leafBytes) != (ulong)payload.Length
            || header.TscFrequency < VirtualClock.LeastFrequency || header.ForcedEmulationPrefix > 1)
        {
            throw reader.Malformed("its parts do not add up");
        }

        var words = MemoryMarshal.Cast<byte, uint>(payload.Slice(fixedBytes, (int)header.FeatureWords * sizeof(uint)));
        var features = FeaturesOf(words, out var unknown);
        if (unknown.Length != 0)
        {
            throw reader.Refuse(Errno.EOPNOTSUPP, $"the guest has {unknown}, which this release does not give: restore it with the release that saved it");
        }

        if (header.PhysicalAddressBits != Cpu.Mmu.PhysicalBits)
        {
            throw reader.Refuse(Errno.EOPNOTSUPP, $"the guest has addresses of {header.PhysicalAddressBits} bits, and this release gives {Cpu.Mmu.PhysicalBits}: restore it with the release that saved it");
        }

        var leaves = MemoryMarshal.Cast<byte, SavedCpuidLeaf>(payload[(fixedBytes + ((int)header.FeatureWords * sizeof(uint)))..]).ToArray();
        return new(features, header.TscFrequency, (int)header.PhysicalAddressBits, header.ForcedEmulationPrefix != 0, leaves);
    }

    /// <summary>The first leaf in which a policy is another, or null.</summary>
    public SavedCpuidLeaf? DifferenceFrom(CpuidPolicy policy)
    {
        var others = LeavesOf(policy);
        for (var n = 0; n < Math.Max(Leaves.Length, others.Length); n++)
        {
            if (n >= Leaves.Length)
            {
                return others[n];
            }

            if (n >= others.Length || Leaves[n] != others[n])
            {
                return Leaves[n];
            }
        }

        return null;
    }

    // What a vCPU 0 sees that did nothing yet. The hypervisor's own leaves name the domain, and are not held against.
    private static SavedCpuidLeaf[] LeavesOf(CpuidPolicy policy)
    {
        var leaves = new List<SavedCpuidLeaf>();
        for (uint leaf = 0; leaf <= policy.MaxBasicLeaf; leaf++)
        {
            Add(leaf);
        }

        for (var leaf = FirstExtended; leaf <= CpuidPolicy.MaxExtendedLeaf; leaf++)
        {
            Add(leaf);
        }

        return [.. leaves];

        void Add(uint leaf)
        {
            var first = policy.Query(leaf, 0, default);
            for (uint subleaf = 0; subleaf < Subleaves; subleaf++)
            {
                var told = policy.Query(leaf, subleaf, default);
                if (subleaf == 0 || (told != first && told != default))
                {
                    leaves.Add(new(leaf, subleaf, told.Eax, told.Ebx, told.Ecx, told.Edx));
                }
            }
        }
    }

    private static uint[] WordsOf(CpuFeatureSet features)
    {
        var words = new uint[(int)CpuFeatureWord.Count];
        for (var n = 0; n < words.Length; n++)
        {
            words[n] = features[(CpuFeatureWord)n];
        }

        return words;
    }

    private static CpuFeatureSet FeaturesOf(ReadOnlySpan<uint> words, out string unknown)
    {
        var features = default(CpuFeatureSet);
        var refused = new List<string>();
        for (var bit = 0; bit < words.Length * 32; bit++)
        {
            if ((words[bit >> 5] & (1u << (bit & 31))) == 0)
            {
                continue;
            }

            var feature = (CpuFeature)bit;
            if (bit < (int)CpuFeatureWord.Count * 32 && CpuFeatures.Implemented.Has(feature))
            {
                features = features.With(feature);
            }
            else
            {
                refused.Add(Enum.IsDefined(feature) ? feature.ToString() : $"CPUID bit {bit}");
            }
        }

        unknown = string.Join(", ", refused.Take(8));
        return features;
    }
}
