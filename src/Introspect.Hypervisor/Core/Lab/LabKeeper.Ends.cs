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
        if (action is EndAction.CoredumpDestroy or EndAction.CoredumpRestart)
        {
            DumpAtEnd(kept, domain, reason);
            action = action == EndAction.CoredumpDestroy ? EndAction.Destroy : EndAction.Restart;
        }

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
#pragma warning disable CA1031 // Whatever goes wrong at one domain's end, the other domains go on.
        catch (Exception failure)
#pragma warning restore CA1031
        {
            _log($"domain '{kept.Name}' could not be seen to after its {reason}: {failure.Message}");
            End(kept, reason, failure.Message);
        }
    }

    // As with xl, what is to be done behind it is done, whether or not there is room for the core.
    private void DumpAtEnd(KeptDomain kept, Domain domain, string reason)
    {
        var path = LabDumps.PathFor(_dumps, kept.Name);
        try
        {
#pragma warning disable CA1416 // This is Linux, as the library's own calls into libc say.
            LabFiles.Guard(_dumps, "folder of core dumps", () => Directory.CreateDirectory(_dumps, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute));
#pragma warning restore CA1416
            DumpCore(domain, path);
            _log($"domain '{kept.Name}' ended ({reason}): its core is in {path}");
        }
#pragma warning disable CA1031 // As above.
        catch (Exception failure)
#pragma warning restore CA1031
        {
            _log($"the core of domain '{kept.Name}' could not be dumped after its {reason}: {failure.Message}");
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
        domain.SetHandle(Guid.NewGuid());
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
