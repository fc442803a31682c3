using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Host;

namespace Introspect.Hypervisor.Core.Lab;

/// <summary>What is done when domains end: on a thread of its own, since a domain cannot be taken away on its vCPU's.</summary>
internal sealed partial class LabKeeper
{
    private void OnEnded(Domain domain)
    {
        lock (_gate)
        {
            _ended.Enqueue(domain);
            Monitor.PulseAll(_gate);
        }
    }

    private void HandleEnds()
    {
        while (true)
        {
            KeptDomain? kept;
            Domain domain;
            lock (_gate)
            {
                while (_ended.Count == 0 && !_stopped)
                {
                    Monitor.Wait(_gate);
                }

                if (_stopped)
                {
                    return;
                }

                domain = _ended.Dequeue();
                kept = _kept.Find(candidate => candidate.Domain == domain && !candidate.HasEnded);
            }

            if (kept is null)
            {
                continue; // nobody's, or its end is known
            }

            if (domain.IsDying)
            {
                End(kept, "destroyed");
            }
            else if (domain.IsShutDown)
            {
                HandleShutdown(kept, domain);
            }
        }
    }

    private void HandleShutdown(KeptDomain kept, Domain domain)
    {
        var reason = KeptDomain.Describe(domain.ShutdownReason);
        var action = kept.ActionFor(domain.ShutdownReason);
        Drain(domain);
        try
        {
            switch (action)
            {
                case EndAction.Preserve:
                    End(kept, reason);
                    break;
                case EndAction.Destroy:
                    End(kept, reason);
                    Destroy(domain);
                    break;
                case EndAction.Restart or EndAction.RenameRestart:
                    Restart(kept, domain, reason, action == EndAction.RenameRestart);
                    break;
            }
        }
        catch (HypervisorException failure)
        {
            _log($"domain '{kept.Name}' could not be seen to after its {reason}: {failure.Message}");
            End(kept, reason, failure.Message);
        }
    }

    private void Restart(KeptDomain kept, Domain before, string reason, bool keepsBefore)
    {
        if (keepsBefore)
        {
            SetAside(kept, before);
        }

        lock (_gate)
        {
            // Before it goes, so that its going is not taken for the end.
            kept.Reason = reason;
        }

        if (!keepsBefore)
        {
            Destroy(before);
        }

        var domain = _builder.Build(kept.Description!, kept.Uuid, out var warning);
        lock (_gate)
        {
            kept.Warning = warning;
            kept.Begin(domain);
            Listen(kept);
        }

        Unpause(domain);
    }

    // The one that ended gets a name and a UUID of its own.
    private void SetAside(KeptDomain kept, Domain domain)
    {
        var name = kept.Name;
        for (var n = 1; _machine.Domains.Any(other => other.Name == name); n++)
        {
            name = $"{kept.Name}-{n}";
        }

        ToolstackCalls.Check(_calls.Toolstack.SetDomainName(domain.Id.Value, name), $"renaming domain {domain.Id} to '{name}'");
        using var _ = _machine.ControlLock.EnterScope();
        domain.Handle = Guid.NewGuid();
    }

    private void End(KeptDomain? kept, string reason, string? failure = null)
    {
        if (kept is null)
        {
            return;
        }

        lock (_gate)
        {
            (kept.HasEnded, kept.Reason, kept.Failure) = (true, reason, failure);
        }

        NoteChange();
    }
}
