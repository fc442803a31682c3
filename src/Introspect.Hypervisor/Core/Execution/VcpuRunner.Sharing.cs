using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>What the vCPUs of a domain must do together because they share its memory.</summary>
internal sealed partial class VcpuRunner
{
    // How often a page that others go on storing to is claimed before its code is run without being kept.
    private const int ClaimTries = 2;

    private bool _holdsOthers;
    private bool _yielded;

    private bool IsAlone => _domain.Vcpus.Count <= 1;

    /// <inheritdoc/>
    public bool ClaimCodePage(ref byte note)
    {
        if (IsAlone)
        {
            PageNotes.Change(ref note, PageInfoBits.None, PageInfoBits.HasCode);
            return true;
        }

        var rendezvous = _domain.Rendezvous;
        rendezvous.Enter(_vcpu);
        try
        {
            for (var n = 0; n < ClaimTries; n++)
            {
                // Behind the turn of whoever set the bit, and so of his waiting, too.
                var before = PageNotes.Change(ref note, PageInfoBits.None, PageInfoBits.HasCode);
                if ((before & PageInfoBits.HasCode) != 0)
                {
                    return true;
                }

                PageNotes.Change(ref note, PageInfoBits.Stored, PageInfoBits.None);
                if ((before & PageInfoBits.Stored) == 0)
                {
                    return true; // nobody can be storing to it
                }

                // TLB entries that allow stores go, and a store under way is finished when its vCPU leaves.
                rendezvous.MakeOthersLeave(_vcpu, AsyncEvents.FlushTlb | AsyncEvents.Kick);
                if ((Volatile.Read(ref note) & (byte)PageInfoBits.HasCode) != 0)
                {
                    return true;
                }
            }

            return false;
        }
        finally
        {
            rendezvous.Leave();
        }
    }

    /// <inheritdoc/>
    public void BeginExclusive()
    {
        if (!IsAlone)
        {
            _domain.Rendezvous.Hold(_vcpu);
            _holdsOthers = true;
        }
    }

    /// <inheritdoc/>
    public void EndExclusive()
    {
        if (_holdsOthers)
        {
            _holdsOthers = false;
            _domain.Rendezvous.Release();
        }
    }

    /// <summary>The vCPU has nothing to do before another has done something.</summary>
    public void YieldToOthers()
    {
        _yielded = true;
        if (!_platform.IsInterleaved)
        {
            Thread.Yield();
        }
    }
}
