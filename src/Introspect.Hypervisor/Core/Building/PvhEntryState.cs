namespace Introspect.Hypervisor.Core.Building;

/// <summary>
/// The state in which the first vCPU of a PVH domain starts (docs/misc/pvh): 32-bit flat protected mode without
/// paging. What is not here is zero. The domain builder applies it as a toolstack does, through sethvmcontext.
/// </summary>
/// <param name="Eip">The image's entry point.</param>
/// <param name="Ebx">Guest-physical address of the <c>hvm_start_info</c>.</param>
internal sealed record PvhEntryState(uint Eip, uint Ebx)
{
    /// <summary>PE and ET.</summary>
    public const ulong Cr0 = 0x11;

    /// <summary>Bit 1 is always set; interrupts and trapping are off.</summary>
    public const ulong Rflags = 0x2;

    public const ulong Dr6 = 0xffff_0ff0;
    public const ulong Dr7 = 0x400;

    /// <summary>IA32_MTRR_DEF_TYPE: enabled, write-back.</summary>
    public const ulong MtrrDefaultType = 0x806;

    /// <summary>32-bit code, execute and read, accessed, flat.</summary>
    public static SegmentState Code => new(0, 0xc09b, uint.MaxValue, 0);

    /// <summary>32-bit data, read and write, accessed, flat.</summary>
    public static SegmentState Data => new(0, 0xc093, uint.MaxValue, 0);

    /// <summary>A busy 32-bit TSS.</summary>
    public static SegmentState Task => new(0, 0x8b, 0x67, 0);

    /// <summary>A segment register that holds nothing.</summary>
    public static SegmentState Unusable => new(0, 0x1_0000, 0, 0);

    /// <summary>The same as a whole vCPU state.</summary>
    public VcpuState ToVcpuState() => new()
    {
        Rip = Eip,
        Rbx = Ebx,
        Rflags = Rflags,
        Cr0 = Cr0,
        Dr6 = Dr6,
        Dr7 = Dr7,
        Cs = Code,
        Ds = Data,
        Es = Data,
        Ss = Data,
        Fs = Unusable,
        Gs = Unusable,
        Ldtr = Unusable,
        Tr = Task,
    };
}
