using System.Collections.Concurrent;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;

namespace Introspect.Daemon.Tests.Fakes;

/// <summary>A monitor whose requests a test makes up.</summary>
internal sealed class FakeMonitor(MonitorCapabilities capabilities) : IMonitor
{
    private readonly ConcurrentQueue<VmEvent> _requests = new();
    private readonly SemaphoreSlim _signal = new(0);

    public IAltp2m Views => throw new NotSupportedException("this monitor has no views");

    public ConcurrentQueue<VmEvent> Responses { get; } = new();

    public List<MonitorEvent> Enabled { get; } = [];

    public Dictionary<ulong, MemoryAccess> Access { get; } = [];

    public bool IsDisposed { get; private set; }

    /// <summary>When set, waiting fails with it: the domain went away.</summary>
    public Errno Fail { get; set; }

    public MonitorCapabilities Capabilities => capabilities;

    public int UnconsumedRequests => _requests.Count;

    public int RingSize => 8;

    public long MalformedRequests => 0;

    public void Send(VmEvent request)
    {
        request.Version = VmEvent.InterfaceVersion;
        _requests.Enqueue(request);
        _signal.Release();
    }

    public bool TryTake(out VmEvent request) => _requests.TryDequeue(out request);

    /// <summary>Called when an event is answered, by the pump's thread.</summary>
    public Action OnRespond { get; set; } = () => { };

    public void Respond(in VmEvent response)
    {
        OnRespond();
        Responses.Enqueue(response);
    }

    public void Notify()
    {
    }

    public bool Wait(TimeSpan timeout, CancellationToken cancellationToken)
    {
        if (Fail != Errno.None)
        {
            throw new HypervisorException(Fail, "the event channel is gone");
        }

        if (!_requests.IsEmpty)
        {
            return true;
        }

        try
        {
            return _signal.Wait(timeout, cancellationToken);
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    /// <summary>Events that are refused though they are offered.</summary>
    public Func<MonitorEvent, bool> Refuse { get; set; } = _ => false;

    public void Enable(MonitorEvent monitorEvent)
    {
        if (Refuse(monitorEvent))
        {
            throw new HypervisorException(Errno.ENOMEM, $"enabling {monitorEvent} was refused");
        }

        Enabled.Add(monitorEvent);
    }

    public void Disable(MonitorEvent monitorEvent) => Enabled.RemoveAll(e => e.GetType() == monitorEvent.GetType());

    public void SetMemoryAccess(Gfn first, uint count, MemoryAccess access)
    {
        for (var i = 0u; i < count; i++)
        {
            Access[first.Value + i] = access;
        }
    }

    public MemoryAccess GetMemoryAccess(Gfn gfn) => Access.GetValueOrDefault(gfn.Value, MemoryAccess.Rwx);

    public void SetDefaultAccess(MemoryAccess access)
    {
    }

    public void ControlRegisters()
    {
    }

    public void EmulateEachRep(bool enable)
    {
    }

    public void Dispose()
    {
        IsDisposed = true;
        Enabled.Clear();
        _signal.Dispose();
    }
}
