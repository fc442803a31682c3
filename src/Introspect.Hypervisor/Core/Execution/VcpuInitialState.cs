using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>Registers of a vCPU that VCPUOP_initialise starts (<c>struct vcpu_hvm_context</c>).</summary>
internal static class VcpuInitialState
{
    private const uint Mode64 = 1;
    private const ushort FlatCode64 = 0xA9B;
    private const ushort FlatData = 0xC93;
    private const ushort Task = 0x8B;

    /// <summary>Puts the registers into a CPU; what is derived from them is the caller's to recompute.</summary>
    public static void Load(Cpu.Cpu cpu, in VcpuHvmContext context)
    {
        cpu.Reset();
        if (context.Mode == Mode64)
        {
            Load64(cpu, in context.X86_64);
        }
        else
        {
            Load32(cpu, in context.X86_32);
        }

        cpu.Registers.GdtrLimit = 0;
        cpu.Registers.IdtrLimit = 0;
    }

    private static void Load64(Cpu.Cpu cpu, in VcpuHvmX86_64 r)
    {
        ReadOnlySpan<ulong> registers = [r.Rax, r.Rcx, r.Rdx, r.Rbx, r.Rsp, r.Rbp, r.Rsi, r.Rdi];
        Registers(cpu, registers, r.Rip, (uint)r.Rflags);
        Control(cpu, r.Cr0, r.Cr3, r.Cr4, r.Efer);
        Segment(cpu, SegmentIndex.Cs, 0, ~0u, FlatCode64);
        Segment(cpu, SegmentIndex.Ds, 0, ~0u, FlatData);
        Segment(cpu, SegmentIndex.Ss, 0, ~0u, FlatData);
        Segment(cpu, SegmentIndex.Es, 0, ~0u, FlatData);
        Segment(cpu, SegmentIndex.Tr, 0, 0x67, Task);
    }

    private static void Load32(Cpu.Cpu cpu, in VcpuHvmX86_32 r)
    {
        ReadOnlySpan<ulong> registers = [r.Eax, r.Ecx, r.Edx, r.Ebx, r.Esp, r.Ebp, r.Esi, r.Edi];
        Registers(cpu, registers, r.Eip, r.Eflags);
        Control(cpu, r.Cr0, r.Cr3, r.Cr4, r.Efer);
        Segment(cpu, SegmentIndex.Cs, r.CsBase, r.CsLimit, r.CsAr);
        Segment(cpu, SegmentIndex.Ds, r.DsBase, r.DsLimit, r.DsAr);
        Segment(cpu, SegmentIndex.Ss, r.SsBase, r.SsLimit, r.SsAr);
        Segment(cpu, SegmentIndex.Es, r.EsBase, r.EsLimit, r.EsAr);
        Segment(cpu, SegmentIndex.Tr, r.TrBase, r.TrLimit, r.TrAr);
    }

    private static void Registers(Cpu.Cpu cpu, ReadOnlySpan<ulong> registers, ulong rip, uint rflags)
    {
        for (var n = 0; n < registers.Length; n++)
        {
            cpu.Gpr(n) = registers[n];
        }

        cpu.Registers.Rip = rip;
        cpu.Rflags = rflags;
    }

    private static void Control(Cpu.Cpu cpu, ulong cr0, ulong cr3, ulong cr4, ulong efer)
    {
        const ulong Pg = 1UL << 31;
        cpu.Registers.Cr0 = cr0 | Abi.Cr0.ET;
        cpu.Registers.Cr3 = cr3;
        cpu.Registers.Cr4 = cr4;
        cpu.Registers.Efer = efer | ((cr0 & Pg) != 0 ? (efer & Efer.LME) << 2 : 0);
    }

    /// <summary>Attributes in the descriptor's layout: type to P in bits 0–7, AVL to G in bits 8–11.</summary>
    private static void Segment(Cpu.Cpu cpu, SegmentIndex index, ulong @base, uint limit, ushort attributes)
    {
        ref var segment = ref cpu.Segment(index);
        segment = default;
        segment.Base = @base;
        segment.Limit = limit;
        segment.Attributes = (attributes & 0xFFu) | ((attributes & 0xF00u) << 4);
    }
}
