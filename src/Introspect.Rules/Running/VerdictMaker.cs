using Introspect.Hypervisor.Abi;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Introspect.Rules.Responses;

namespace Introspect.Rules.Running;

/// <summary>Turns what a rule does into a verdict on an event.</summary>
internal static class VerdictMaker
{
    /// <summary>Makes the verdict; what it sets goes into the context.</summary>
    public static Verdict Make(VerdictPlan plan, ref readonly VmEvent request, ref HandlerContext context)
    {
        var verdict = Verdict.Pass;
        foreach (var (kind, _) in plan.Steady)
        {
            switch (kind)
            {
                case VerdictKind.Allow:
                    verdict = Verdict.Allow;
                    break;
                case VerdictKind.Deny:
                    verdict = Verdict.Deny;
                    break;
                case VerdictKind.Emulate:
                    verdict = plan.DiscardsWrites ? Verdict.EmulateDiscardingWrites : Verdict.Emulate;
                    break;
                case VerdictKind.Skip:
                    verdict = Skip(in request, ref context);
                    break;
            }
        }

        var hasDecision = !verdict.IsPass;
        foreach (var (kind, _) in plan.Steady)
        {
            verdict = kind switch
            {
                VerdictKind.Reinject => verdict.WithInjection(),
                VerdictKind.Inject => Inject(plan, verdict, ref context),
                VerdictKind.Set => Set(plan, verdict, in request, ref context),
                VerdictKind.Step => Step(verdict, hasDecision, in request),
                VerdictKind.View => verdict.WithView(plan.View),
                _ => verdict,
            };
        }

        return verdict;
    }

    private static Verdict Skip(ref readonly VmEvent request, ref HandlerContext context)
    {
        if (request.Reason is VmEventReason.WriteCtrlreg or VmEventReason.MovToMsr or VmEventReason.SoftwareBreakpoint or VmEventReason.IoInstruction)
        {
            // Holding back what these are about is all of the instruction.
            return Verdict.Deny;
        }

        var length = InstructionLength.At(context.Domain.Memory, in request.Registers);
        if (length == 0)
        {
            // What cannot be read cannot be left out; the fail policy of the guest is to go on.
            return Verdict.Allow;
        }

        context.Registers.Rip = request.Registers.Rip + (ulong)length;
        return Verdict.Allow.WithRegisters();
    }

    private static Verdict Inject(VerdictPlan plan, Verdict verdict, ref HandlerContext context)
    {
        context.Trap = plan.Trap;
        return verdict.WithInjection();
    }

    private static Verdict Set(VerdictPlan plan, Verdict verdict, ref readonly VmEvent request, ref HandlerContext context)
    {
        // Of the event, not of what was set before: "rax: rbx" and "rbx: rax" exchange them.
        var before = request.Registers;
        foreach (var assignment in plan.Registers)
        {
            GuestRegisters.Of(ref context.Registers, assignment.Target) =
                assignment.Source is { } source ? GuestRegisters.Of(ref before, source) : assignment.Value;
        }

        return verdict.WithRegisters();
    }

    // Stepping alone is no reason to keep the guest's own exception from it.
    private static Verdict Step(Verdict verdict, bool hasDecision, ref readonly VmEvent request) =>
        !hasDecision && request.Reason is VmEventReason.SoftwareBreakpoint or VmEventReason.DebugException
            ? verdict.WithInjection().WithSinglestepOn()
            : verdict.WithSinglestepOn();
}
