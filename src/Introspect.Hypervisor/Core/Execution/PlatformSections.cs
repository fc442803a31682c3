using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Platform;
using Introspect.Hypervisor.Core.State;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>What a domain's platform has beside its tables, as plain state.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct PlatformSaved
{
    public ClockState Clock;

    /// <summary>Where a repeatable world's numbers stand; 0 where chance is the host's.</summary>
    public ulong Random;

    /// <summary>Shared pages have the 64-bit layout.</summary>
    public byte Is64;
    public byte RunstateUpdateFlag;

    /// <summary><see cref="Abi.ShutdownReason"/> kept for the shutdown that follows; 0 where none is.</summary>
    public byte ShutdownReason;
    public byte HasShutdownReason;

    /// <summary>A domain can be in this state.</summary>
    public readonly bool IsValid => VirtualClock.IsValid(in Clock) && Is64 <= 1 && RunstateUpdateFlag <= 1
        && (HasShutdownReason == 0 ? ShutdownReason == 0 : HasShutdownReason == 1 && IsKnown((ShutdownReason)ShutdownReason));

    /// <summary>A reason has a name (up to <c>SHUTDOWN_MAX</c>).</summary>
    public static bool IsKnown(ShutdownReason reason) => reason <= Abi.ShutdownReason.SoftReset;
}

/// <summary>The clock, chance, and what the guest told its platform.</summary>
internal sealed class PlatformSection(DomainPlatform platform) : IHvmContextSection
{
    /// <inheritdoc/>
    public ushort TypeCode => CoreSectionCode.Platform;

    /// <inheritdoc/>
    public string Name => "clock and platform";

    /// <inheritdoc/>
    public bool IsPerVcpu => false;

    /// <inheritdoc/>
    public int Length { get; } = Marshal.SizeOf<PlatformSaved>();

    /// <inheritdoc/>
    public bool TrySave(uint instance, Span<byte> record)
    {
        // What a guest made up for a reason is kept as Xen keeps it, but as on Xen it does not go along.
        var kept = platform.KeptShutdownReason is { } reason && PlatformSaved.IsKnown(reason) ? platform.KeptShutdownReason : null;
        var saved = new PlatformSaved
        {
            Clock = platform.Clock.Save(platform.RetiredForClock),
            Random = platform.World.RandomState,
            Is64 = platform.Shared.Layout.Is64 ? (byte)1 : (byte)0,
            RunstateUpdateFlag = platform.RunstateUpdateFlag ? (byte)1 : (byte)0,
            ShutdownReason = (byte)kept.GetValueOrDefault(),
            HasShutdownReason = kept is null ? (byte)0 : (byte)1,
        };
        MemoryMarshal.Write(record, in saved);
        return true;
    }

    /// <inheritdoc/>
    public Errno Load(uint instance, ReadOnlySpan<byte> record)
    {
        var saved = MemoryMarshal.Read<PlatformSaved>(record);
        if (!saved.IsValid)
        {
            return Errno.EINVAL;
        }

        platform.Clock.Restore(in saved.Clock, platform.RetiredForClock);
        platform.World.RandomState = saved.Random;
        platform.Shared.Latch(saved.Is64 != 0);
        platform.RunstateUpdateFlag = saved.RunstateUpdateFlag != 0;
        platform.KeptShutdownReason = saved.HasShutdownReason != 0 ? (ShutdownReason)saved.ShutdownReason : null;
        return Errno.None;
    }
}

/// <summary>The event channels.</summary>
internal sealed class EventChannelSection(EventChannelTable events) : IHvmContextSection
{
    /// <inheritdoc/>
    public ushort TypeCode => CoreSectionCode.EventChannels;

    /// <inheritdoc/>
    public string Name => "table of event channels";

    /// <inheritdoc/>
    public bool IsPerVcpu => false;

    /// <inheritdoc/>
    public int Length => events.StateBytes;

    /// <inheritdoc/>
    public bool TrySave(uint instance, Span<byte> record)
    {
        events.SaveState(record);
        return true;
    }

    /// <inheritdoc/>
    public Errno Load(uint instance, ReadOnlySpan<byte> record) => events.LoadState(record);
}

/// <summary>The timers.</summary>
internal sealed class TimerSection(DomainTimers timers) : IHvmContextSection
{
    /// <inheritdoc/>
    public ushort TypeCode => CoreSectionCode.Timers;

    /// <inheritdoc/>
    public string Name => "set of timers";

    /// <inheritdoc/>
    public bool IsPerVcpu => false;

    /// <inheritdoc/>
    public int Length => timers.StateBytes;

    /// <inheritdoc/>
    public bool TrySave(uint instance, Span<byte> record)
    {
        timers.SaveState(record);
        return true;
    }

    /// <inheritdoc/>
    public Errno Load(uint instance, ReadOnlySpan<byte> record) => timers.LoadState(record);
}
