using Introspect.Daemon.Cli;
using Introspect.Daemon.Configuration;
using Introspect.Hypervisor;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Service;

/// <summary>What became of new policies.</summary>
/// <param name="Mistakes">Why they are not in force, each one line; empty when they are.</param>
/// <param name="Changed">Domains that are watched in another way now, or not any more, or newly.</param>
internal sealed record PolicyReload(IReadOnlyList<string> Mistakes, int Changed);

/// <content>Other policies while domains are watched: all of them, or none.</content>
internal sealed partial class MonitoringService
{
    /// <summary>
    /// Takes new policies over once every domain that is watched was found to be able to follow them. On those whose policy
    /// changed the handlers change between two events; the others are not touched.
    /// </summary>
    public async Task<PolicyReload> ReloadAsync(IReadOnlyList<DomainPolicy> policies)
    {
        var done = new TaskCompletionSource<PolicyReload>(TaskCreationOptions.RunContinuationsAsynchronously);
        return _signals.Writer.TryWrite(new Signal.Reload(policies, done)) ? await done.Task.ConfigureAwait(false) : new(["the service stops"], 0);
    }

    private async Task ReloadAsync(Signal.Reload reload)
    {
        var table = new PolicyTable(reload.Policies, _policies);
        var domains = _session?.Hypervisor.ListDomains() ?? [];
        var mistakes = new List<string>();
        var changes = await PrepareAsync(table, domains, mistakes).ConfigureAwait(false);
        if (mistakes.Count == 0)
        {
            await ApplyAsync(changes, mistakes).ConfigureAwait(false);
        }

        if (mistakes.Count != 0)
        {
            changes.ForEach(change => change.Change.Handlers?.Plugins.Abandon());
            reload.Done.TrySetResult(new(mistakes, 0));
            return;
        }

        _policies = table;
        var changed = changes.Count;
        foreach (var domain in domains)
        {
            var isWatched = _watches.ContainsKey(domain.Id);
            if (isWatched != table.Find(domain) is not null)
            {
                changed++;
                _ = RemoveAsync(domain.Id, "no policy is for it any more");
                if (!isWatched && IsAlive(domain))
                {
                    Consider(domain);
                }
            }
        }

        Log.Reloaded(logger, changed, reload.Policies.Count);
        reload.Done.TrySetResult(new([], changed));
    }

    private async Task<List<(DomainWatch Watch, WatchChange Change)>> PrepareAsync(PolicyTable table, IReadOnlyList<DomainInfo> domains, List<string> mistakes)
    {
        var changes = new List<(DomainWatch Watch, WatchChange Change)>();
        foreach (var domain in domains)
        {
            if (!_watches.TryGetValue(domain.Id, out var watch) || table.Find(domain) is not { } policy || PolicyComparer.AreSame(watch.Policy, policy, domain))
            {
                continue;
            }

            try
            {
                changes.Add((watch, await watch.PrepareAsync(policy).ConfigureAwait(false)));
            }
            catch (HypervisorException e) when (e.Error == Errno.ESRCH)
            {
                // It went meanwhile, which is no mistake of the policies; should it come again, it is by the new ones.
            }
            catch (Exception e) when (e is PumpStartException or ArgumentException or HypervisorException)
            {
                mistakes.Add($"domain {watch.Label}: {UserError.OneLine(e.Message)}");
            }
        }

        return changes;
    }

    private static async Task ApplyAsync(List<(DomainWatch Watch, WatchChange Change)> changes, List<string> mistakes)
    {
        var before = new Stack<(DomainWatch Watch, DomainPolicy Policy)>();
        foreach (var (watch, change) in changes)
        {
            var old = watch.Policy;
            try
            {
                await watch.ChangeAsync(change).ConfigureAwait(false);
                before.Push((watch, old));
            }
            catch (Exception e) when (e is PumpStartException or HypervisorException or TimeoutException or ArgumentException)
            {
                mistakes.Add($"domain {watch.Label}: {UserError.OneLine(e.Message)}");
                break;
            }
        }

        // All or none: where one domain cannot follow, the others go back.
        while (mistakes.Count != 0 && before.TryPop(out var changed))
        {
            try
            {
                await changed.Watch.ChangeAsync(await changed.Watch.PrepareAsync(changed.Policy).ConfigureAwait(false)).ConfigureAwait(false);
            }
            catch (Exception e) when (e is PumpStartException or HypervisorException or TimeoutException or ArgumentException)
            {
                mistakes.Add($"domain {changed.Watch.Label}: it could not go back to its old policy: {UserError.OneLine(e.Message)}");
            }
        }
    }

    private static bool IsAlive(DomainInfo domain) =>
        domain.State is not (DomainState.PowerOff or DomainState.Reboot or DomainState.Crash or DomainState.Dying);
}
