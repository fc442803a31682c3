using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Handlers;
using Introspect.Rules.Pump;
using Suspended = Introspect.Rules.Responses.MemoryAccessStepper.Suspended;

namespace Introspect.Rules.Responses;

/// <summary>
/// Turns a request and a verdict into the response that makes it so, which for most events is more than an echo: a
/// bare echo of CPUID runs it for ever, one of a memory access faults again, one of a breakpoint swallows it.
/// </summary>
internal sealed class ResponseBuilder(
    IDomain domain,
    MemoryAccessStepper stepper,
    MemoryAccessPolicy memoryPolicy,
    PumpStatistics statistics,
    Action<string, HypervisorException> failed)
{
    private const byte DebugVector = 1;
    private const byte BreakpointVector = 3;
    private const byte GeneralProtectionVector = 13;
    private const byte HardwareException = 3;
    private const byte PrivilegedSoftwareException = 5;
    private const byte SoftwareException = 6;
    private const ulong ResumeFlag = 1UL << 16;

    // Which effects of the verdict at hand were not used, and whether its decision was.
    private VerdictEffects _unused;
    private bool _decisionUnused;
    private bool _canStep;
    private bool _registersUsed;

    /// <summary>
    /// The pump is stopping: nothing is enabled any more, so that nothing needs to be stepped over or emulated.
    /// </summary>
    public bool NothingEnabled { get; set; }

    /// <summary>Builds the response.</summary>
    /// <param name="request">The request.</param>
    /// <param name="verdict">What was decided.</param>
    /// <param name="mayStep">The deciding handler is subscribed to single steps.</param>
    /// <param name="context">The context that the handler filled.</param>
    /// <param name="response">A copy of the request with what the handler wrote; becomes the response.</param>
    /// <returns>True when all of the verdict had a meaning.</returns>
    public bool Build(ref readonly VmEvent request, Verdict verdict, bool mayStep, ref HandlerContext context, ref VmEvent response)
    {
        _unused = verdict.Effects;
        _decisionUnused = verdict.Decision is Decision.Deny or Decision.Emulate;
        _registersUsed = false;
        _canStep = mayStep && stepper.Plan.CanStep && !NothingEnabled;
        if (request.Reason == VmEventReason.Singlestep)
        {
            // Also for a step that nobody waits for: the rights must come back.
            stepper.StepDone(request.VcpuId);
        }

        var flags = request.Flags & VmEventFlags.VcpuPaused;
        if (flags == VmEventFlags.None)
        {
            // The vCPU has gone on: the hypervisor takes nothing from the response.
            context.Discard();
            response.Flags = flags;
            return !_decisionUnused && _unused == VerdictEffects.None;
        }

        flags |= Decide(in request, verdict, ref context);
        flags |= ApplyRegisters(in request, verdict, ref context);
        if ((flags & (VmEventFlags.SetRegisters | VmEventFlags.SetEmulReadData | VmEventFlags.SetEmulInsnData)) == 0)
        {
            // What a handler wrote and is not taken goes back to what the request said.
            context.Discard();
        }

        // Not in the answer to an interrupt: it still waits to be delivered, and Xen would tell of it again, without end.
        if (stepper.Plan.ArmsInterrupts && !NothingEnabled && request.Reason != VmEventReason.Interrupt)
        {
            flags |= VmEventFlags.GetNextInterrupt;
        }

        if (verdict.Has(VerdictEffects.SwitchView))
        {
            response.AltP2mIndex = verdict.View;
            flags |= VmEventFlags.AlternateP2m;
            Use(VerdictEffects.SwitchView);
        }

        if (verdict.Has(VerdictEffects.SinglestepOn | VerdictEffects.SinglestepOff) && _canStep)
        {
            stepper.SetHandlerWantsSteps(request.VcpuId, verdict.Has(VerdictEffects.SinglestepOn));
            Use(VerdictEffects.SinglestepOn | VerdictEffects.SinglestepOff);
        }

        if (stepper.ShouldSwitchView(request.VcpuId, out var view) && !verdict.Has(VerdictEffects.SwitchView))
        {
            response.AltP2mIndex = view;
            flags |= VmEventFlags.AlternateP2m;
        }

        if (stepper.ShouldToggle(request.VcpuId))
        {
            flags |= VmEventFlags.ToggleSinglestep;
        }

        response.Flags = flags;
        return !_decisionUnused && _unused == VerdictEffects.None;
    }

    /// <summary>The least that lets a vCPU go on, when <see cref="Build"/> itself failed.</summary>
    public static void BuildEcho(ref readonly VmEvent request, ref VmEvent response)
    {
        response = request;
        response.Flags = request.Flags & VmEventFlags.VcpuPaused;
        if (request.Reason == VmEventReason.Cpuid && response.Flags != VmEventFlags.None)
        {
            response.Registers.Rip += CpuidLength(in request);
            response.Flags |= VmEventFlags.SetRegisters;
        }
    }

    private static uint CpuidLength(ref readonly VmEvent request) => request.Cpuid.InsnLength is >= 2 and <= InstructionLength.Longest ? request.Cpuid.InsnLength : 2;

    private VmEventFlags Decide(ref readonly VmEvent request, Verdict verdict, ref HandlerContext context)
    {
        switch (request.Reason)
        {
            case VmEventReason.WriteCtrlreg:
                InjectIfAsked(in request, verdict, ref context);
                return Deny(verdict, request.WriteCtrlreg.Index != ControlRegisterIndex.Xcr0);
            case VmEventReason.MovToMsr:
                InjectIfAsked(in request, verdict, ref context);
                return Deny(verdict, true);
            case VmEventReason.Cpuid:
                InjectIfAsked(in request, verdict, ref context);
                MoveOn(in request, verdict, CpuidLength(in request), ref context);
                return VmEventFlags.None;
            case VmEventReason.SoftwareBreakpoint:
                return Breakpoint(in request, verdict, ref context);
            case VmEventReason.DebugException:
                return DebugException(in request, verdict, ref context);
            case VmEventReason.MemAccess:
                return MemoryAccess(in request, verdict, ref context);
            case VmEventReason.DescriptorAccess:
                return DescriptorAccess(in request, verdict, ref context);
            case VmEventReason.IoInstruction:
                return PortAccess(in request, verdict, ref context);
            case VmEventReason.EmulUnimplemented when !NothingEnabled:
                return EmulUnimplemented(in request, verdict, ref context);
            default:
                InjectIfAsked(in request, verdict, ref context);
                return VmEventFlags.None;
        }
    }

    private VmEventFlags Deny(Verdict verdict, bool possible)
    {
        if (verdict.Decision != Decision.Deny || !possible || !stepper.Plan.MayDeny)
        {
            return VmEventFlags.None;
        }

        _decisionUnused = false;
        return VmEventFlags.Deny;
    }

    private VmEventFlags Breakpoint(ref readonly VmEvent request, Verdict verdict, ref HandlerContext context)
    {
        var length = request.Debug.InsnLength is >= 1 and <= InstructionLength.Longest ? request.Debug.InsnLength : 1;
        if (verdict.Decision == Decision.Emulate && verdict.Has(VerdictEffects.UseInstruction) && context.Payload == ResponsePayload.Instruction)
        {
            _decisionUnused = false;
            Use(VerdictEffects.UseInstruction);
            return VmEventFlags.Emulate | VmEventFlags.SetEmulInsnData;
        }

        if (stepper.Breakpoints.Find(in request) is var breakpoint and >= 0)
        {
            return OwnBreakpoint(in request, breakpoint, verdict, ref context);
        }

        if (stepper.IsLateBreakpoint(in request))
        {
            // The instruction itself is there again.
            return VmEventFlags.None;
        }

        if (verdict.Decision == Decision.Deny)
        {
            _decisionUnused = false;
            InjectIfAsked(in request, verdict, ref context);
            MoveOn(in request, verdict, length, ref context);
            return VmEventFlags.None;
        }

        if (verdict.Has(VerdictEffects.Inject) || !IsHandlersOwn(verdict, in context))
        {
            var type = request.Debug.Type != 0 ? request.Debug.Type : SoftwareException;
            Inject(request.VcpuId, context.HasTrap ? context.Trap : new(BreakpointVector, type, (byte)length, TrapInjection.NoErrorCode, 0));
        }

        return VmEventFlags.None;
    }

    // The guest knows nothing of it: the instruction that it stands on runs, or what the handler says instead.
    private VmEventFlags OwnBreakpoint(ref readonly VmEvent request, int breakpoint, Verdict verdict, ref HandlerContext context)
    {
        if (IsInjected(in request, verdict, ref context) || IsMovedOn(in request, verdict, ref context) || NothingEnabled || verdict.Has(VerdictEffects.SwitchView))
        {
            return VmEventFlags.None;
        }

        var hasRegisters = verdict.Has(VerdictEffects.SetRegisters) && context.Payload == ResponsePayload.Registers;
        var alone = CanStepAlone(in request, out var mayWait);
        if ((alone || !stepper.Plan.TellsUnimplemented || hasRegisters) && stepper.TryStepOver(request.VcpuId, breakpoint))
        {
            return VmEventFlags.None;
        }

        Span<byte> code = stackalloc byte[InstructionLength.Longest];
        var length = GuestCode.Read(domain.Memory, in request.Registers, stepper.Breakpoints, code);
        if (length > 0 && (stepper.Plan.TellsUnimplemented || mayWait || !stepper.Plan.CanStep) && !hasRegisters)
        {
            // Nothing in memory changes, so that no other vCPU gets past.
            context.SetEmulationInstruction(code[..length]);
            stepper.EmulatingBreakpoint(request.VcpuId, breakpoint);
            return VmEventFlags.Emulate | VmEventFlags.SetEmulInsnData;
        }

        try
        {
            // Neither way is there: better no breakpoint than a guest that hits it for ever.
            stepper.Breakpoints.Remove(breakpoint);
        }
        catch (HypervisorException refused)
        {
            failed("taking out a breakpoint that cannot be stepped over", refused);
        }

        return VmEventFlags.None;
    }

    /// <summary>Sees to it that the vCPU steps while no other one runs.</summary>
    private bool CanStepAlone(ref readonly VmEvent request, out bool mayWait)
    {
        mayWait = false;
        if (!stepper.Plan.CanStep)
        {
            return false;
        }

        if (!stepper.HasOthers || stepper.View is not null)
        {
            return true;
        }

        Span<byte> code = stackalloc byte[InstructionLength.Longest];
        var length = GuestCode.Read(domain.Memory, in request.Registers, stepper.Breakpoints, code);
        mayWait = GuestCode.MayWait(code[..length]);
        return !mayWait && stepper.TryHold(request.VcpuId);
    }

    private VmEventFlags DebugException(ref readonly VmEvent request, Verdict verdict, ref HandlerContext context)
    {
        var type = request.Debug.Type != 0 ? request.Debug.Type : HardwareException;
        var length = request.Debug.InsnLength is >= 1 and <= InstructionLength.Longest ? request.Debug.InsnLength : 1;
        if (verdict.Decision == Decision.Deny)
        {
            _decisionUnused = false;
            InjectIfAsked(in request, verdict, ref context);
            if (type == PrivilegedSoftwareException)
            {
                MoveOn(in request, verdict, length, ref context);
                return VmEventFlags.None;
            }

            if (IsInstructionBreakpoint(in request))
            {
                // A fault before its instruction: without the resume flag it would come again at once.
                Registers(verdict, ref context).Rflags |= ResumeFlag;
            }

            return VmEventFlags.None;
        }

        if (verdict.Has(VerdictEffects.Inject) || !IsHandlersOwn(verdict, in context))
        {
            var insnLength = type == HardwareException ? (byte)0 : (byte)length;

            // For #DB the place of CR2 carries the pending debug exceptions. Xen sends none, and DR6 has them already.
            Inject(request.VcpuId, context.HasTrap ? context.Trap : new(DebugVector, type, insnLength, TrapInjection.NoErrorCode, request.Debug.PendingDbg));
        }

        return VmEventFlags.None;
    }

    private VmEventFlags MemoryAccess(ref readonly VmEvent request, Verdict verdict, ref HandlerContext context)
    {
        if (verdict.Decision == Decision.Deny)
        {
            _decisionUnused = false;
            if (context.HasTrap && verdict.Has(VerdictEffects.Inject))
            {
                InjectIfAsked(in request, verdict, ref context);
                return VmEventFlags.None;
            }

            if ((request.MemAccess.Flags & MemAccessFlags.Write) != 0)
            {
                stepper.EmulatingAltered(request.VcpuId);
                return VmEventFlags.Emulate | VmEventFlags.EmulateNoWrite;
            }

            Inject(request.VcpuId, new(GeneralProtectionVector, HardwareException, 0, 0, 0));
            return VmEventFlags.None;
        }

        if (IsInjected(in request, verdict, ref context) || IsMovedOn(in request, verdict, ref context) || NothingEnabled)
        {
            return VmEventFlags.None;
        }

        if (verdict.Decision == Decision.Emulate)
        {
            return Emulate(in request, verdict, ref context, request.MemAccess.Gfn, Suspended.None);
        }

        if (verdict.Has(VerdictEffects.SwitchView) || stepper.IsLateAccess(request.MemAccess.Gfn))
        {
            // The other view is how the handler lets it happen; and where nothing is forbidden any more, it happens by itself.
            return VmEventFlags.None;
        }

        if (memoryPolicy != MemoryAccessPolicy.Emulate
            && (CanStepAlone(in request, out _) || memoryPolicy == MemoryAccessPolicy.Step || !stepper.Plan.TellsUnimplemented)
            && stepper.TryLift(request.VcpuId, request.MemAccess.Gfn))
        {
            return VmEventFlags.None;
        }

        stepper.Emulating(request.VcpuId, request.MemAccess.Gfn, Suspended.None);
        return VmEventFlags.Emulate;
    }

    private VmEventFlags DescriptorAccess(ref readonly VmEvent request, Verdict verdict, ref HandlerContext context)
    {
        if (verdict.Decision == Decision.Deny)
        {
            _decisionUnused = false;
            if (!IsInjected(in request, verdict, ref context))
            {
                Inject(request.VcpuId, new(GeneralProtectionVector, HardwareException, 0, 0, 0));
            }

            return VmEventFlags.None;
        }

        return IsInjected(in request, verdict, ref context) || IsMovedOn(in request, verdict, ref context) || NothingEnabled
            ? VmEventFlags.None
            : Emulate(in request, verdict, ref context, 0, Suspended.DescriptorAccess);
    }

    private VmEventFlags EmulUnimplemented(ref readonly VmEvent request, Verdict verdict, ref HandlerContext context)
    {
        var altered = stepper.TakeWasAltered(request.VcpuId);
        if (IsInjected(in request, verdict, ref context))
        {
            return VmEventFlags.None;
        }

        if (altered)
        {
            // Running it after all would let happen what was denied.
            Inject(request.VcpuId, new(GeneralProtectionVector, HardwareException, 0, 0, 0));
        }
        else
        {
            stepper.TryStepOverEmulated(request.VcpuId);
        }

        return VmEventFlags.None;
    }

    private VmEventFlags PortAccess(ref readonly VmEvent request, Verdict verdict, ref HandlerContext context)
    {
        if (verdict.Decision == Decision.Deny)
        {
            var injected = IsInjected(in request, verdict, ref context);
            var length = injected ? 0 : InstructionLength.At(domain.Memory, in request.Registers);
            if (injected || length != 0)
            {
                _decisionUnused = false;
                if (injected)
                {
                    return VmEventFlags.None;
                }

                if (request.Io is { In: not 0, StringOp: 0 })
                {
                    // What a bus without a device gives.
                    ref var rax = ref Registers(verdict, ref context).Rax;
                    rax = request.Io.Bytes switch { 1 => rax | 0xff, 2 => rax | 0xffff, _ => uint.MaxValue };
                }

                MoveOn(in request, verdict, (uint)length, ref context);
                return VmEventFlags.None;
            }
        }

        if (!IsInjected(in request, verdict, ref context) && !IsMovedOn(in request, verdict, ref context) && !NothingEnabled)
        {
            stepper.TryHold(request.VcpuId);
            stepper.TrySuspend(request.VcpuId, Suspended.IoInstruction);
        }

        return VmEventFlags.None;
    }

    private VmEventFlags Emulate(ref readonly VmEvent request, Verdict verdict, ref HandlerContext context, ulong gfn, Suspended instead)
    {
        var flags = VmEventFlags.Emulate;
        if (verdict.Decision == Decision.Emulate)
        {
            _decisionUnused = false;
            if (verdict.Has(VerdictEffects.DiscardWrites))
            {
                Use(VerdictEffects.DiscardWrites);
                flags |= VmEventFlags.EmulateNoWrite;
            }

            if (verdict.Has(VerdictEffects.UseReadData) && context.Payload == ResponsePayload.ReadData)
            {
                Use(VerdictEffects.UseReadData);
                flags |= VmEventFlags.SetEmulReadData;
            }
        }

        if (flags == VmEventFlags.Emulate)
        {
            stepper.Emulating(request.VcpuId, gfn, instead);
        }
        else
        {
            stepper.EmulatingAltered(request.VcpuId);
        }

        return flags;
    }

    private bool IsInjected(ref readonly VmEvent request, Verdict verdict, ref HandlerContext context)
    {
        InjectIfAsked(in request, verdict, ref context);
        return verdict.Has(VerdictEffects.Inject) && context.HasTrap;
    }

    private void InjectIfAsked(ref readonly VmEvent request, Verdict verdict, ref HandlerContext context)
    {
        if (verdict.Has(VerdictEffects.Inject) && context.HasTrap)
        {
            Inject(request.VcpuId, context.Trap);
        }
    }

    private void Inject(uint vcpu, TrapInjection trap)
    {
        Use(VerdictEffects.Inject);
        try
        {
            domain.InjectTrap(new(vcpu), in trap);
            statistics.CountInjectedTrap();
        }
        catch (HypervisorException refused)
        {
            failed("injecting a trap", refused);
        }
    }

    /// <summary>A breakpoint that the handler deals with itself, so that the guest must not see it.</summary>
    private bool IsHandlersOwn(Verdict verdict, ref readonly HandlerContext context) =>
        verdict.Has(VerdictEffects.SwitchView)
        || (verdict.Has(VerdictEffects.SinglestepOn) && _canStep)
        || (verdict.Has(VerdictEffects.SetRegisters) && context.Payload == ResponsePayload.Registers);

    private static bool IsMovedOn(ref readonly VmEvent request, Verdict verdict, ref HandlerContext context) =>
        verdict.Has(VerdictEffects.SetRegisters)
        && context.Payload == ResponsePayload.Registers
        && context.Registers.Rip != request.Registers.Rip;

    private void MoveOn(ref readonly VmEvent request, Verdict verdict, uint length, ref HandlerContext context)
    {
        ref var registers = ref Registers(verdict, ref context);
        if (registers.Rip == request.Registers.Rip)
        {
            registers.Rip += length;
        }
    }

    /// <summary>The registers of the response, for the builder's own use: the handler's only where its verdict names them.</summary>
    private ref VmEventRegisters Registers(Verdict verdict, ref HandlerContext context)
    {
        if (!_registersUsed && context.Payload == ResponsePayload.Registers && !verdict.Has(VerdictEffects.SetRegisters))
        {
            context.Discard();
        }

        _registersUsed = true;
        return ref context.Registers;
    }

    private VmEventFlags ApplyRegisters(ref readonly VmEvent request, Verdict verdict, ref HandlerContext context)
    {
        if (verdict.Has(VerdictEffects.SetRegisters) && context.Payload is (ResponsePayload.None or ResponsePayload.Registers)
            && (_registersUsed || TryPassInstruction(in request, ref context)))
        {
            Use(VerdictEffects.SetRegisters);
            _registersUsed = true;
        }

        return _registersUsed ? VmEventFlags.SetRegisters : VmEventFlags.None;
    }

    // Better no registers than an instruction that runs for ever.
    private bool TryPassInstruction(ref readonly VmEvent request, ref HandlerContext context)
    {
        ref var registers = ref context.Registers;
        var stopsBefore = request.Reason is VmEventReason.WriteCtrlreg or VmEventReason.MovToMsr or VmEventReason.GuestRequest;
        if (registers.Rip != request.Registers.Rip || !stopsBefore)
        {
            return true;
        }

        var length = InstructionLength.At(domain.Memory, in request.Registers);
        registers.Rip += (ulong)length;
        return length != 0;
    }

    // An event tells neither what a #DB is about nor DR6, and DR7 may be an old one: the vCPU has them.
    private bool IsInstructionBreakpoint(ref readonly VmEvent request)
    {
        VcpuState state;
        try
        {
            state = domain.ReadVcpu(new(request.VcpuId));
        }
        catch (HypervisorException refused)
        {
            failed("reading what a debug exception is about", refused);
            return false;
        }

        ReadOnlySpan<ulong> addresses = [state.Dr0, state.Dr1, state.Dr2, state.Dr3];
        for (var i = 0; i < addresses.Length; i++)
        {
            var condition = (state.Dr7 >> (16 + (4 * i))) & 3;
            if ((state.Dr6 & (1UL << i)) != 0 && condition == 0 && addresses[i] == request.Registers.CsBase + request.Registers.Rip)
            {
                return true;
            }
        }

        return false;
    }

    private void Use(VerdictEffects effects) => _unused &= ~effects;
}
