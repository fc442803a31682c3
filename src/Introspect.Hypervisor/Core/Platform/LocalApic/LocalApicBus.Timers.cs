using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Core.Platform.Apic;

/// <summary>A local APIC's running timer, as exactly as the core knows it; a context of Xen's starts it anew.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ApicTimerState
{
    /// <summary>System time of the next tick; 0: none.</summary>
    public ulong Deadline;

    /// <summary>Distance of periodic ticks.</summary>
    public ulong Period;

    /// <summary>System time at which the counter was at its top; 0: it does not run.</summary>
    public ulong CountStart;
}

/// <summary>The timers of all APICs as plain bytes.</summary>
internal sealed partial class LocalApicBus
{
    private bool _held;

    /// <summary>Bytes of saved timers.</summary>
    public int TimerStateBytes => _apics.Length * Unsafe.SizeOf<ApicTimerState>();

    private bool IsHeld => Volatile.Read(ref _held);

    /// <summary>Until timers are loaded none goes off, whatever is loaded before them.</summary>
    public void HoldTimers() => Volatile.Write(ref _held, true);

    /// <summary>Saves the timers.</summary>
    public void SaveTimers(Span<byte> destination)
    {
        var states = MemoryMarshal.Cast<byte, ApicTimerState>(destination);
        for (var n = 0; n < _apics.Length; n++)
        {
            states[n] = _apics[n]?.TimerState ?? default;
        }
    }

    /// <summary>Takes saved timers over; those that are due by now go off.</summary>
    public void LoadTimers(ReadOnlySpan<byte> source)
    {
        var states = MemoryMarshal.Cast<byte, ApicTimerState>(source);
        for (var n = 0; n < _apics.Length; n++)
        {
            if (_apics[n] is { } apic)
            {
                apic.TimerState = states[n];
            }
        }

        Volatile.Write(ref _held, false);
    }
}
