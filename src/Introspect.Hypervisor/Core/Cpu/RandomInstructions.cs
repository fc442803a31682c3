namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// RDRAND and RDSEED, from the domain's one door for chance. When that has nothing to give, CF is 0 and so is the
/// destination; the other arithmetic flags are 0 in either case.
/// </summary>
internal static unsafe class RandomInstructions
{
    public static SlowOutcome Read(CpuState* s, Insn* i)
    {
        var given = Cpu.Of(s).Host.TryGetRandom(out var value);
        SlowHandlers.SetRegister(s, i->R0, i->OperandSize, given ? value : 0);
        Flags.WriteArithmetic(s, given ? RFlags.Cf : 0);
        return SlowOutcome.Next;
    }
}
