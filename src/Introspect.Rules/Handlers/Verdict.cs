namespace Introspect.Rules.Handlers;

/// <summary>What a handler decided about an event.</summary>
public enum Decision : byte
{
    /// <summary>No opinion: the next handler is asked, and with no opinion at all the guest goes on as if unwatched.</summary>
    Pass = 0,

    /// <summary>The guest goes on as if unwatched, and no later handler is asked.</summary>
    Allow = 1,

    /// <summary>What the guest was about to do does not happen.</summary>
    Deny = 2,

    /// <summary>The hypervisor emulates the instruction, whatever the access rights say.</summary>
    Emulate = 3,
}

/// <summary>What a verdict does besides its <see cref="Decision"/>.</summary>
[Flags]
public enum VerdictEffects : byte
{
    /// <summary>Nothing more.</summary>
    None = 0,

    /// <summary>The vCPU gets the registers of <see cref="HandlerContext.Registers"/>.</summary>
    SetRegisters = 1 << 0,

    /// <summary>The vCPU steps from now on, with an event after each instruction.</summary>
    SinglestepOn = 1 << 1,

    /// <summary>The vCPU stops stepping.</summary>
    SinglestepOff = 1 << 2,

    /// <summary>The guest gets the exception that the event took from it, or the one of <see cref="HandlerContext.Trap"/>.</summary>
    Inject = 1 << 3,

    /// <summary>The vCPU switches to the altp2m view <see cref="Verdict.View"/>.</summary>
    SwitchView = 1 << 4,

    /// <summary>Emulation discards what the instruction writes to memory.</summary>
    DiscardWrites = 1 << 5,

    /// <summary>Emulation reads what <see cref="HandlerContext.SetEmulationReadData"/> was given instead of memory.</summary>
    UseReadData = 1 << 6,

    /// <summary>Emulation runs the bytes that <see cref="HandlerContext.SetEmulationInstruction"/> was given.</summary>
    UseInstruction = 1 << 7,
}

/// <summary>
/// A handler's answer to an event: a decision, and effects on the vCPU. What has no meaning for an event is left out
/// and counted, and the rest is done.
/// </summary>
/// <remarks>
/// <list type="table">
/// <listheader><term>event</term><description>pass, allow | deny | emulate</description></listheader>
/// <item><term>control register, MSR</term><description>the write happens | it does not (sync, subscribed with mayDeny, not XCR0) | –</description></item>
/// <item><term>CPUID</term><description>goes on with the results in the registers | – | –</description></item>
/// <item><term>breakpoint</term><description>the guest gets it | it does not, and goes on after the instruction | only with instruction bytes</description></item>
/// <item><term>debug exception</term><description>the guest gets it | it does not | –</description></item>
/// <item><term>memory access</term><description>happens, stepped or emulated as the pump is set | a write is discarded, a read or fetch is #GP | by the emulator</description></item>
/// <item><term>descriptor access</term><description>happens, emulated | #GP | by the emulator</description></item>
/// <item><term>port access</term><description>happens, stepped | is skipped, a read gives all ones | –</description></item>
/// <item><term>all others</term><description>goes on | – | –</description></item>
/// </list>
/// A breakpoint or debug exception whose verdict sets registers, steps or switches the view is the handler's own: the guest gets it only
/// with <see cref="WithInjection"/>. A memory, descriptor or port access with an injection does not happen.
/// Registers and the two kinds of emulation data share their bytes in a response: a verdict can carry one of the three.
/// Effects reach only a vCPU that waits for its response, that is, sync events.
/// </remarks>
public readonly record struct Verdict
{
    private Verdict(Decision decision, VerdictEffects effects, ushort view) => (Decision, Effects, View) = (decision, effects, view);

    /// <summary>A verdict of its parts, as another process wrote them.</summary>
    /// <returns>False where no handler could have said that.</returns>
    internal static bool TryMake(byte decision, byte effects, ushort view, out Verdict verdict)
    {
        verdict = new((Decision)decision, (VerdictEffects)effects, view);
        return decision <= (byte)Decision.Emulate && (decision != (byte)Decision.Pass || (effects == 0 && view == 0));
    }

    /// <summary>A verdict that was written down.</summary>
    internal static Verdict FromParts(Decision decision, VerdictEffects effects, ushort view) => new(decision, effects, view);

    /// <summary>No opinion.</summary>
    public static Verdict Pass => default;

    /// <summary>Let it happen, and ask nobody else.</summary>
    public static Verdict Allow => new(Decision.Allow, VerdictEffects.None, 0);

    /// <summary>Do not let it happen.</summary>
    public static Verdict Deny => new(Decision.Deny, VerdictEffects.None, 0);

    /// <summary>Emulate the instruction, whatever the access rights say.</summary>
    public static Verdict Emulate => new(Decision.Emulate, VerdictEffects.None, 0);

    /// <summary>Emulate the instruction and discard its memory writes.</summary>
    public static Verdict EmulateDiscardingWrites => new(Decision.Emulate, VerdictEffects.DiscardWrites, 0);

    /// <summary>Emulate the instruction on the memory contents given to the context.</summary>
    public static Verdict EmulateWithReadData => new(Decision.Emulate, VerdictEffects.UseReadData, 0);

    /// <summary>Emulate the instruction bytes given to the context, in the place of those in memory.</summary>
    public static Verdict EmulateInstruction => new(Decision.Emulate, VerdictEffects.UseInstruction, 0);

    /// <summary>Give the guest the exception of the event, or the trap given to the context.</summary>
    public static Verdict Reinject => new(Decision.Allow, VerdictEffects.Inject, 0);

    /// <summary>The decision.</summary>
    public Decision Decision { get; }

    /// <summary>The effects.</summary>
    public VerdictEffects Effects { get; }

    /// <summary>The altp2m view to switch to, with <see cref="VerdictEffects.SwitchView"/>.</summary>
    public ushort View { get; }

    /// <summary>True when later handlers are asked.</summary>
    public bool IsPass => Decision == Decision.Pass;

    /// <summary>The verdict with the context's registers set. A pass becomes an allow.</summary>
    public Verdict WithRegisters() => With(VerdictEffects.SetRegisters);

    /// <summary>The verdict with single stepping switched on. A pass becomes an allow.</summary>
    public Verdict WithSinglestepOn() => With(VerdictEffects.SinglestepOn, VerdictEffects.SinglestepOff);

    /// <summary>The verdict with single stepping switched off. A pass becomes an allow.</summary>
    public Verdict WithSinglestepOff() => With(VerdictEffects.SinglestepOff, VerdictEffects.SinglestepOn);

    /// <summary>The verdict with an exception injected. A pass becomes an allow.</summary>
    public Verdict WithInjection() => With(VerdictEffects.Inject);

    /// <summary>The verdict with a switch to an altp2m view. A pass becomes an allow.</summary>
    public Verdict WithView(ushort view) => new(Decided, Effects | VerdictEffects.SwitchView, view);

    /// <summary>True when the verdict has the effect.</summary>
    public bool Has(VerdictEffects effect) => (Effects & effect) != 0;

    /// <summary>Short lower-case text: <c>allow</c>, <c>deny</c>, <c>emulate+discard_writes</c>.</summary>
    public override string ToString()
    {
        // The usual verdicts cost no string.
        var decision = Decision switch
        {
            Decision.Pass => "pass",
            Decision.Allow => "allow",
            Decision.Deny => "deny",
            _ => "emulate",
        };
        if (Effects == VerdictEffects.None)
        {
            return decision;
        }

        var text = decision;
        foreach (var effect in Enum.GetValues<VerdictEffects>())
        {
            if (effect != VerdictEffects.None && Has(effect))
            {
                text += "+" + EffectName(effect);
            }
        }

        return text;
    }

    private static string EffectName(VerdictEffects effect) => effect switch
    {
        VerdictEffects.SetRegisters => "registers",
        VerdictEffects.SinglestepOn => "singlestep_on",
        VerdictEffects.SinglestepOff => "singlestep_off",
        VerdictEffects.Inject => "inject",
        VerdictEffects.SwitchView => "view",
        VerdictEffects.DiscardWrites => "discard_writes",
        VerdictEffects.UseReadData => "read_data",
        _ => "instruction",
    };

    private Decision Decided => Decision == Decision.Pass ? Decision.Allow : Decision;

    private Verdict With(VerdictEffects effect, VerdictEffects without = VerdictEffects.None) => new(Decided, (Effects | effect) & ~without, View);
}
