using System.Runtime.InteropServices;
using Introspect.Benchmarks.Measuring;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Ring;

namespace Introspect.Benchmarks.Pump;

/// <summary>
/// A monitor whose ring is a real page with both sides on the pump's own thread: whenever the pump would sleep, the
/// responses are taken and the ring is filled anew. So what is timed is what an event costs the pump, without any
/// thread waking another. The hypervisor's side of the ring is in the figure, being a few copies.
/// </summary>
internal sealed unsafe class LoopRing : IMonitor
{
    private readonly void* _page;
    private readonly HypervisorRing _guest;
    private readonly MonitorRing _monitor;
    private readonly VmEvent[] _requests;
    private readonly Sample[] _samples;
    private readonly int _eventsPerSample;
    private readonly ManualResetEventSlim _finished = new();
    private StopWatch _watch;
    private long _sent;
    private int _next;
    private int _sample;
    private bool _quiet;

    public IAltp2m Views => throw new NotSupportedException("this monitor has no views");

    /// <param name="requests">What the guest causes, in turn.</param>
    /// <param name="eventsPerSample">Events of a repetition.</param>
    /// <param name="warmUps">Repetitions that do not count.</param>
    /// <param name="repetitions">Those that do.</param>
    public LoopRing(VmEvent[] requests, int eventsPerSample, int warmUps, int repetitions)
    {
        _page = NativeMemory.AlignedAlloc(SharedRing.PageSize, SharedRing.PageSize);
        _guest = new((nint)_page);
        _monitor = new((nint)_page);
        _monitor.Initialise();
        _requests = requests;
        _eventsPerSample = eventsPerSample;
        _samples = new Sample[repetitions];
        _sample = -warmUps - 1;
    }

    public MonitorCapabilities Capabilities => (MonitorCapabilities)0x3FFF;

    public int UnconsumedRequests => _monitor.UnconsumedRequests;

    public int RingSize => _monitor.Slots;

    public long MalformedRequests => 0;

    /// <summary>Responses with DENY: shows that the rules were asked.</summary>
    public long Denied { get; private set; }

    /// <summary>The samples, once they are all taken.</summary>
    public Sample[] Finish(TimeSpan patience) =>
        _finished.Wait(patience) ? _samples : throw new TimeoutException("the pump does not get on");

    public bool TryTake(out VmEvent request) => _monitor.Take(out request) == RingStatus.Taken;

    public void Respond(in VmEvent response) => _monitor.Put(in response);

    public void Notify() => _monitor.Push();

    public bool Wait(TimeSpan timeout, CancellationToken cancellationToken)
    {
        while (_guest.Take(out var response) == RingStatus.Taken)
        {
            Denied += (response.Flags & VmEventFlags.Deny) != 0 ? 1 : 0;
        }

        if (_quiet)
        {
            cancellationToken.WaitHandle.WaitOne(timeout);
            return false;
        }

        if (_sent % _eventsPerSample == 0 && !NextSample())
        {
            return false;
        }

        var room = Math.Min(_guest.FreeRequests, _eventsPerSample - (_sent % _eventsPerSample));
        for (var n = 0; n < room; n++)
        {
            _guest.Put(in _requests[_next]);
            _next = _next + 1 == _requests.Length ? 0 : _next + 1;
        }

        _sent += room;
        _guest.Push();
        return true;
    }

    public void Enable(MonitorEvent monitorEvent)
    {
    }

    public void Disable(MonitorEvent monitorEvent)
    {
    }

    public void SetMemoryAccess(Gfn first, uint count, MemoryAccess access)
    {
    }

    public MemoryAccess GetMemoryAccess(Gfn gfn) => MemoryAccess.Rwx;

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
        NativeMemory.AlignedFree(_page);
        _finished.Dispose();
    }

    private bool NextSample()
    {
        if (_sample >= 0)
        {
            _samples[_sample] = _watch.StopOnThread(_eventsPerSample);
        }

        _sample++;
        if (_sample == _samples.Length)
        {
            _quiet = true;
            _finished.Set();
            return false;
        }

        _watch = StopWatch.StartOnThread();
        return true;
    }
}
