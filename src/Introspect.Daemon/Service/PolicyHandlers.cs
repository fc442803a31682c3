using Introspect.Daemon.Configuration;
using Introspect.Daemon.Tracing;
using Introspect.Rules.Handlers;

namespace Introspect.Daemon.Service;

/// <summary>The handlers that a policy stands for, made anew for each domain.</summary>
internal static class PolicyHandlers
{
    // What decides comes before what only looks on.
    private const int Deciding = 0;
    private const int Watching = 1000;

    /// <summary>Makes them.</summary>
    public static IReadOnlyList<HandlerRegistration> Make(DomainPolicy policy)
    {
        var handlers = new List<HandlerRegistration>();
        if (!policy.Selection.IsEmpty)
        {
            handlers.Add(new(new TraceHandler(policy.Selection, steps: 0, optional: false, demo: null), Watching, policy.Fail));
        }

        if (policy.DenyProtectionClears)
        {
            handlers.Add(new(new ProtectCr4Handler(), Deciding, policy.Fail));
        }

        return handlers;
    }
}
