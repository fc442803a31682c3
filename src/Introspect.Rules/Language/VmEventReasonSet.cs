using System.Numerics;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

/// <summary>A set of reasons of events: what a rule is <c>on:</c>.</summary>
public readonly record struct VmEventReasonSet
{
    private readonly uint _bits;

    private VmEventReasonSet(uint bits) => _bits = bits;

    /// <summary>Every reason there is.</summary>
    public static VmEventReasonSet All { get; } = Of(Enum.GetValues<VmEventReason>());

    /// <summary>True when no reason is in it.</summary>
    public bool IsEmpty => _bits == 0;

    /// <summary>How many reasons are in it.</summary>
    public int Count => BitOperations.PopCount(_bits);

    /// <summary>The reasons, by number.</summary>
    public IEnumerable<VmEventReason> Reasons
    {
        get
        {
            for (var bits = _bits; bits != 0; bits &= bits - 1)
            {
                yield return (VmEventReason)BitOperations.TrailingZeroCount(bits);
            }
        }
    }

    /// <summary>A set of some reasons.</summary>
    public static VmEventReasonSet Of(params ReadOnlySpan<VmEventReason> reasons)
    {
        var bits = 0u;
        foreach (var reason in reasons)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)reason, 31u, nameof(reasons));
            bits |= 1u << (int)reason;
        }

        return new(bits);
    }

    /// <summary>True when the reason is in it.</summary>
    public bool Contains(VmEventReason reason) => (uint)reason < 32 && (_bits & (1u << (int)reason)) != 0;

    /// <summary>The set with one more.</summary>
    public VmEventReasonSet With(VmEventReason reason) => this | Of(reason);

    /// <summary>What is in either.</summary>
    public static VmEventReasonSet operator |(VmEventReasonSet a, VmEventReasonSet b) => new(a._bits | b._bits);

    /// <summary>What is in both.</summary>
    public static VmEventReasonSet operator &(VmEventReasonSet a, VmEventReasonSet b) => new(a._bits & b._bits);

    /// <summary>What is in either.</summary>
    public VmEventReasonSet BitwiseOr(VmEventReasonSet other) => this | other;

    /// <summary>What is in both.</summary>
    public VmEventReasonSet BitwiseAnd(VmEventReasonSet other) => this & other;

    /// <summary>The names, with commas between them.</summary>
    public override string ToString() => string.Join(", ", Reasons.Select(Names.ReasonNames.Of));
}
