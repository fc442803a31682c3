using System.Buffers.Binary;
using System.Diagnostics;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>
/// The one door through which time, chance and the interleaving of vCPUs come in. Nothing else in the core may decide
/// on them, so that a run can be made deterministic, and recorded, at this place.
/// </summary>
internal interface IOutsideWorld
{
    /// <summary>Nanoseconds of a clock that never goes back; its zero means nothing.</summary>
    ulong MonotonicNanoseconds { get; }

    /// <summary>Nanoseconds since 1970 (UTC).</summary>
    ulong UnixNanoseconds { get; }

    /// <summary>Fills a buffer with random bytes.</summary>
    void FillRandom(Span<byte> destination);

    /// <summary>Where repeatable numbers stand; 0, and nothing to set, where chance is the host's.</summary>
    ulong RandomState
    {
        get => 0;
        set { }
    }

    /// <summary>Whose turn it is when the vCPUs of a domain run on one thread; see <see cref="Domains.ITurnOrder.NextTurn"/>.</summary>
    Domains.Turn NextTurn(uint last, ReadOnlySpan<uint> ready) => RoundRobin(last, ready, DefaultTurn);

    /// <summary>Instructions in a turn unless asked otherwise.</summary>
    const long DefaultTurn = 1000;

    /// <summary>The next in the order of their numbers.</summary>
    static Domains.Turn RoundRobin(uint last, ReadOnlySpan<uint> ready, long instructions)
    {
        foreach (var vcpu in ready)
        {
            if (last != uint.MaxValue && vcpu > last)
            {
                return new(vcpu, instructions);
            }
        }

        return new(ready[0], instructions);
    }
}

/// <summary>The host's time and random numbers.</summary>
internal sealed class HostWorld : IOutsideWorld
{
    /// <summary>The one instance: it has no state.</summary>
    public static readonly HostWorld Instance = new();

    private HostWorld()
    {
    }

    /// <inheritdoc/>
    public ulong MonotonicNanoseconds
    {
        get
        {
            // A tick is a nanosecond on Linux; RDTSC comes here, so the division is for elsewhere.
            var ticks = (ulong)Stopwatch.GetTimestamp();
            return Stopwatch.Frequency == 1_000_000_000
                ? ticks
                : (ulong)((UInt128)ticks * 1_000_000_000 / (ulong)Stopwatch.Frequency);
        }
    }

    /// <inheritdoc/>
    public ulong UnixNanoseconds => (ulong)(DateTime.UtcNow - DateTime.UnixEpoch).Ticks * 100;

    /// <inheritdoc/>
    public void FillRandom(Span<byte> destination) => SystemRandom.Fill(destination);
}

/// <summary>A world in which every run is the same: time stands at a chosen moment, numbers follow from a seed.</summary>
internal sealed class RepeatableWorld(ulong unixNanoseconds, ulong seed) : IOutsideWorld
{
    /// <summary>Instructions in a turn of a vCPU.</summary>
    public long TurnInstructions { get; init; } = IOutsideWorld.DefaultTurn;

    /// <inheritdoc/>
    public Domains.Turn NextTurn(uint last, ReadOnlySpan<uint> ready) => IOutsideWorld.RoundRobin(last, ready, TurnInstructions);

    /// <summary>State of the generator (SplitMix64): what a saved or forked run goes on from.</summary>
    public ulong RandomState { get; set; } = seed;

    /// <inheritdoc/>
    public ulong MonotonicNanoseconds => 0;

    /// <inheritdoc/>
    public ulong UnixNanoseconds => unixNanoseconds;

    /// <inheritdoc/>
    public void FillRandom(Span<byte> destination)
    {
        Span<byte> bytes = stackalloc byte[8];
        while (!destination.IsEmpty)
        {
            RandomState += 0x9E37_79B9_7F4A_7C15;
            var z = RandomState;
            z = (z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9;
            z = (z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB;
            z ^= z >> 31;
            BinaryPrimitives.WriteUInt64LittleEndian(bytes, z);
            var count = Math.Min(8, destination.Length);
            bytes[..count].CopyTo(destination);
            destination = destination[count..];
        }
    }
}
