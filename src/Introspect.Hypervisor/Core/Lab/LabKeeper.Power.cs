using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Xenstore;

namespace Introspect.Hypervisor.Core.Lab;

/// <summary>Guests that are asked to end themselves: by a node in xenstore, which a guest empties when it has read it.</summary>
internal sealed partial class LabKeeper
{
    private const string RequestNode = "control/shutdown";

    /// <inheritdoc/>
    public LabPowerAnswer Power(Guid uuid, LabPowerStep step, TimeSpan patience)
    {
        KeptDomain kept;
        Domain domain;
        bool hasEnded;
        lock (_gate)
        {
            kept = FindKept(uuid);
            (domain, hasEnded) = (kept.Domain, kept.HasEnded);
        }

        var node = $"{StorePath.Of(domain.Id.Value)}/{RequestNode}";
        switch (step)
        {
            case LabPowerStep.Poweroff or LabPowerStep.Reboot when hasEnded || domain.IsDying || domain.IsShutDown:
                throw new HypervisorException(Errno.ENODEV, $"domain '{kept.Name}' has ended: it cannot be asked for anything");
            case LabPowerStep.Poweroff or LabPowerStep.Reboot:
                _machine.Store.Replace(node, step == LabPowerStep.Reboot ? "reboot" : "poweroff");
                return Answer(kept, domain, node);
            case LabPowerStep.Withdraw:
                var last = Answer(kept, domain, node);
                if (last.IsOpen())
                {
                    _machine.Store.Replace(node, "");
                }

                return last;
            default:
                return Await(kept, domain, node, patience);
        }
    }

    private LabPowerAnswer Await(KeptDomain kept, Domain domain, string node, TimeSpan patience)
    {
        // Looked at more often than the node changes: a domain can go without a word.
        const int Glance = 100;
        using var changed = new ManualResetEventSlim();
        using var watch = _machine.Store.Watch(node, _ => changed.Set());
        var deadline = Environment.TickCount64 + (long)patience.TotalMilliseconds;
        while (true)
        {
            changed.Reset();
            var answer = Answer(kept, domain, node);
            var left = deadline - Environment.TickCount64;
            if (!answer.IsOpen() || left <= 0)
            {
                return answer;
            }

            changed.Wait((int)Math.Min(left, Glance));
        }
    }

    private LabPowerAnswer Answer(KeptDomain kept, Domain domain, string node)
    {
        lock (_gate)
        {
            if (kept.HasEnded || kept.Domain != domain || domain.IsShutDown || domain.IsDying)
            {
                return LabPowerAnswer.Ended;
            }
        }

        return _machine.Store.Read(node) is not { Length: > 0 } ? LabPowerAnswer.Acknowledged
            : _machine.Store.IsWatchedBy(domain.Id.Value, node) ? LabPowerAnswer.Unanswered
            : LabPowerAnswer.Unheard;
    }
}
