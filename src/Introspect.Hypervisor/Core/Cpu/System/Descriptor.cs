namespace Introspect.Hypervisor.Core.Cpu.SystemMode;

/// <summary>Types of system descriptors (Intel SDM vol. 3, table 3-2).</summary>
internal enum SystemType : byte
{
    Tss16Available = 1,
    Ldt = 2,
    Tss16Busy = 3,
    CallGate16 = 4,
    TaskGate = 5,
    InterruptGate16 = 6,
    TrapGate16 = 7,

    /// <summary>32-bit TSS, in long mode the 64-bit one.</summary>
    TssAvailable = 9,
    TssBusy = 11,

    /// <summary>32-bit call gate, in long mode the 64-bit one.</summary>
    CallGate = 12,
    InterruptGate = 14,
    TrapGate = 15,
}

/// <summary>A descriptor as read from its table, with the place it came from.</summary>
internal readonly struct Descriptor(ulong low, ulong high, ulong address)
{
    private const int TypeShift = 40;

    /// <summary>The first 8 bytes.</summary>
    public ulong Low { get; } = low;

    /// <summary>The second 8 bytes of a 16-byte system descriptor, else 0.</summary>
    public ulong High { get; } = high;

    /// <summary>Linear address of the descriptor.</summary>
    public ulong Address { get; } = address;

    public int Type => (int)(Low >> TypeShift) & 15;

    public SystemType SystemType => (SystemType)Type;

    public bool IsSystem => (Low & (1UL << 44)) == 0;

    public bool IsCode => !IsSystem && (Type & 8) != 0;

    public bool IsData => !IsSystem && (Type & 8) == 0;

    public bool IsConforming => IsCode && (Type & 4) != 0;

    public bool IsReadable => IsData || (IsCode && (Type & 2) != 0);

    public bool IsWritableData => IsData && (Type & 2) != 0;

    public bool IsAccessed => (Type & 1) != 0;

    public int Dpl => (int)(Low >> 45) & 3;

    public bool IsPresent => (Low & (1UL << 47)) != 0;

    /// <summary>L: a 64-bit code segment.</summary>
    public bool IsLong => (Low & (1UL << 53)) != 0;

    /// <summary>D/B.</summary>
    public bool IsDefault32 => (Low & (1UL << 54)) != 0;

    public ulong Base => ((Low >> 16) & 0xFFFFFF) | ((Low >> 56) << 24) | (High << 32);

    public uint Limit
    {
        get
        {
            var limit = (uint)(Low & 0xFFFF) | ((uint)(Low >> 32) & 0xF0000);
            return (Low & (1UL << 55)) != 0 ? (limit << 12) | 0xFFF : limit;
        }
    }

    /// <summary>Access rights in the layout of <see cref="Segment.Attributes"/>.</summary>
    public uint Attributes => ((uint)(Low >> TypeShift) & 0xFF) | ((uint)(Low >> 40) & 0xF000);

    public ushort GateSelector => (ushort)(Low >> 16);

    /// <summary>Entry point in a 32-bit or 64-bit gate.</summary>
    public ulong GateOffset => (Low & 0xFFFF) | ((Low >> 32) & 0xFFFF0000) | (High << 32);

    /// <summary>Stack entries that a legacy call gate copies.</summary>
    public int GateParameters => (int)(Low >> 32) & 31;

    /// <summary>Interrupt stack table index of a 64-bit gate.</summary>
    public int GateIst => (int)(Low >> 32) & 7;

    /// <summary>The hidden part that a segment register takes from this descriptor.</summary>
    public Segment ToSegment(ushort selector) => new()
    {
        Base = Base,
        Limit = Limit,
        Attributes = Attributes,
        Selector = selector,
    };

    /// <summary>The same descriptor with its accessed bit, or for a TSS its busy bit, changed.</summary>
    public Descriptor WithTypeBits(ulong set, ulong clear) =>
        new((Low & ~(clear << TypeShift)) | (set << TypeShift), High, Address);
}
