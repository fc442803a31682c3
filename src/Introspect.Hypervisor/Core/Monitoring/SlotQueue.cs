using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.Monitoring;

/// <summary>What a vCPU that waited for a slot got.</summary>
internal enum SlotGrant
{
    None = 0,

    /// <summary>A slot is reserved for it.</summary>
    Given,

    /// <summary>There will be none: the ring is gone.</summary>
    Refused,
}

/// <summary>
/// vCPUs that wait for a slot in a full ring, first come first served. Its user holds the ring's lock around
/// everything but <see cref="Wait"/>. Nothing is allocated after its making.
/// </summary>
internal sealed class SlotQueue
{
    private readonly Waiter[] _waiters;
    private readonly uint[] _order;
    private int _first;

    public SlotQueue(int vcpus)
    {
        _waiters = new Waiter[vcpus];
        for (var n = 0; n < vcpus; n++)
        {
            _waiters[n] = new Waiter();
        }

        _order = new uint[vcpus];
    }

    /// <summary>How many wait.</summary>
    public int Count { get; private set; }

    /// <summary>Puts a vCPU at the end. A vCPU is in the queue once at most.</summary>
    public void Enqueue(Vcpu vcpu)
    {
        _order[(_first + Count++) % _order.Length] = vcpu.Id;
    }

    /// <summary>Takes the first out.</summary>
    public Waiter Dequeue()
    {
        var waiter = _waiters[_order[_first]];
        _first = (_first + 1) % _order.Length;
        Count--;
        return waiter;
    }

    /// <summary>Returns what the vCPU, which is in the queue, is granted. Without the ring's lock.</summary>
    public SlotGrant Wait(Vcpu vcpu) => _waiters[vcpu.Id].Wait();

    /// <summary>A place in the queue.</summary>
    internal sealed class Waiter
    {
        private readonly object _gate = new();
        private SlotGrant _grant;

        /// <summary>Ends the wait.</summary>
        public void Grant(SlotGrant grant)
        {
            lock (_gate)
            {
                _grant = grant;
                Monitor.Pulse(_gate);
            }
        }

        /// <summary>Waits for <see cref="Grant"/>, which may have come already.</summary>
        public SlotGrant Wait()
        {
            lock (_gate)
            {
                while (_grant == SlotGrant.None)
                {
                    Monitor.Wait(_gate);
                }

                var grant = _grant;
                _grant = SlotGrant.None;
                return grant;
            }
        }
    }
}
