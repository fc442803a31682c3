namespace Introspect.Rules.Pump;

/// <summary>How a guest gets past an access that its rights forbid and no handler has an opinion on.</summary>
public enum MemoryAccessPolicy
{
    /// <summary>
    /// One single step with the other vCPUs held; where they cannot be held, emulation, if the hypervisor tells of what
    /// its emulator lacks; else a step during which other vCPUs are not watched on the page. Instructions that may wait
    /// for another vCPU (HLT, MWAIT, hypercalls) are not stepped with the others held.
    /// </summary>
    Automatic,

    /// <summary>
    /// The rights are lifted for one single step of the vCPU. Exact for every instruction, and each watched page that it
    /// touches is told. The others are held during the step where the hypervisor can do that; where it cannot, they are
    /// not watched on the page meanwhile. Falls back to emulation where the hypervisor has no single step.
    /// </summary>
    Step,

    /// <summary>
    /// The hypervisor emulates the instruction. No other vCPU gets past; an instruction that touches several watched pages
    /// is told once; what the emulator has no code for is stepped.
    /// </summary>
    Emulate,
}

/// <summary>Settings of a pump. The defaults suit a production guest.</summary>
public sealed class PumpOptions
{
    /// <summary>Time that one handler may take for one event before it counts as an overrun.</summary>
    public TimeSpan HandlerBudget { get; init; } = TimeSpan.FromMilliseconds(5);

    /// <summary>Failures within <see cref="BreakerWindow"/> that disable a handler; overruns, where they also took <see cref="BreakerSlowShare"/>.</summary>
    public int BreakerThreshold { get; init; } = 5;

    /// <summary>Time within which failures count together.</summary>
    public TimeSpan BreakerWindow { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// The part of <see cref="BreakerWindow"/> that overruns must take, all together, to disable a handler: a host that is short
    /// of processors makes every handler late now and then, and that is no reason to stop asking it.
    /// </summary>
    public double BreakerSlowShare { get; init; } = 0.1;

    /// <summary>Time for which a handler is disabled; afterwards one event is its trial.</summary>
    public TimeSpan BreakerCoolDown { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Records that wait for the sinks at most. One takes about 500 bytes.</summary>
    public int RecordCapacity { get; init; } = 4096;

    /// <summary>What happens when that many wait.</summary>
    public RecordPolicy RecordPolicy { get; init; } = RecordPolicy.DropNewest;

    /// <summary>How a guest gets past a watched page.</summary>
    public MemoryAccessPolicy MemoryAccessPolicy { get; init; } = MemoryAccessPolicy.Automatic;

    /// <summary>Longest sleep of an idle pump; <see cref="PumpStatistics.LastActivity"/> moves at least this often.</summary>
    public TimeSpan IdleInterval { get; init; } = TimeSpan.FromMilliseconds(500);

    /// <summary>
    /// Longest time that a stop waits for each of: a handler that does not return, sinks that do not make room
    /// (<see cref="RecordPolicy.Block"/>), and vCPUs in the middle of a single step.
    /// </summary>
    public TimeSpan StopTimeout { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>The clock.</summary>
    public TimeProvider Clock { get; init; } = TimeProvider.System;

    internal void Validate()
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(HandlerBudget, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThan(BreakerThreshold, 1);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(BreakerWindow, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(BreakerCoolDown, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfNegative(BreakerSlowShare);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(BreakerSlowShare, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(RecordCapacity, 1);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(IdleInterval, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfLessThan(StopTimeout, TimeSpan.Zero);
        ArgumentNullException.ThrowIfNull(Clock);
    }
}
