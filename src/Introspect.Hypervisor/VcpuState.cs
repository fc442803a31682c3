namespace Introspect.Hypervisor;

/// <summary>A segment register with its hidden part.</summary>
/// <param name="Selector">Selector.</param>
/// <param name="AccessRights">Access rights in VMX layout: type 0–3, S 4, DPL 5–6, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16.</param>
/// <param name="Limit">Limit in bytes (expanded by the granularity).</param>
/// <param name="Base">Base address.</param>
public readonly record struct SegmentState(ushort Selector, uint AccessRights, uint Limit, ulong Base);

/// <summary>A vCPU's architectural state, as <c>struct hvm_hw_cpu</c> carries it.</summary>
public struct VcpuState
{
#pragma warning disable CS1591 // One field a register.
    public ulong Rax, Rbx, Rcx, Rdx, Rbp, Rsi, Rdi, Rsp;
    public ulong R8, R9, R10, R11, R12, R13, R14, R15;
    public ulong Rip, Rflags;
    public ulong Cr0, Cr2, Cr3, Cr4;
    public ulong Dr0, Dr1, Dr2, Dr3, Dr6, Dr7;
    public SegmentState Cs, Ds, Es, Fs, Gs, Ss, Tr, Ldtr;
    public ulong IdtrBase, GdtrBase;
    public uint IdtrLimit, GdtrLimit;
    public ulong SysenterCs, SysenterEsp, SysenterEip;
    public ulong ShadowGs;
    public ulong MsrEfer, MsrStar, MsrLstar, MsrCstar, MsrSyscallMask;
    public ulong Tsc;
#pragma warning restore CS1591

    /// <summary>The address space of the vCPU.</summary>
    public readonly AddressSpace AddressSpace => AddressSpace.FromControlRegisters(Cr0, Cr3, Cr4, MsrEfer);
}
