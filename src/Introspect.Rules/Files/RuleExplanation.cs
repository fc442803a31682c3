using System.Globalization;
using System.Text;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Names;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Rules.Files;

/// <summary>Tells people what a set of rules will do: what is asked of the hypervisor, who is asked in which order, and what comes of it.</summary>
internal sealed class RuleExplanation
{
    private const MonitorCapabilities Everything = (MonitorCapabilities)0x3fff;

    private readonly RuleSet _set;
    private readonly StringBuilder _text = new();

    private RuleExplanation(RuleSet set) => _set = set;

    /// <summary>The lines of text, each ended by a newline.</summary>
    public static string Of(RuleSet set) => new RuleExplanation(set).Explain();

    private string Explain()
    {
        var enabled = _set.Enabled.ToList();
        var wishes = enabled.Select(rule => (rule, Subscription: Subscribe([rule]))).ToList();
        Line($"{enabled.Count} of {_set.Rules.Count} rules are in force, from {_set.Files.Count} {(_set.Files.Count == 1 ? "file" : "files")}");
        Line("");
        Line("Asked of the hypervisor:");
        var plan = SubscriptionPlan.Make([(RuleSetHandler.HandlerName, Subscribe(enabled))], Everything);
        var before = _text.Length;
        foreach (var asked in Describe(plan))
        {
            Line($"  {asked}");
        }

        if (_text.Length == before)
        {
            Line("  nothing");
        }

        Line("");
        Line(_set.Matching == RuleMatching.All
            ? "Asked in this order; every rule that matches alerts, and the first with a decision decides:"
            : "Asked in this order, until one matches:");
        for (var i = 0; i < wishes.Count; i++)
        {
            Explain(i + 1, wishes[i].rule, wishes[i].Subscription);
        }

        foreach (var rule in _set.Rules.Where(rule => !rule.Definition.IsEnabled))
        {
            Line($"  -. {rule.Name}: not enabled");
        }

        return _text.ToString();
    }

    private void Explain(int number, Rule rule, HandlerSubscription wishes)
    {
        var definition = rule.Definition;
        Line(string.Create(CultureInfo.InvariantCulture, $"  {number}. {rule.Name} ({RuleValues.NameOf(definition.Priority)}){(definition.Description.Length > 0 ? $": {definition.Description}" : "")}"));
        var reach = RuleReach.FilterOf(rule);
        var asks = Describe(SubscriptionPlan.Make([(rule.Name, wishes)], Everything)).ToList();
        asks.AddRange(definition.On.Where(clause => clause.Linear.Count > 0 && reach.CanMatchOn(clause)).Select(clause =>
            $"accesses to the pages at the linear addresses {string.Join(", ", clause.Linear.Select(range => range.Text))}, looked up in the guest's page tables when the domain is attached and every {RuleValues.Short(clause.Refresh)}"));
        Line($"     sees: {(!reach.CanMatch ? "nothing: no event can match" : string.Join("; ", asks))}");
        foreach (var condition in definition.When)
        {
            Line($"     when: {string.Join(' ', condition.Text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))}");
        }

        foreach (var exception in definition.Exceptions)
        {
            Line($"     unless {exception.Name}: {string.Join(' ', exception.When.Text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))}");
        }

        Line($"     does: {(rule.IsEnforced ? definition.Verdict : $"only observes ({definition.Verdict})")}");
        foreach (var effect in Effects(rule))
        {
            Line($"           {effect}");
        }

        if (definition.Fail == FailPolicy.Closed)
        {
            Line("     fails closed: an event that it cannot be asked about is denied");
        }

        if (definition.After != default)
        {
            Line(definition.After.Matches > 0
                ? string.Create(CultureInfo.InvariantCulture, $"     begins after {definition.After.Matches} matches of each vCPU")
                : $"     begins {RuleValues.Short(definition.After.Delay)} after the domain was first watched");
        }

        Line($"     alerts: {(definition.Verdict.Alerts ? Rate(definition.Rate) : "none, matches are counted")}");
        if (definition.Rate.Events is { } events)
        {
            Line($"     above {events} events they are switched off for {RuleValues.Short(definition.Rate.CoolDown)}");
        }
    }

    private static string Rate(RuleRate rate) => rate.Alerts is { } limit
        ? string.Create(CultureInfo.InvariantCulture, $"at most {limit}, {rate.Burst} at once")
        : "without limit";

    private static IEnumerable<string> Effects(Rule rule)
    {
        foreach (var (kind, _) in rule.Verdict.Items)
        {
            foreach (var clause in rule.Definition.On)
            {
                var effect = (kind, clause.Reason) switch
                {
                    (VerdictKind.Deny or VerdictKind.Skip, VmEventReason.WriteCtrlreg or VmEventReason.MovToMsr) => "the write does not happen, and the guest goes on behind it",
                    (VerdictKind.Deny or VerdictKind.Skip, VmEventReason.SoftwareBreakpoint) => "the guest does not get its breakpoint, and goes on behind it",
                    (VerdictKind.Deny, VmEventReason.DebugException) => "the guest does not get the exception",
                    (VerdictKind.Deny, VmEventReason.MemAccess) => "a write is discarded, a read or fetch is #GP",
                    (VerdictKind.Deny, VmEventReason.DescriptorAccess) => "the guest gets #GP",
                    (VerdictKind.Deny or VerdictKind.Skip, VmEventReason.IoInstruction) => "the access does not happen; a read gives all ones",
                    (VerdictKind.Skip, _) => "RIP is set behind the instruction, which does not run",
                    (VerdictKind.Emulate, _) => "the hypervisor emulates the instruction, whatever the rights say",
                    (VerdictKind.Allow, _) => "it happens, and nobody after the rules is asked",
                    (VerdictKind.Pause, _) => "the domain stands still until an operator lets it go",
                    (VerdictKind.Step, _) => "an event comes after each of the next instructions of the vCPU",
                    (VerdictKind.Inject, _) => "the guest gets the exception",
                    (VerdictKind.Reinject, _) => "the guest gets the exception that the event took from it",
                    _ => null,
                };
                if (effect is not null)
                {
                    yield return $"{ReasonNames.Of(clause.Reason)}: {effect}";
                }
            }
        }
    }

    private static HandlerSubscription Subscribe(IEnumerable<Rule> rules)
    {
        var builder = new SubscriptionBuilder(RuleSetHandler.HandlerName);
        foreach (var rule in rules)
        {
            RuleReach.FilterOf(rule).Subscribe(builder);
        }

        return builder.Build();
    }

    private static IEnumerable<string> Describe(SubscriptionPlan plan)
    {
        foreach (var asked in plan.Events)
        {
            yield return asked switch
            {
                MonitorEvent.ControlRegister register => $"writes of {register.Register.ToString().ToUpperInvariant()}{Bits(register)}{Sync(register.Sync)}{(plan.MayDeny && register.Sync ? ", held back until it is decided" : "")}",
                MonitorEvent.Msr msr => $"writes of MSR {(MsrNames.TryGetName(msr.Number, out var name) ? name : "")}{(name is null ? "" : " ")}(0x{msr.Number.ToString("x", CultureInfo.InvariantCulture)}){(msr.OnChangeOnly ? " that change it" : "")}, sync",
                MonitorEvent.Cpuid => "CPUID, sync",
                MonitorEvent.SoftwareBreakpoint => "breakpoints, sync",
                MonitorEvent.DebugException e => $"debug exceptions{Sync(e.Sync)}",
                MonitorEvent.GuestRequest e => $"requests of the guest{(e.AllowUserspace ? " and its user space" : "")}{Sync(e.Sync)}",
                MonitorEvent.SingleStep => "single steps",
                MonitorEvent.DescriptorAccess => "accesses to descriptor tables, sync",
                MonitorEvent.VmExit e => $"vmexits{Sync(e.Sync)}",
                MonitorEvent.IoInstruction e => $"port accesses{Sync(e.Sync)}",
                MonitorEvent.EmulUnimplemented => "instructions that the emulator lacks",
                _ => asked.ToString(),
            };
        }

        for (var i = 0; i < plan.Rights.Runs.Length; i++)
        {
            var (first, count, access) = plan.Rights.Runs[i];
            var next = first + count;

            // What is too long for one subscription is one range all the same.
            while (i + 1 < plan.Rights.Runs.Length && plan.Rights.Runs[i + 1] is var more && more.First == next && more.Access == access)
            {
                next += more.Count;
                i++;
            }

            yield return string.Create(CultureInfo.InvariantCulture, $"pages 0x{first:x}..0x{next - 1:x} with the rights {access.ToString().ToLowerInvariant()}, sync");
        }

        foreach (var place in plan.Breakpoints)
        {
            yield return string.Create(CultureInfo.InvariantCulture, $"a breakpoint at 0x{place:x}");
        }

        if (plan.ArmsInterrupts)
        {
            yield return "interrupts, each armed by the answer before it";
        }
    }

    private static string Bits(MonitorEvent.ControlRegister register)
    {
        if (register.WatchMask == ulong.MaxValue)
        {
            return register.OnChangeOnly ? " that change it" : "";
        }

        var names = register.Register switch
        {
            ControlRegisterIndex.Cr0 => RegisterBits.Cr0,
            ControlRegisterIndex.Cr4 => RegisterBits.Cr4,
            ControlRegisterIndex.Xcr0 => RegisterBits.Xcr0,
            _ => null,
        };
        var bits = Enumerable.Range(0, 64).Where(bit => (register.WatchMask & (1UL << bit)) != 0)
            .Select(bit => names is not null && names.TryGetName(bit, out var name) ? name : string.Create(CultureInfo.InvariantCulture, $"bit {bit}"));
        return string.Create(CultureInfo.InvariantCulture, $" that change {string.Join(", ", bits)} (mask 0x{register.WatchMask:x})");
    }

    private static string Sync(bool sync) => sync ? ", sync" : ", async";

    private void Line(string line) => _text.Append(line).Append('\n');
}
