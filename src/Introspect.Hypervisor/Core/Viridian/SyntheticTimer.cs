using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>A synthetic timer as plain state.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct SyntheticTimer
{
    private const ulong EnableBit = 1, PeriodicBit = 1 << 1, LazyBit = 1 << 2, AutoEnableBit = 1 << 3;
    private const int SintShift = 16;

    /// <summary>STIMERx_CONFIG.</summary>
    public ulong Config;

    /// <summary>STIMERx_COUNT: when it goes off, or how far its ticks are apart, in units of reference time.</summary>
    public ulong Count;

    /// <summary>Reference time at which it goes off, or went off last.</summary>
    public ulong Expiration;

    /// <summary>System time of the same; 0: nobody waits for it.</summary>
    public ulong Deadline;

    /// <summary>It was started, and not stopped since.</summary>
    public bool Started;

    /// <summary>It went off, and its message is not yet in its place.</summary>
    public bool Pending;

    private ushort _pad0;
    private uint _pad1;

    /// <summary>It may go off. A timer without a count or with SINT 0 cannot.</summary>
    public bool IsEnabled
    {
        readonly get => (Config & EnableBit) != 0;
        set => Config = value ? Config | EnableBit : Config & ~EnableBit;
    }

    /// <summary>It goes off again and again.</summary>
    public readonly bool IsPeriodic => (Config & PeriodicBit) != 0;

    /// <summary>Ticks that were missed are not made up for.</summary>
    public readonly bool IsLazy => (Config & LazyBit) != 0;

    /// <summary>Writing a count enables it.</summary>
    public readonly bool EnablesItself => (Config & AutoEnableBit) != 0;

    /// <summary>The synthetic interrupt that it sends its message to.</summary>
    public readonly int Sint => (int)(Config >> SintShift) & 0xF;
}
