using Introspect.Daemon.Configuration;
using Introspect.Daemon.Tracing;
using Introspect.Rules.Handlers;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Service;

/// <summary>The handlers that a policy stands for, made anew for each domain.</summary>
internal static class PolicyHandlers
{
    // What decides comes before what only looks on.
    private const int Deciding = 0;
    private const int Watching = 1000;

    private const int Ruling = 100;

    /// <summary>Makes them.</summary>
    /// <param name="policy">The policy.</param>
    /// <param name="rules">Its rules on the domain; null where there are none, or no domain yet.</param>
    public static IReadOnlyList<HandlerRegistration> Make(DomainPolicy policy, DomainRules? rules = null)
    {
        var handlers = new List<HandlerRegistration>();
        if (!policy.Selection.IsEmpty)
        {
            handlers.Add(new(new TraceHandler(policy.Selection, steps: 0, optional: false, demo: null), Watching, policy.Fail));
        }

        if (rules is not null)
        {
            handlers.Add(new(rules.Handler, Ruling, policy.Fail));
        }

        if (policy.DenyProtectionClears)
        {
            handlers.Add(new(new ProtectCr4Handler(), Deciding, policy.Fail));
        }

        return handlers;
    }
}
