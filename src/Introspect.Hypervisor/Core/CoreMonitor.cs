using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Core;

/// <summary>A monitor of a domain of the core, through the toolstack's door.</summary>
internal sealed class CoreMonitor : IMonitor
{
    // The view of a request that nobody remembers.
    private const int P2mUnknown = -1;

    private readonly ToolstackCalls _calls;
    private readonly CoreDomain _domain;
    private readonly RingPage _page;
    private readonly EventChannel _channel;
    private readonly MonitorRing _ring;

    // The same ring where the hypervisor's events have an older layout; else null, and nothing is converted.
    private readonly VersionedMonitorRing? _versioned;
    private readonly HashSet<MonitorEvent> _enabled = [];

    // Microseconds: the longest is about what the guest needs to go on and come back.
    private readonly AdaptiveSpin _spin = new(shortest: 0.5, longest: 50);
    private readonly VmEvent[] _taken;
    private readonly CoreAltp2m _views;
    private int _takenCount;
    private bool _hasUnseenResponses;
    private bool _changedAccess;
    private bool _accessRequired;
    private long _malformed;
    private bool _corrupt;
    private bool _forgetsMemory;
    private bool _disposed;

    private CoreMonitor(ToolstackCalls calls, CoreDomain domain, RingPage page, EventChannel channel, MonitorRing ring, VersionedMonitorRing? versioned)
    {
        _calls = calls;
        _domain = domain;
        _page = page;
        _channel = channel;
        _ring = ring;
        _versioned = versioned;
        _taken = new VmEvent[ring.Slots];
        Capabilities = MonitorControl.GetCapabilities(calls, Number);
        _views = new CoreAltp2m(calls, Number);
    }

    /// <inheritdoc/>
    public MonitorCapabilities Capabilities { get; }

    /// <inheritdoc/>
    public int UnconsumedRequests => _ring.UnconsumedRequests;

    /// <inheritdoc/>
    public int RingSize => _ring.Slots;

    /// <inheritdoc/>
    public long MalformedRequests => _malformed + (_versioned?.Malformed ?? 0);

    private ushort Number => _domain.Id.Value;

    /// <summary>Enables the ring, with the domain paused until the monitor can take the first event.</summary>
    public static CoreMonitor Enable(ToolstackCalls calls, CoreDomain domain)
    {
        domain.Pause();
        try
        {
            var page = RingPage.Enable(calls, domain.Id.Value);
            EventChannel? channel = null;
            try
            {
                var version = calls.GetVmEventVersion();
                var versioned = version == VmEvent.InterfaceVersion ? null : new VersionedMonitorRing(page.Address, version);
                var ring = versioned?.Ring ?? new MonitorRing(page.Address);
                ring.Initialise();
                channel = calls.Bind(domain.Id.Value, page.Port);
                return new CoreMonitor(calls, domain, page, channel, ring, versioned);
            }
            catch
            {
                _ = calls.TryRing(domain.Id.Value, VmEventOperation.Disable, out _);
                channel?.Dispose();
                page.Dispose();
                throw;
            }
        }
        finally
        {
            domain.Unpause();
        }
    }

    /// <inheritdoc/>
    public bool TryTake(out VmEvent request)
    {
        while (!_corrupt)
        {
            switch (_versioned is null ? _ring.Take(out request) : _versioned.Take(out request))
            {
                case RingStatus.Empty:
                    return false;

                case RingStatus.Corrupt:
                    // The producer index cannot be: nothing behind it can be told from garbage.
                    _corrupt = true;
                    _malformed++;
                    return false;
            }

            if (request.Version == VmEvent.InterfaceVersion)
            {
                _taken[_takenCount++] = request;
                return true;
            }

            // Its slot must be given back, and a response of an unknown version is dropped by the other side.
            _malformed++;
            _ring.Put(request);
            _hasUnseenResponses = true;
        }

        request = default;
        return false;
    }

    /// <inheritdoc/>
    public void Respond(in VmEvent response)
    {
        if (_versioned is null)
        {
            _ring.Put(response);
        }
        else
        {
            _versioned.Put(response);
        }

        if ((response.Flags & (VmEventFlags.ResetForkState | VmEventFlags.ResetForkMemory)) != 0)
        {
            _forgetsMemory = true;
        }

        _hasUnseenResponses = true;
        if (_takenCount == 0)
        {
            NoteMove(in response, P2mUnknown);
            return;
        }

        // A response that names none of the open requests stands for the oldest: their number is what must agree.
        var answered = 0;
        for (var i = 0; i < _takenCount; i++)
        {
            if (_taken[i].VcpuId == response.VcpuId && _taken[i].Reason == response.Reason)
            {
                answered = i;
                break;
            }
        }

        NoteMove(in response, _taken[answered].AltP2mIndex);
        _taken.AsSpan(answered + 1, _takenCount - answered - 1).CopyTo(_taken.AsSpan(answered));
        _takenCount--;
    }

    /// <inheritdoc/>
    public void Notify()
    {
        _hasUnseenResponses = false;
        _ring.Push();
        _channel.Notify();
        if (_forgetsMemory)
        {
            // Pages that are mapped are no longer the fork's.
            _forgetsMemory = false;
            _domain.InvalidateMemory();
        }
    }

    /// <inheritdoc/>
    public bool Wait(TimeSpan timeout, CancellationToken cancellationToken) =>
        _ring.FinalCheckForRequests() || (_channel.SleepIsDear && _spin.Until(new NextRequest(_ring), 1)) || _channel.Wait(timeout, cancellationToken);

    /// <inheritdoc/>
    public void Enable(MonitorEvent monitorEvent)
    {
        ArgumentNullException.ThrowIfNull(monitorEvent);
        Switch(monitorEvent, on: true);
        _enabled.Add(MonitorControl.WithoutOptions(monitorEvent));
    }

    /// <inheritdoc/>
    public void Disable(MonitorEvent monitorEvent)
    {
        ArgumentNullException.ThrowIfNull(monitorEvent);
        Switch(monitorEvent, on: false);
        _enabled.Remove(MonitorControl.WithoutOptions(monitorEvent));
    }

    /// <inheritdoc/>
    public void SetMemoryAccess(Gfn first, uint count, MemoryAccess access)
    {
        _changedAccess = true;
        var operation = new MemAccessOp { Op = MemAccessOperation.SetAccess, Access = (byte)access, Domid = Number, Nr = count, Pfn = first.Value };
        ToolstackCalls.Check(_calls.TryAccess(ref operation), $"setting the access of {count} frames from {first} on in domain {Number} to {access}");
    }

    /// <inheritdoc/>
    public void SetMemoryAccess(ReadOnlySpan<Gfn> gfns, ReadOnlySpan<MemoryAccess> access)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(access.Length, gfns.Length, nameof(access));
        _changedAccess = true;
        var pfns = MemoryMarshal.Cast<Gfn, ulong>(gfns).ToArray();
        var rights = MemoryMarshal.AsBytes(access).ToArray();
        var operation = new MemAccessOp { Op = MemAccessOperation.SetAccessMulti, Domid = Number, Nr = (uint)gfns.Length };
        ToolstackCalls.Check(
            _calls.TryAccess(ref operation, MemoryMarshal.AsBytes(pfns.AsSpan()), rights),
            $"setting the access of {gfns.Length} frames in domain {Number}");
    }

    /// <inheritdoc/>
    public void SetAccessRequired(bool required)
    {
        MonitorControl.SetAccessRequired(_calls, Number, required);
        _accessRequired = required;
    }

    /// <inheritdoc/>
    public MemoryAccess GetMemoryAccess(Gfn gfn)
    {
        var operation = new MemAccessOp { Op = MemAccessOperation.GetAccess, Domid = Number, Pfn = gfn.Value };
        ToolstackCalls.Check(_calls.TryAccess(ref operation), $"reading the access of frame {gfn} in domain {Number}");
        return (MemoryAccess)operation.Access;
    }

    /// <inheritdoc/>
    public void SetDefaultAccess(MemoryAccess access)
    {
        _changedAccess = true;
        var operation = new MemAccessOp { Op = MemAccessOperation.SetAccess, Access = (byte)access, Domid = Number, Pfn = MemAccessOperation.DefaultPfn };
        ToolstackCalls.Check(_calls.TryAccess(ref operation), $"setting the default access of domain {Number} to {access}");
    }

    /// <inheritdoc/>
    public IAltp2m Views => _views;

    /// <inheritdoc/>
    public void ControlRegisters() => MonitorControl.Operate(_calls, Number, MonitorOperation.ControlRegisters, 0, "honouring DENY");

    /// <inheritdoc/>
    public void EmulateEachRep(bool enable) =>
        MonitorControl.Operate(_calls, Number, MonitorOperation.EmulateEachRep, enable ? 1u : 0, "emulating each REP iteration");

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        try
        {
            new MonitorTeardown(_calls, _domain, _views, AnswerAll).Run(_enabled, _changedAccess || _views.ChangedHostAccess, _accessRequired);
        }
        finally
        {
            _enabled.Clear();
            _page.Dispose();
            _channel.Dispose();
            _domain.InvalidateMemory();
        }
    }

    // A vCPU that a response moves is to be put back in the end.
    private void NoteMove(in VmEvent response, int from)
    {
        if (((response.Flags & VmEventFlags.AlternateP2m) != 0 && response.AltP2mIndex != from)
            || (response.Flags & VmEventFlags.FastSinglestep) != 0)
        {
            _views.NoteMoved();
        }
    }

    private void Switch(MonitorEvent monitorEvent, bool on)
    {
        if (monitorEvent is not MonitorEvent.VmExit { Strict: true })
        {
            MonitorControl.Switch(_calls, Number, monitorEvent, on);
            return;
        }

        // Paused, no new one comes between the look and the change.
        _domain.Pause();
        try
        {
            if (CountOpen(VmEventReason.VmExit) is var open and not 0)
            {
                throw new HypervisorException(
                    Errno.EBUSY,
                    $"{open} vmexit events of domain {Number} are unanswered: answer them before the event is switched, or do not ask for strictness");
            }

            MonitorControl.Switch(_calls, Number, monitorEvent, on);
        }
        finally
        {
            _domain.Unpause();
        }
    }

    private int CountOpen(VmEventReason reason)
    {
        var open = _ring.CountUnconsumed(reason);
        for (var i = 0; i < _takenCount; i++)
        {
            open += _taken[i].Reason == reason ? 1 : 0;
        }

        return open;
    }

    /// <summary>Answers what was taken and not answered, and everything in the ring, with nothing but "go on".</summary>
    /// <returns>How many were answered.</returns>
    private int AnswerAll()
    {
        var answered = 0;
        while (_takenCount > 0)
        {
            Release(_taken[0]);
            answered++;
        }

        while (TryTake(out var request))
        {
            Release(request);
            answered++;
        }

        // Also what was put and never told of.
        if (_hasUnseenResponses)
        {
            Notify();
        }

        return answered;
    }

    private void Release(in VmEvent request)
    {
        var response = new VmEvent
        {
            Version = VmEvent.InterfaceVersion,
            Flags = request.Flags & VmEventFlags.VcpuPaused,
            Reason = request.Reason,
            VcpuId = request.VcpuId,
            AltP2mIndex = request.AltP2mIndex,
        };
        Respond(response);
    }

    private readonly struct NextRequest(MonitorRing ring) : ILook
    {
        public bool IsThere() => ring.UnconsumedRequests != 0;
    }
}
