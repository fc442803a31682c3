namespace Introspect.Hypervisor.Core.Domains;

/// <summary>
/// Pauses a domain for a caller that may be one of its own vCPUs, which then goes on (<c>domain_pause_except_self</c>).
/// </summary>
internal sealed class CallerPause(Domain domain)
{
    // One vCPU at a time pauses the others: two that paused each other would wait for ever.
    private readonly Lock _pausing = new();

    /// <summary>Pauses, and returns when no other vCPU is in the guest.</summary>
    /// <param name="current">The vCPU on whose thread this is called, or null.</param>
    /// <returns>False, and nothing is paused: the domain is being destroyed.</returns>
    public bool TryPause(Vcpu? current)
    {
        if (current is null)
        {
            domain.Pause();
            return true;
        }

        // Xen makes the one that comes second ask again; here it stands still until the first is done, to the same effect.
        while (!_pausing.TryEnter())
        {
            current.Deschedule();
            if (!current.Reschedule())
            {
                return false;
            }
        }

        try
        {
            current.WaitsForOthers = true;
            foreach (var vcpu in domain.Vcpus)
            {
                if (!ReferenceEquals(vcpu, current))
                {
                    vcpu.PauseNoSync();
                }
            }

            foreach (var vcpu in domain.Vcpus)
            {
                if (!ReferenceEquals(vcpu, current))
                {
                    vcpu.WaitUntilSaved();
                }
            }

            return true;
        }
        finally
        {
            current.WaitsForOthers = false;
            _pausing.Exit();
        }
    }

    /// <summary>Undoes it.</summary>
    public void Unpause(Vcpu? current)
    {
        if (current is null)
        {
            domain.Unpause();
            return;
        }

        foreach (var vcpu in domain.Vcpus)
        {
            if (!ReferenceEquals(vcpu, current))
            {
                vcpu.Unpause();
            }
        }
    }
}
