namespace Introspect.Hypervisor.Core.Cpu.VectorUnit;

/// <summary>Fences and cache lines, which came with SSE but ask none of its control bits.</summary>
internal static unsafe class CacheInstructions
{
    public static SlowOutcome Fence(CpuState* s, Insn* i)
    {
        Thread.MemoryBarrier();
        return SlowOutcome.Next;
    }

    /// <summary>CLFLUSH faults like a byte read; there is no cache to flush.</summary>
    public static SlowOutcome Clflush(CpuState* s, Insn* i) =>
        SlowHandlers.LoadOperand(s, i, 1, out _) ? SlowOutcome.Next : SlowOutcome.Stopped;
}
