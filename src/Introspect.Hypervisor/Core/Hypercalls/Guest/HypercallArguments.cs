namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary>
/// A hypercall's number and arguments as registers hold them: RAX and RDI, RSI, RDX, R10, R8, R9 in 64-bit mode,
/// EAX and EBX, ECX, EDX, ESI, EDI, EBP in all others.
/// </summary>
internal record struct HypercallArguments
{
    public ulong Op;
    public ulong A1, A2, A3, A4, A5, A6;

    /// <summary>True in 64-bit mode; decides the layout of structures too.</summary>
    public bool Is64;

    /// <summary>The arguments as the mode has them: 32-bit ones are cut to 32 bits.</summary>
    public readonly HypercallArguments Normalized() => Is64 ? this : new HypercallArguments
    {
        Op = (uint)Op,
        A1 = (uint)A1,
        A2 = (uint)A2,
        A3 = (uint)A3,
        A4 = (uint)A4,
        A5 = (uint)A5,
        A6 = (uint)A6,
    };
}

/// <summary>What a hypercall gave.</summary>
/// <param name="Value">For RAX (EAX in 32-bit modes): a value or a negated errno.</param>
/// <param name="Continues">
/// True when there is more to do: RIP and RAX stay, the argument registers take those of <paramref name="Next"/>,
/// so that the guest makes the call again; meanwhile interrupts and other vCPUs get their turn.
/// </param>
/// <param name="Next">See <paramref name="Continues"/>.</param>
internal readonly record struct HypercallResult(long Value, bool Continues = false, HypercallArguments Next = default)
{
    /// <summary>A value.</summary>
    public static implicit operator HypercallResult(long value) => new(value);

    /// <summary>A value.</summary>
    public static HypercallResult FromInt64(long value) => value;

    /// <summary>More is to be done, with these arguments.</summary>
    public static HypercallResult ContinueWith(in HypercallArguments next) => new(0, true, next);
}
