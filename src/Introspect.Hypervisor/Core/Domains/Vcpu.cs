using System.Diagnostics;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>Why a vCPU does not run, beside its pause counts (<c>VPF_*</c>).</summary>
[Flags]
internal enum VcpuPauseFlags
{
    None = 0,

    /// <summary>It waits for an event of the guest's (HLT, SCHEDOP_block).</summary>
    Blocked = 1 << 0,

    /// <summary>It was not brought up, or was taken down.</summary>
    Down = 1 << 1,

    /// <summary>The monitor ring is nearly full, and this vCPU put the last request (<c>VPF_mem_access</c>). Counted as a pause, too.</summary>
    RingFull = 1 << 2,
}

/// <summary>
/// One virtual CPU: what it is paused by, and the thread that runs it when nothing is. Pauses are counted as Xen
/// counts them: the domain's own (in <see cref="Domain"/>), the vCPU's, and among those the ones of vm_event.
/// Entering and leaving the guest take no lock.
/// </summary>
internal sealed partial class Vcpu : IDisposable
{
    private const int MaxSpins = 512;

    // Instructions between two looks at timers and pauses.
    private const long Budget = 200_000;

    // Reserved, not used: room for a chain of handlers even if the JIT gave one of them no tail call.
    private const int ThreadStackBytes = 64 << 20;

    private readonly object _gate = new();
    private readonly Thread? _thread;
    private readonly VcpuInterleaver? _interleaver;
    private int _flags = (int)VcpuPauseFlags.Down;
    private int _pauseCount;
    private PauseCounter _vmEventPauses;
    private PauseCounter _controllerPauses;
    private int _running;
    private int _stopWaiters;
    private int _sleeping;
    private int _stopped;
    private int _spins = 32;
    private readonly Lock _writtenLock = new();
    private readonly List<ulong> _written = [];
    private int _hasWritten;
    private readonly Lock _stateLock = new();
    private bool _started;
    private bool _disposed;
    private bool _waitsForOthers;
    private long _entries;
    private long _enteredAt;
    private long _timeRunning;
    private P2mTable _p2m;

    /// <param name="domain">The domain.</param>
    /// <param name="id">Number in the domain.</param>
    /// <param name="platform">Makes what runs behind it.</param>
    /// <param name="interleaver">Runs it by turns; null gives it a thread of its own.</param>
    public Vcpu(Domain domain, uint id, IDomainPlatform platform, VcpuInterleaver? interleaver = null)
    {
        Domain = domain;
        Id = id;
        _p2m = domain.Physmap;
        VirtualizationExceptions = new(domain);
        Runner = platform.CreateRunner(this);
        _interleaver = interleaver;
        if (interleaver is null)
        {
            _thread = new Thread(Loop, maxStackSize: ThreadStackBytes) { IsBackground = true, Name = $"d{domain.Id.Value}v{id}" };
        }
    }

    /// <summary>The domain.</summary>
    public Domain Domain { get; }

    /// <summary>Number in the domain.</summary>
    public uint Id { get; }

    /// <summary>CPU and exit handling.</summary>
    public IVcpuRunner Runner { get; }

    /// <summary>The altp2m view that it is in, or <see cref="AltP2m.NoView"/>.</summary>
    public ushort View { get; private set; } = AltP2m.NoView;

    /// <summary>The table that translates its guest-physical addresses: the view's, or the domain's own.</summary>
    public P2mTable P2m => Volatile.Read(ref _p2m);

    /// <summary>Puts the vCPU into a view; <see cref="Domains.AltP2m"/> keeps count. It takes the table up before its next entry.</summary>
    public void EnterView(ushort index, P2mTable table)
    {
        View = index;
        Volatile.Write(ref _p2m, table);
    }

    /// <summary>Where it tells its guest of violations.</summary>
    public VirtualizationExceptions VirtualizationExceptions { get; }

    /// <summary>Flags in force.</summary>
    public VcpuPauseFlags Flags => (VcpuPauseFlags)Volatile.Read(ref _flags);

    /// <summary>Pauses of this vCPU, those of vm_event included.</summary>
    public int PauseCount => Volatile.Read(ref _pauseCount);

    /// <summary>Sync events which were not answered yet (<c>vm_event_pause_count</c>).</summary>
    public int VmEventPauseCount => _vmEventPauses.Count;

    /// <summary>True while the thread is between <see cref="IVcpuRunner.BeforeEntry"/> and the end of <see cref="IVcpuRunner.Run"/>, and not asleep in a wait queue.</summary>
    public bool IsRunning => Volatile.Read(ref _running) != 0;

    /// <summary>True when the vCPU was given a state (<c>is_initialised</c>).</summary>
    public bool IsInitialised { get; set; }

    /// <summary>Time for which the vCPU ran, nanoseconds: it grows whenever the vCPU is scheduled.</summary>
    public ulong NanosecondsRunning
    {
        get
        {
            var ticks = Volatile.Read(ref _timeRunning);
            if (IsRunning)
            {
                ticks += Stopwatch.GetTimestamp() - Volatile.Read(ref _enteredAt);
            }

            return (ulong)(Math.Max(ticks, 0) * (1_000_000_000.0 / Stopwatch.Frequency));
        }
    }

    /// <summary>Times that the scheduler let the vCPU into its runner.</summary>
    public long Entries => Volatile.Read(ref _entries);

    /// <summary>The exception that ended the vCPU's thread: a fault of the core itself, which crashed the domain.</summary>
    public Exception? Failure { get; private set; }

    /// <summary>True when nothing keeps the vCPU from running.</summary>
    public bool IsRunnable =>
        Volatile.Read(ref _flags) == 0 && Volatile.Read(ref _pauseCount) == 0 && Domain.PauseCount == 0
        && !Domain.Rendezvous.KeepsOut(this);

    /// <summary>True on the thread that runs this vCPU.</summary>
    public bool IsOwnThread => _interleaver is null ? Thread.CurrentThread == _thread : _interleaver.IsTurnOf(this);

    /// <summary>True when it is up and does not wait for an event of its guest's, whoever else may hold it.</summary>
    public bool HasSomethingToDo => (Flags & (VcpuPauseFlags.Down | VcpuPauseFlags.Blocked)) == 0 && Volatile.Read(ref _stopped) == 0;

    /// <summary>
    /// Set while the vCPU's own thread waits for other vCPUs to leave the guest: it is not in the guest itself, and
    /// looks at <see cref="CpuState.Async"/> before it is again. So two vCPUs can wait for each other.
    /// </summary>
    public bool WaitsForOthers
    {
        get => Volatile.Read(ref _waitsForOthers);
        set
        {
            Volatile.Write(ref _waitsForOthers, value);
            Interlocked.MemoryBarrier();
        }
    }

    /// <summary>Starts the thread. The vCPU runs when it is neither down nor paused.</summary>
    public void Start()
    {
        _started = true;
        _thread?.Start();
    }

    /// <summary>Pauses without waiting (<c>vcpu_pause_nosync</c>).</summary>
    public void PauseNoSync()
    {
        Interlocked.Increment(ref _pauseCount);
        Kick();
    }

    /// <summary>Pauses, and returns when the vCPU is out of the guest (<c>vcpu_pause</c>). Not for its own thread.</summary>
    public void Pause()
    {
        PauseNoSync();
        WaitUntilSaved();
    }

    /// <summary>Undoes one pause.</summary>
    public void Unpause()
    {
        if (Interlocked.Decrement(ref _pauseCount) == 0)
        {
            Wake();
        }
    }

    /// <summary>A control tool holds this vCPU (<c>vcpu_pause_by_systemcontroller</c>).</summary>
    /// <returns>EOVERFLOW: too often.</returns>
    public Errno ControllerPause()
    {
        if (!_controllerPauses.TryAdd())
        {
            return Errno.EOVERFLOW;
        }

        Pause();
        return Errno.None;
    }

    /// <summary>A control tool lets go of this vCPU (<c>vcpu_unpause_by_systemcontroller</c>).</summary>
    /// <returns>EINVAL: no control tool holds it.</returns>
    public Errno ControllerUnpause()
    {
        if (!_controllerPauses.TryTake())
        {
            return Errno.EINVAL;
        }

        Domain.ForeignWriters.BeforeGoingOn();
        Unpause();
        return Errno.None;
    }

    /// <summary>Pauses for a sync event (<c>vm_event_vcpu_pause</c>).</summary>
    public void VmEventPause()
    {
        _vmEventPauses.Add();
        PauseNoSync();
    }

    /// <summary>Undoes one pause of vm_event; without one it does nothing, whatever a response says.</summary>
    public void VmEventUnpause()
    {
        if (!_vmEventPauses.TryTake())
        {
            return;
        }

        Domain.ForeignWriters.BeforeGoingOn();
        Unpause();
    }

    /// <summary>Sets a flag.</summary>
    /// <returns>True when it was set already.</returns>
    public bool SetFlag(VcpuPauseFlags flag)
    {
        var old = Interlocked.Or(ref _flags, (int)flag);
        Kick();
        return (old & (int)flag) != 0;
    }

    /// <summary>Clears a flag, and wakes the vCPU when it was the last obstacle.</summary>
    /// <returns>True when it was set.</returns>
    public bool ClearFlag(VcpuPauseFlags flag)
    {
        var was = (Interlocked.And(ref _flags, ~(int)flag) & (int)flag) != 0;
        if (was)
        {
            Wake();
        }

        return was;
    }

    /// <summary>Ends the present run as soon as may be, so that the vCPU looks at what changed.</summary>
    public void Kick() => Request(AsyncEvents.Kick);

    /// <summary>Asks the CPU for something at the next block boundary.</summary>
    public void Request(AsyncEvents events)
    {
        // The state is native memory: whoever still knows a vCPU that is gone must not write there.
        lock (_stateLock)
        {
            if (!_disposed)
            {
                Interlocked.Or(ref Runner.State.Async, (uint)events);
            }
        }
    }

    /// <summary>Somebody outside the guest wrote to pages: what was decoded of them is dropped before the guest goes on.</summary>
    public void PagesWritten(ReadOnlySpan<ulong> machinePages)
    {
        lock (_writtenLock)
        {
            foreach (var page in machinePages)
            {
                if (!_written.Contains(page))
                {
                    _written.Add(page);
                }
            }
        }

        Volatile.Write(ref _hasWritten, 1);
        Kick();
    }

    /// <summary>Lets the thread look again whether it may run.</summary>
    public void Wake()
    {
        if (IsRunnable && Volatile.Read(ref _sleeping) != 0)
        {
            lock (_gate)
            {
                Monitor.PulseAll(_gate);
            }
        }

        _interleaver?.Wake();
    }

    /// <summary>As <see cref="WaitUntilStopped"/>; what Xen leaves in the processor is in the saved state then (<c>vcpu_sleep_sync</c>).</summary>
    public void WaitUntilSaved()
    {
        WaitUntilStopped();
        if (!IsOwnThread)
        {
            Runner.State.SavedDr7 = Runner.State.Dr7;
        }
    }

    /// <summary>Returns when the vCPU is out of the guest, or at once on its own thread. Something must keep it out.</summary>
    public void WaitUntilStopped()
    {
        if (IsOwnThread)
        {
            return;
        }

        for (var i = 0; i < MaxSpins && IsRunning; i++)
        {
            Thread.SpinWait(20);
        }

        if (!IsRunning)
        {
            return;
        }

        Interlocked.Increment(ref _stopWaiters);
        lock (_gate)
        {
            while (IsRunning)
            {
                Monitor.Wait(_gate);
            }
        }

        Interlocked.Decrement(ref _stopWaiters);
    }

    /// <summary>
    /// Returns when the vCPU has left the guest at least once since <see cref="Entries"/> stood at a value, whether or
    /// not it goes on. Something must make it leave after the value was read.
    /// </summary>
    public void WaitUntilLeft(long before)
    {
        if (IsOwnThread)
        {
            return;
        }

        for (var i = 0; IsRunning && Entries == before && !WaitsForOthers; i++)
        {
            if (i < MaxSpins)
            {
                Thread.SpinWait(20);
            }
            else
            {
                Thread.Yield();
            }
        }
    }

    /// <summary>Ends the thread: it leaves the guest and does not come back. Returns when it ended, except on its own thread.</summary>
    public void Stop()
    {
        Volatile.Write(ref _stopped, 1);
        Kick();
        lock (_gate)
        {
            Monitor.PulseAll(_gate);
        }

        if (_started && !IsOwnThread)
        {
            _thread?.Join();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Stop();
        lock (_stateLock)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
        }

        Runner.Dispose();
    }

    private void Loop()
    {
        try
        {
            while (EnterGuest())
            {
                RunOnce(Budget);
            }
        }
#pragma warning disable CA1031 // Whatever the core's own fault is, it must end one guest and not the process.
        catch (Exception failure)
        {
            Fail(failure);
        }
#pragma warning restore CA1031
    }

    /// <summary>
    /// Runs for a turn, on the interleaver's thread: until so many instructions and exits are done, or the guest has
    /// nothing to do. Where something else holds the vCPU, it waits.
    /// </summary>
    /// <returns>False when the domain is being destroyed.</returns>
    public bool TakeTurn(long instructions, ITurnOrder order, VcpuInterleaver interleaver)
    {
        try
        {
            var end = (long)Runner.Retired + instructions;
            do
            {
                interleaver.StepOut(end);
                if (!EnterGuest())
                {
                    return false;
                }

                // A kick from outside may end a run anywhere; only what the guest does counts, or the order would be the kicker's.
                if (RunOnce(Math.Max(Math.Min(end - (long)Runner.Retired, order.UntilDeadline), 1)))
                {
                    end--;
                }

                order.TimePassed();
            }
            while (HasSomethingToDo && (long)Runner.Retired < end && !Runner.TakeYield());
        }
#pragma warning disable CA1031 // As in Loop.
        catch (Exception failure)
        {
            Fail(failure);
        }
        finally
        {
            interleaver.StepIn();
        }
#pragma warning restore CA1031

        return Volatile.Read(ref _stopped) == 0;
    }

    private bool RunOnce(long instructions)
    {
        if (Volatile.Read(ref _hasWritten) != 0)
        {
            DropWrittenCode();
        }

        Runner.BeforeEntry();
        var exited = IsRunnable && Runner.Run(instructions);

        // Before anybody takes the vCPU for stopped: what is left to do of its turn is not for others to see half done.
        _interleaver?.StepIn();
        LeaveGuest();
        return exited;
    }

    private void Fail(Exception failure)
    {
        Failure = failure;
        Domain.Shutdown(Abi.ShutdownReason.Crash);
        LeaveGuest();
    }

    private void DropWrittenCode()
    {
        Volatile.Write(ref _hasWritten, 0);
        lock (_writtenLock)
        {
            foreach (var page in _written)
            {
                Runner.DropCode(page);
            }

            _written.Clear();
        }
    }

    // Says "running" first and looks at the counts afterwards; a pause counts first and looks at "running"
    // afterwards. With a full barrier in both, one of them sees the other.
    private bool EnterGuest()
    {
        while (Volatile.Read(ref _stopped) == 0)
        {
            Interlocked.Exchange(ref _running, 1);
            if (IsRunnable)
            {
                Volatile.Write(ref _entries, _entries + 1);
                Volatile.Write(ref _enteredAt, Stopwatch.GetTimestamp());
                return true;
            }

            StandStill();
            if (!Spin())
            {
                Sleep();
            }
        }

        return false;
    }

    private void LeaveGuest()
    {
        Volatile.Write(ref _timeRunning, _timeRunning + Math.Max(Stopwatch.GetTimestamp() - _enteredAt, 1));
        StandStill();
    }

    private void StandStill()
    {
        Interlocked.Exchange(ref _running, 0);
        if (Volatile.Read(ref _stopWaiters) != 0)
        {
            lock (_gate)
            {
                Monitor.PulseAll(_gate);
            }
        }
    }

    // A monitor in this process often answers within microseconds, and a sleep costs more than that. What
    // spinning was good for the last times decides how long it is tried.
    private bool Spin()
    {
        if (Environment.ProcessorCount == 1)
        {
            return false;
        }

        for (var i = 0; i < _spins; i++)
        {
            Thread.SpinWait(20);
            if (IsRunnable)
            {
                _spins = Math.Min(_spins * 2, MaxSpins);
                return true;
            }
        }

        _spins = Math.Max(_spins / 2, 1);
        return false;
    }

    private void Sleep()
    {
        lock (_gate)
        {
            Interlocked.Exchange(ref _sleeping, 1);
            while (!IsRunnable && Volatile.Read(ref _stopped) == 0)
            {
                Monitor.Wait(_gate);
            }

            Volatile.Write(ref _sleeping, 0);
        }
    }
}
