using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;

namespace Introspect.Rules.Running;

/// <summary>The rules of a domain as one handler of its pump.</summary>
public sealed class RuleSetHandler : IEventHandler
{
    /// <summary>The handler's name.</summary>
    public const string HandlerName = "rules";

    private readonly DomainRules _rules;

    internal RuleSetHandler(DomainRules rules) => _rules = rules;

    /// <inheritdoc/>
    public string Name => HandlerName;

    /// <inheritdoc/>
    public void Subscribe(SubscriptionBuilder subscription)
    {
        ArgumentNullException.ThrowIfNull(subscription);
        _rules.Subscribe(subscription);
    }

    /// <inheritdoc/>
    public Verdict Handle(ref readonly VmEvent request, ref HandlerContext context) => _rules.Handle(in request, ref context);
}
