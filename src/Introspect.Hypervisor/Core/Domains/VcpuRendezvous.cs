using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>
/// Where a vCPU meets the others of its domain: it has them leave the guest once (they forget translations and what
/// they may store to without a look), or keeps them out while it does what no single instruction of the host can do
/// atomically. One vCPU at a time; those who wait for their turn count as being out of the guest, so that two vCPUs
/// can want each other out.
/// </summary>
internal sealed class VcpuRendezvous(Domain domain)
{
    private readonly object _gate = new();
    private Vcpu? _holder;

    /// <summary>True while another vCPU keeps this one out of the guest.</summary>
    public bool KeepsOut(Vcpu vcpu) => Volatile.Read(ref _holder) is { } holder && !ReferenceEquals(holder, vcpu);

    /// <summary>Takes the turn. A vCPU must not rely on any translation that it made before.</summary>
    /// <param name="current">The vCPU on whose thread this runs; null for other threads.</param>
    public void Enter(Vcpu? current)
    {
        if (Monitor.TryEnter(_gate))
        {
            return;
        }

        if (current is null)
        {
            Monitor.Enter(_gate);
            return;
        }

        current.WaitsForOthers = true;
        Monitor.Enter(_gate);

        // Nobody is kept out by a holder any more, since that needs the turn, too.
        current.WaitsForOthers = false;
    }

    /// <summary>A vCPU that counted as being out of the guest goes on with its exit, when nobody keeps it out.</summary>
    public void Return(Vcpu current)
    {
        current.WaitsForOthers = false;
        while (KeepsOut(current))
        {
            Enter(current);
            Leave();
        }
    }

    /// <summary>Ends the turn.</summary>
    public void Leave() => Monitor.Exit(_gate);

    /// <summary>Asks the other vCPUs for something, and returns when each was out of the guest since. Only in one's turn.</summary>
    public void MakeOthersLeave(Vcpu current, AsyncEvents events)
    {
        current.WaitsForOthers = true;
        var vcpus = domain.Vcpus;
        for (var i = 0; i < vcpus.Count; i++)
        {
            if (!ReferenceEquals(vcpus[i], current))
            {
                vcpus[i].Request(events);
            }
        }

        for (var i = 0; i < vcpus.Count; i++)
        {
            if (!ReferenceEquals(vcpus[i], current))
            {
                // The request was made before the entries are read: whoever enters from now on has seen it, and who
                // entered before leaves for the kick.
                var before = vcpus[i].Entries;
                vcpus[i].Request(AsyncEvents.Kick);
                vcpus[i].WaitUntilLeft(before);
            }
        }

        current.WaitsForOthers = false;
    }

    /// <summary>Takes the turn and keeps the other vCPUs out of the guest until <see cref="Release"/>.</summary>
    public void Hold(Vcpu current)
    {
        Enter(current);
        Interlocked.Exchange(ref _holder, current);
        MakeOthersLeave(current, AsyncEvents.Kick);
    }

    /// <summary>Lets the others go on.</summary>
    public void Release()
    {
        Interlocked.Exchange(ref _holder, null);
        Monitor.Exit(_gate);
        var vcpus = domain.Vcpus;
        for (var i = 0; i < vcpus.Count; i++)
        {
            vcpus[i].Wake();
        }
    }
}
