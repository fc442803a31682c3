using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>What Xen's record of a vCPU lacks, as plain state.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ViridianVcpuRest
{
    public ulong Control;
    public ulong EventPage;
    public ViridianVcpu.CrashParameters Crash;
    public SyntheticTimers Timers;

    /// <summary>The timers.</summary>
    [InlineArray(SyntheticTimerMsrs.Count)]
    internal struct SyntheticTimers
    {
        private SyntheticTimer _first;
    }
}

/// <summary>Saving and loading what is the vCPU's. It stands still.</summary>
internal sealed partial class ViridianVcpu
{
    /// <summary>Saves <c>struct hvm_viridian_vcpu_context</c>.</summary>
    public void Save(Span<byte> record)
    {
        var saved = new HvmViridianVcpu
        {
            VpAssistMsr = _assistPage,
            ApicAssistPending = _assistPending ? 1UL : 0,
            SimpMsr = _messagePage,
            SintMsr = _sints,
        };
        lock (_timerLock)
        {
            for (var n = 0; n < _timers.Length; n++)
            {
                saved.StimerConfigMsr[n] = _timers[n].Config;
                saved.StimerCountMsr[n] = _timers[n].Count;
            }
        }

        MemoryMarshal.Write(record, in saved);
    }

    /// <summary>Loads <c>struct hvm_viridian_vcpu_context</c>; timers that are enabled start when the domain goes on.</summary>
    /// <returns>EINVAL: bytes that must be zero are not.</returns>
    public Errno Load(ReadOnlySpan<byte> record)
    {
        var loaded = MemoryMarshal.Read<HvmViridianVcpu>(record);
        if (loaded.ApicAssistPending > byte.MaxValue)
        {
            return Errno.EINVAL;
        }

        // The pages are in the guest's memory, and that is restored with what was in them.
        _assistPage = loaded.VpAssistMsr;
        _assistPending = loaded.ApicAssistPending != 0;
        _messagePage = loaded.SimpMsr;
        LoadSints(in loaded.SintMsr);
        lock (_timerLock)
        {
            for (var n = 0; n < _timers.Length; n++)
            {
                NoLongerPending(n);
                _timers[n] = new SyntheticTimer { Config = loaded.StimerConfigMsr[n], Count = loaded.StimerCountMsr[n] };
                if (_timers[n].Sint == 0 || _timers[n].Count == 0)
                {
                    _timers[n].IsEnabled = false;
                }
            }
        }

        return Errno.None;
    }

    /// <summary>Saves the rest.</summary>
    public void SaveRest(out ViridianVcpuRest rest)
    {
        rest = new ViridianVcpuRest { Control = _control, EventPage = _eventPage, Crash = _crash };
        lock (_timerLock)
        {
            for (var n = 0; n < _timers.Length; n++)
            {
                rest.Timers[n] = _timers[n];
            }
        }
    }

    /// <summary>Loads the rest, behind the record.</summary>
    /// <returns>EINVAL: a timer runs without a count, which no guest can make it do.</returns>
    public Errno LoadRest(in ViridianVcpuRest rest)
    {
        foreach (ref readonly var timer in rest.Timers)
        {
            if (timer is { IsEnabled: true, Count: 0 })
            {
                return Errno.EINVAL;
            }
        }

        (_control, _eventPage, _crash) = (rest.Control, rest.EventPage, rest.Crash);
        lock (_timerLock)
        {
            var pending = 0;
            for (var n = 0; n < _timers.Length; n++)
            {
                _timers[n] = rest.Timers[n];
                pending |= _timers[n].Pending ? 1 << n : 0;
            }

            Volatile.Write(ref _pending, pending);
        }

        _domain.Host.DeadlineChanged();
        return Errno.None;
    }
}
