using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;
using Introspect.Rules.Names;

namespace Introspect.Rules.Files;

/// <summary>What cannot be done about an event is a mistake of the file, told with its reason before any guest is watched.</summary>
internal static class VerdictLimits
{
    private const ulong TaskSwitched = 1 << 3;

    /// <summary>Checks what is known without conditions: the verdict against the reasons.</summary>
    public static void CheckReasons(RuleDefinition rule, DiagnosticBag diagnostics)
    {
        foreach (var clause in rule.On)
        {
            foreach (var (kind, span) in rule.Verdict.Items)
            {
                if (WhyNot(kind, clause) is { } why)
                {
                    diagnostics.Error(span, $"'{RuleValues.NameOf(kind)}' on {ReasonNames.Of(clause.Reason)}: {why}");
                }
                else if (clause.Sync == false && rule.Mode == RuleMode.Enforce && kind is not (VerdictKind.Alert or VerdictKind.Count or VerdictKind.Tag))
                {
                    diagnostics.Error(span, $"'{RuleValues.NameOf(kind)}' on {ReasonNames.Of(clause.Reason)}: an async event has happened when it is told; remove 'sync: false'");
                }
            }

            if (rule.Fail == FailPolicy.Closed && (WhyNot(VerdictKind.Deny, clause) ?? (clause.Sync == false ? "an async event has happened when it is told" : null)) is { } open)
            {
                diagnostics.Error(rule.FailSpan, $"'fail: closed' denies {ReasonNames.Of(clause.Reason)} events when the rule cannot be asked: {open}");
            }
        }
    }

    /// <summary>Checks a compiled rule: also what its condition leaves possible.</summary>
    public static void Check(Rule rule, DiagnosticBag diagnostics)
    {
        CheckReasons(rule.Definition, diagnostics);
        if (!rule.MayDeny || !rule.Definition.On.Any(clause => clause.Reason == VmEventReason.WriteCtrlreg))
        {
            return;
        }

        var (word, span) = rule.Verdict.Has(VerdictKind.Deny) ? ("deny", rule.Verdict.SpanOf(VerdictKind.Deny))
            : rule.Verdict.Has(VerdictKind.Skip) ? ("skip", rule.Verdict.SpanOf(VerdictKind.Skip))
            : ("fail: closed", rule.Definition.FailSpan);
        if (rule.FactsFor(ControlRegisterIndex.Xcr0) is not null)
        {
            diagnostics.Error(span, $"'{word}' on write_ctrlreg: the hypervisor cannot hold back writes of XCR0, and the rule may be about one; name the register in 'when'");
        }

        if (rule.FactsFor(ControlRegisterIndex.Cr0) is { } cr0 && ((cr0.ChangedBits ?? ulong.MaxValue) & TaskSwitched) != 0)
        {
            diagnostics.Error(span, $"'{word}' on write_ctrlreg: on VMX a CLTS is done whatever the answer, and the rule may be about CR0.TS; name the bits in 'when'");
        }
    }

    private static string? WhyNot(VerdictKind kind, OnClause clause) => (kind, clause.Reason) switch
    {
        (VerdictKind.Deny, VmEventReason.SoftwareBreakpoint) when clause.Places.Count > 0 =>
            "a breakpoint of the monitor's own has nothing to deny; use set or inject",
        (VerdictKind.Deny, VmEventReason.WriteCtrlreg or VmEventReason.MovToMsr or VmEventReason.SoftwareBreakpoint or VmEventReason.DebugException
            or VmEventReason.MemAccess or VmEventReason.DescriptorAccess or VmEventReason.IoInstruction) => null,
        (VerdictKind.Deny, VmEventReason.Cpuid) => "its results are there already; set the registers instead",
        (VerdictKind.Deny, _) => "there is nothing that could be held back",
        (VerdictKind.Emulate, VmEventReason.MemAccess or VmEventReason.DescriptorAccess) => null,
        (VerdictKind.Emulate, _) => "only accesses to memory and descriptor tables are emulated",
        (VerdictKind.Skip, VmEventReason.SoftwareBreakpoint) when clause.Places.Count > 0 =>
            "the instruction is under the breakpoint; set RIP behind it instead",
        (VerdictKind.Skip, VmEventReason.GuestRequest or VmEventReason.Singlestep or VmEventReason.Interrupt or VmEventReason.DebugException) =>
            "it is about no instruction that could be left out",
        (VerdictKind.Reinject, VmEventReason.SoftwareBreakpoint) when clause.Places.Count > 0 =>
            "the guest knows nothing of a breakpoint of the monitor's own",
        (VerdictKind.Reinject, VmEventReason.SoftwareBreakpoint or VmEventReason.DebugException) => null,
        (VerdictKind.Reinject, _) => "only breakpoints and debug exceptions are taken from the guest and can be given back; use inject",
        _ => null,
    };
}
