using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.State;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>A domain as a fork of another one, and as the parent of forks. Changed under <see cref="Machine.ForkLock"/>.</summary>
internal sealed partial class Domain
{
    private Domain? _parent;

    /// <summary>The domain of which this is a fork, or null.</summary>
    public Domain? Parent => Volatile.Read(ref _parent);

    /// <summary>Forks that the domain has: it is paused once for each.</summary>
    public int ForkCount { get; private set; }

    /// <summary>Torn down. A parent is kept in the list until its last fork has gone.</summary>
    public bool IsGone { get; private set; }

    /// <summary>No interrupt is given to the vCPUs (<c>XENMEM_FORK_BLOCK_INTERRUPTS</c>).</summary>
    public bool BlocksInterrupts { get; set; }

    /// <summary>The way to pages that a fork may have to get from its parent.</summary>
    public DomainPages Pages { get; }

    /// <summary>
    /// State beside <see cref="ContextSections"/>, of which Xen's saved context has no record: forks and resets copy it,
    /// in this order.
    /// </summary>
    public IList<IHvmContextSection> CoreSections { get; } = [];

    /// <summary>Becomes a fork: from now on the parent stands still.</summary>
    public void JoinParent(Domain parent)
    {
        parent.Pause();
        parent.ForkCount++;
        Ram.MaxPages = parent.Ram.MaxPages;
        Ram.BeginToTrack();
        Volatile.Write(ref _parent, parent);
    }

    /// <summary>Is no fork any more.</summary>
    public void LeaveParent()
    {
        if (_parent is { } parent)
        {
            Volatile.Write(ref _parent, null);
            parent.ForkGone();
        }
    }

    /// <summary>Drops what was decoded of a page that is being overwritten.</summary>
    public void DropCode(ulong machinePage)
    {
        var vcpus = _vcpus;
        ReadOnlySpan<ulong> pages = [machinePage];
        foreach (var vcpu in vcpus)
        {
            vcpu.PagesWritten(pages);
        }

        if (vcpus.Length > 1)
        {
            MakeVcpusLeave(AsyncEvents.Kick);
        }
    }

    private void ForkGone()
    {
        ForkCount--;
        if (ForkCount == 0 && IsGone)
        {
            Physmap.Dispose();
            return;
        }

        if (ForkCount == 0)
        {
            // Translations that allow writing to what was lent meanwhile.
            FlushTlbs();
        }

        Unpause();
    }
}
