namespace Introspect.Hypervisor.Core.Domains;

/// <summary>A turn of a vCPU: it runs so many instructions, or until it has nothing to do.</summary>
internal readonly record struct Turn(uint Vcpu, long Instructions);

/// <summary>
/// What decides on the interleaving of a domain's vCPUs when they run on one thread, and what happens between turns.
/// All of it depends on the guest alone, so that two runs are the same.
/// </summary>
internal interface ITurnOrder
{
    /// <summary>Who runs next.</summary>
    /// <param name="last">Who ran last; all ones at the start.</param>
    /// <param name="ready">Numbers of the vCPUs that have something to do, ascending; one at least.</param>
    Turn NextTurn(uint last, ReadOnlySpan<uint> ready);

    /// <summary>A turn begins.</summary>
    void TurnBegins(Vcpu vcpu);

    /// <summary>Instructions after which <see cref="TimePassed"/> has something to do.</summary>
    long UntilDeadline { get; }

    /// <summary>The vCPU ran a while: timers that are due go off.</summary>
    void TimePassed();

    /// <summary>A turn ended.</summary>
    void TurnEnds(Vcpu vcpu);

    /// <summary>Every vCPU waits: time goes on to the next timer. False: there is none.</summary>
    bool SkipToNextTimer();
}

/// <summary>
/// Runs all vCPUs of a domain on one thread, a turn after the other. The order follows what the guest does and
/// nothing else: a vCPU that a monitor, a full ring or a tool holds keeps its turn, and the others wait with it, so
/// that nobody outside can change the order by being slow. A turn is counted in instructions, and an exit of the
/// guest's is one more.
/// </summary>
internal sealed partial class VcpuInterleaver
{
    private const int ThreadStackBytes = 64 << 20;
    private readonly Domain _domain;
    private readonly ITurnOrder _order;
    private readonly object _gate = new();
    private readonly Thread _thread;
    private Vcpu? _current;
    private uint _last = uint.MaxValue;
    private bool _woken;
    private bool _stopped;

    public VcpuInterleaver(Domain domain, ITurnOrder order)
    {
        _domain = domain;
        _order = order;
        _thread = new Thread(Loop, ThreadStackBytes) { IsBackground = true, Name = $"d{domain.Id.Value} vcpus" };
    }

    /// <summary>True on the thread, in the vCPU's turn.</summary>
    public bool IsTurnOf(Vcpu vcpu) => Thread.CurrentThread == _thread && ReferenceEquals(_current, vcpu);

    /// <summary>Starts the thread.</summary>
    public void Start() => _thread.Start();

    /// <summary>A vCPU may have something to do again.</summary>
    public void Wake()
    {
        lock (_gate)
        {
            _woken = true;
            Monitor.Pulse(_gate);
        }
    }

    /// <summary>Ends the thread; its vCPUs are stopped.</summary>
    public void Stop()
    {
        lock (_gate)
        {
            _stopped = true;
            Monitor.Pulse(_gate);
        }

        if (_thread.IsAlive && Thread.CurrentThread != _thread)
        {
            _thread.Join();
        }
    }

    private void Loop()
    {
        var vcpus = _domain.Vcpus;
        var ready = new uint[vcpus.Count];
        StepIn();
        while (!Volatile.Read(ref _stopped))
        {
            if (_resumed is { } interrupted)
            {
                _resumed = null;
                if (!Play(interrupted))
                {
                    break;
                }

                continue;
            }

            var count = 0;
            foreach (var vcpu in vcpus)
            {
                if (vcpu.HasSomethingToDo)
                {
                    ready[count++] = vcpu.Id;
                }
            }

            if (count == 0)
            {
                if (!_order.SkipToNextTimer())
                {
                    Sleep();
                }

                continue;
            }

            if (!Play(_order.NextTurn(_last, ready.AsSpan(0, count))))
            {
                break;
            }
        }

        StepOut();
    }

    private bool Play(Turn turn)
    {
        _last = turn.Vcpu;
        var current = _domain.Vcpus[(int)turn.Vcpu];
        Volatile.Write(ref _current, current);
        _order.TurnBegins(current);
        var goesOn = current.TakeTurn(turn.Instructions, _order, this);
        _order.TurnEnds(current);
        Volatile.Write(ref _current, null);
        return goesOn;
    }

    private void Sleep()
    {
        StepOut();
        lock (_gate)
        {
            while (!_woken && !_stopped)
            {
                Monitor.Wait(_gate);
            }

            _woken = false;
        }

        StepIn();
    }
}
