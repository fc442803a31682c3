using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Tests.Mocks;

/// <summary>
/// A monitor without a hypervisor: tests push requests into its ring and look at the responses. It keeps the books that
/// a hypervisor keeps (what is enabled, who waits for an answer) and notes every breach of the protocol.
/// </summary>
public sealed class MockMonitor(MockDomain domain) : IMonitor
{
    private readonly object _gate = new();
    private readonly Queue<VmEvent> _ring = new();
    private readonly List<VmEvent> _responses = [];
    private readonly List<string> _enabled = [];
    private readonly List<string> _breaches = [];
    private readonly Dictionary<ulong, MemoryAccess> _access = [];
    private readonly HashSet<uint> _stepping = [];
    private int _unanswered;
    private int _unnotified;

    public const int Slots = 8;

    public MonitorCapabilities Capabilities { get; set; } = (MonitorCapabilities)0x3fff;

    /// <summary>False keeps no log of what happens for every event, for tests of speed and allocation.</summary>
    public bool IsVerbose { get; set; } = true;

    public bool KeepsResponses { get; set; } = true;

    public MockViews MockViews { get; } = new(domain.Log);

    public IAltp2m Views => MockViews;

    public bool IsDisposed { get; private set; }

    public bool ControlRegistersHeld { get; private set; }

    public long MalformedRequests { get; set; }

    public int RingSize => Slots;

    /// <summary>Called under no lock after each response, to play the guest's part.</summary>
    public Action<VmEvent>? OnResponse { get; set; }

    /// <summary>Called when the pump looks for requests, to play a guest that is never at a loss for one.</summary>
    public Action? OnWait { get; set; }

    public int Notifications { get; private set; }

    public int UnconsumedRequests
    {
        get
        {
            lock (_gate)
            {
                return _ring.Count;
            }
        }
    }

    public IReadOnlyList<VmEvent> Responses => Locked(() => _responses.ToArray());

    public int ResponseCount => Locked(() => _responses.Count);

    public IReadOnlyList<string> Enabled => Locked(() => _enabled.ToArray());

    public IReadOnlyList<string> Breaches => Locked(() => _breaches.ToArray());

    /// <summary>Requests taken or still in the ring, without a response.</summary>
    public int Unanswered => Locked(() => _unanswered);

    /// <summary>Responses that no notification told of.</summary>
    public int Unnotified => Locked(() => _unnotified);

    public IReadOnlyDictionary<ulong, MemoryAccess> Access => Locked(() => new Dictionary<ulong, MemoryAccess>(_access));

    public bool IsStepping(uint vcpu) => Locked(() => _stepping.Contains(vcpu));

    /// <summary>Puts a request into the ring and signals. Waits while the ring is full, as a vCPU does.</summary>
    public void Push(in VmEvent request)
    {
        lock (_gate)
        {
            while (_ring.Count == Slots && !IsDisposed)
            {
                Monitor.Wait(_gate);
            }

            _ring.Enqueue(request);
            _unanswered++;
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>Puts requests into the ring in one go, so that one wake-up finds them all.</summary>
    public void PushAll(params VmEvent[] requests)
    {
        lock (_gate)
        {
            foreach (var request in requests)
            {
                Push(in request);
            }
        }
    }

    /// <summary>Puts a request into the ring if its event is enabled at that moment, as a hypervisor does.</summary>
    public void PushIfEnabled(string name, in VmEvent request)
    {
        lock (_gate)
        {
            while (_ring.Count == Slots && _enabled.Contains(name))
            {
                Monitor.Wait(_gate);
            }

            if (_enabled.Contains(name))
            {
                Push(in request);
            }
        }
    }

    public void WaitForResponses(int count)
    {
        lock (_gate)
        {
            var patience = Environment.TickCount64 + 30_000;
            while (_responses.Count < count || _unnotified > 0)
            {
                if (Environment.TickCount64 > patience)
                {
                    throw new TimeoutException($"{_responses.Count} of {count} responses came, {_unnotified} of them without a notification");
                }

                Monitor.Wait(_gate, 50);
            }
        }
    }

    public bool TryTake(out VmEvent request)
    {
        Log("TryTake");
        lock (_gate)
        {
            Check("TryTake");
            var taken = _ring.TryDequeue(out request);
            Monitor.PulseAll(_gate);
            return taken;
        }
    }

    public void Respond(in VmEvent response)
    {
        if (IsVerbose)
        {
            Log("Respond", response.Reason.ToString());
        }

        lock (_gate)
        {
            Check("Respond");
            if (_unanswered-- <= _ring.Count)
            {
                _breaches.Add("a response without a request");
            }

            if ((response.Flags & VmEventFlags.ToggleSinglestep) != 0 && !_stepping.Remove(response.VcpuId))
            {
                _stepping.Add(response.VcpuId);
            }

            _unnotified++;
            if (KeepsResponses)
            {
                _responses.Add(response);
            }
        }

        OnResponse?.Invoke(response);
    }

    public void Notify()
    {
        Log("Notify");
        lock (_gate)
        {
            Check("Notify");
            Notifications++;
            _unnotified = 0;
            Monitor.PulseAll(_gate);
        }
    }

    public bool Wait(TimeSpan timeout, CancellationToken cancellationToken)
    {
        Log("Wait");
        OnWait?.Invoke();
        using var registration = cancellationToken.CanBeCanceled ? cancellationToken.UnsafeRegister(static self => ((MockMonitor)self!).Wake(), this) : default;
        lock (_gate)
        {
            Check("Wait");
            var until = Environment.TickCount64 + (long)timeout.TotalMilliseconds;
            while (_ring.Count == 0 && !cancellationToken.IsCancellationRequested)
            {
                var rest = until - Environment.TickCount64;
                if (rest <= 0 || !Monitor.Wait(_gate, (int)rest))
                {
                    break;
                }
            }

            return _ring.Count > 0 && !cancellationToken.IsCancellationRequested;
        }
    }

    public void Enable(MonitorEvent monitorEvent)
    {
        var name = NameOf(monitorEvent);
        Log("Enable", name);
        lock (_gate)
        {
            Check("Enable");
            if (_enabled.Contains(name))
            {
                throw new HypervisorException(Errno.EEXIST, $"mock: {name} is enabled already");
            }

            _enabled.Add(name);
        }
    }

    public void Disable(MonitorEvent monitorEvent)
    {
        var name = NameOf(monitorEvent);
        Log("Disable", name);
        lock (_gate)
        {
            Check("Disable");
            if (!_enabled.Remove(name))
            {
                throw new HypervisorException(Errno.EEXIST, $"mock: {name} is not enabled");
            }

            Monitor.PulseAll(_gate);
        }
    }

    public void SetMemoryAccess(Gfn first, uint count, MemoryAccess access)
    {
        if (IsVerbose)
        {
            Log("SetMemoryAccess", $"{first}+{count} {access}");
        }

        lock (_gate)
        {
            Check("SetMemoryAccess");
            for (ulong i = 0; i < count; i++)
            {
                if (access == MemoryAccess.Rwx)
                {
                    _access.Remove(first.Value + i);
                }
                else
                {
                    _access[first.Value + i] = access;
                }
            }
        }
    }

    public MemoryAccess GetMemoryAccess(Gfn gfn)
    {
        Log("GetMemoryAccess", gfn.ToString());
        return Locked(() => _access.GetValueOrDefault(gfn.Value, MemoryAccess.Rwx));
    }

    public void SetDefaultAccess(MemoryAccess access) => Log("SetDefaultAccess", access.ToString());

    public void ControlRegisters()
    {
        Log("ControlRegisters");
        ControlRegistersHeld = true;
    }

    public void EmulateEachRep(bool enable) => Log("EmulateEachRep", enable ? "on" : "off");

    public void Dispose()
    {
        domain.Log.Called("Dispose");
        lock (_gate)
        {
            IsDisposed = true;
            Monitor.PulseAll(_gate);
        }
    }

    /// <summary>A short name with what tells two events of a kind apart.</summary>
    public static string NameOf(MonitorEvent monitorEvent) => monitorEvent switch
    {
        MonitorEvent.ControlRegister register => register.Register.ToString(),
        MonitorEvent.Msr msr => $"Msr 0x{msr.Number:x}",
        _ => monitorEvent.GetType().Name,
    };

    private void Wake()
    {
        lock (_gate)
        {
            Monitor.PulseAll(_gate);
        }
    }

    private void Log(string method, string argument = "")
    {
        if (IsVerbose)
        {
            domain.Log.Called(method, argument);
        }
    }

    private void Check(string method)
    {
        if (IsDisposed)
        {
            _breaches.Add($"{method} after Dispose");
        }
    }

    private T Locked<T>(Func<T> read)
    {
        lock (_gate)
        {
            return read();
        }
    }
}
