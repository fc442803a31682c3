using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>The timers as plain bytes: each vCPU's, the watchdogs, then each local APIC's.</summary>
internal sealed partial class DomainTimers
{
    // Held while deadlines that passed are seen to.
    private readonly Lock _expireLock = new();
    private int _stills;

    /// <summary>Bytes of saved timers.</summary>
    public int StateBytes => OwnBytes + (Apics?.TimerStateBytes ?? 0);

    private int OwnBytes => (_vcpus.Length * Marshal.SizeOf<VcpuTimerState>()) + (Watchdogs * sizeof(ulong));

    private bool IsStill => Volatile.Read(ref _stills) != 0;

    /// <summary>Until <see cref="GoOn"/> no timer goes off, and none seems due. When this returns none is going off.</summary>
    public void StandStill()
    {
        lock (_expireLock)
        {
            _stills++;
        }
    }

    /// <summary>Undoes one <see cref="StandStill"/>.</summary>
    public void GoOn()
    {
        lock (_expireLock)
        {
            _stills--;
        }

        host.DeadlineChanged();
    }

    /// <summary>Saves the timers.</summary>
    public void SaveState(Span<byte> destination)
    {
        lock (_lock)
        {
            var vcpus = MemoryMarshal.AsBytes(_vcpus.AsSpan());
            vcpus.CopyTo(destination);
            MemoryMarshal.AsBytes(_watchdogs.AsSpan()).CopyTo(destination[vcpus.Length..]);
        }

        Apics?.SaveTimers(destination[OwnBytes..]);
    }

    /// <summary>Takes saved timers over; those that are due by now go off.</summary>
    /// <returns>EINVAL: a periodic timer without a period.</returns>
    public Errno LoadState(ReadOnlySpan<byte> source)
    {
        foreach (ref readonly var timer in MemoryMarshal.Cast<byte, VcpuTimerState>(source)[.._vcpus.Length])
        {
            if (timer.PeriodicNext != 0 && timer.Period == 0)
            {
                return Errno.EINVAL;
            }
        }

        lock (_lock)
        {
            var vcpus = MemoryMarshal.AsBytes(_vcpus.AsSpan());
            source[..vcpus.Length].CopyTo(vcpus);
            source.Slice(vcpus.Length, Watchdogs * sizeof(ulong)).CopyTo(MemoryMarshal.AsBytes(_watchdogs.AsSpan()));
        }

        Apics?.LoadTimers(source[OwnBytes..]);
        host.DeadlineChanged();
        return Errno.None;
    }

    /// <summary>Stops every timer. When this returns none goes off.</summary>
    public void StopAll()
    {
        lock (_expireLock)
        {
            Apics?.HoldTimers();
            Synthetic?.Hold();
            lock (_lock)
            {
                Array.Clear(_vcpus);
                Array.Clear(_watchdogs);
            }
        }
    }
}
