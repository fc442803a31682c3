using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>
/// Registers of a vCPU that a SIPI starts (Xen's <c>hvm_vcpu_reset_state</c>): real mode at the vector's page. What
/// INIT does not touch stays: XCR0, PAT, the MSRs that are no part of the mode.
/// </summary>
internal static class StartupState
{
    // Xen gives an initialised x87 unit the control word of a reset, not of FNINIT.
    private const ushort ResetControlWord = 0x40;
    private const uint ResetMxcsr = 0x1F80;

    /// <summary>Puts the registers into a CPU; what is derived from them is the caller's to recompute.</summary>
    public static void Load(Cpu.Cpu cpu, byte vector)
    {
        var (xcr0, pat) = (cpu.Registers.Xcr0, cpu.Registers.Pat);
        cpu.Reset();
        ref var state = ref cpu.Registers;
        (state.Xcr0, state.Pat) = (xcr0, pat);
        state.Rip = 0;
        state.Cr0 = Abi.Cr0.ET;
        ref var code = ref cpu.Segment(SegmentIndex.Cs);
        code.Selector = (ushort)(vector << 8);
        code.Base = (ulong)vector << 12;
        cpu.ResetVectorState(ResetControlWord, ResetMxcsr);
    }
}
