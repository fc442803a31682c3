using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>The timers as plain bytes: each vCPU's, the watchdogs, then each local APIC's.</summary>
internal sealed partial class DomainTimers
{
    // Held while deadlines that passed are seen to.
    private readonly Lock _expireLock = new();

    /// <summary>Bytes of saved timers.</summary>
    public int StateBytes => OwnBytes + (Apics?.TimerStateBytes ?? 0);

    private int OwnBytes => (_vcpus.Length * Marshal.SizeOf<VcpuTimerState>()) + (Watchdogs * sizeof(ulong));

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
    public void LoadState(ReadOnlySpan<byte> source)
    {
        lock (_lock)
        {
            var vcpus = MemoryMarshal.AsBytes(_vcpus.AsSpan());
            source[..vcpus.Length].CopyTo(vcpus);
            source.Slice(vcpus.Length, Watchdogs * sizeof(ulong)).CopyTo(MemoryMarshal.AsBytes(_watchdogs.AsSpan()));
        }

        Apics?.LoadTimers(source[OwnBytes..]);
        host.DeadlineChanged();
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
