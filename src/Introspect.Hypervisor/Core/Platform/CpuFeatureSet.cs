using System.Runtime.CompilerServices;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>A set of CPU features, laid out as CPUID tells them.</summary>
internal readonly struct CpuFeatureSet : IEquatable<CpuFeatureSet>
{
    private readonly Words _words;

    private CpuFeatureSet(Words words) => _words = words;

    /// <summary>The 32 bits of one register.</summary>
    public uint this[CpuFeatureWord word] => _words[(int)word];

    /// <summary>A set of these features.</summary>
    public static CpuFeatureSet Of(params ReadOnlySpan<CpuFeature> features) => default(CpuFeatureSet).With(features);

    /// <summary>True when the feature is in the set.</summary>
    public bool Has(CpuFeature feature) => (_words[(int)feature >> 5] & (1u << ((int)feature & 31))) != 0;

    /// <summary>This set and these features.</summary>
    public CpuFeatureSet With(params ReadOnlySpan<CpuFeature> features)
    {
        var words = _words;
        foreach (var feature in features)
        {
            words[(int)feature >> 5] |= 1u << ((int)feature & 31);
        }

        return new(words);
    }

    /// <summary>The features of both sets.</summary>
    public CpuFeatureSet With(CpuFeatureSet other)
    {
        var words = _words;
        for (var n = 0; n < (int)CpuFeatureWord.Count; n++)
        {
            words[n] |= other._words[n];
        }

        return new(words);
    }

    /// <summary>This set without these features.</summary>
    public CpuFeatureSet Without(params ReadOnlySpan<CpuFeature> features)
    {
        var words = _words;
        foreach (var feature in features)
        {
            words[(int)feature >> 5] &= ~(1u << ((int)feature & 31));
        }

        return new(words);
    }

    /// <inheritdoc/>
    public bool Equals(CpuFeatureSet other) => ((ReadOnlySpan<uint>)_words).SequenceEqual(other._words);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is CpuFeatureSet other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode()
    {
        var hash = default(HashCode);
        foreach (var word in (ReadOnlySpan<uint>)_words)
        {
            hash.Add(word);
        }

        return hash.ToHashCode();
    }

    [InlineArray((int)CpuFeatureWord.Count)]
    private struct Words
    {
        private uint _word0;
    }
}
