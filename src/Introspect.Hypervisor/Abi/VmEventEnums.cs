namespace Introspect.Hypervisor.Abi;

/// <summary>Why a vm_event request was sent (<c>VM_EVENT_REASON_*</c>, vm_event.h).</summary>
public enum VmEventReason : uint
{
    /// <summary><c>VM_EVENT_REASON_UNKNOWN</c>: default when no other reason fits.</summary>
    Unknown = 0,

    /// <summary><c>VM_EVENT_REASON_MEM_ACCESS</c>: a second-level (p2m) permission was violated.</summary>
    MemAccess = 1,

    /// <summary><c>VM_EVENT_REASON_MEM_SHARING</c>: memory sharing ran out of memory.</summary>
    MemSharing = 2,

    /// <summary><c>VM_EVENT_REASON_MEM_PAGING</c>: a paged-out page is needed.</summary>
    MemPaging = 3,

    /// <summary><c>VM_EVENT_REASON_WRITE_CTRLREG</c>: CR0, CR3, CR4 or XCR0 is written.</summary>
    WriteCtrlreg = 4,

    /// <summary><c>VM_EVENT_REASON_MOV_TO_MSR</c>: a model specific register is written.</summary>
    MovToMsr = 5,

    /// <summary><c>VM_EVENT_REASON_SOFTWARE_BREAKPOINT</c>: int3 (or another software exception) ran.</summary>
    SoftwareBreakpoint = 6,

    /// <summary><c>VM_EVENT_REASON_SINGLESTEP</c>: one instruction was stepped by the monitor trap flag.</summary>
    Singlestep = 7,

    /// <summary><c>VM_EVENT_REASON_GUEST_REQUEST</c>: the guest asked for an event (HVMOP_guest_request_vm_event).</summary>
    GuestRequest = 8,

    /// <summary><c>VM_EVENT_REASON_DEBUG_EXCEPTION</c>: #DB was raised.</summary>
    DebugException = 9,

    /// <summary><c>VM_EVENT_REASON_CPUID</c>: CPUID ran; its results are in the registers already.</summary>
    Cpuid = 10,

    /// <summary><c>VM_EVENT_REASON_PRIVILEGED_CALL</c>: Arm only.</summary>
    PrivilegedCall = 11,

    /// <summary><c>VM_EVENT_REASON_INTERRUPT</c>: the next interrupt, armed by GET_NEXT_INTERRUPT.</summary>
    Interrupt = 12,

    /// <summary><c>VM_EVENT_REASON_DESCRIPTOR_ACCESS</c>: a descriptor table register was read or written.</summary>
    DescriptorAccess = 13,

    /// <summary><c>VM_EVENT_REASON_EMUL_UNIMPLEMENTED</c>: the emulator has no code for the instruction.</summary>
    EmulUnimplemented = 14,

    /// <summary><c>VM_EVENT_REASON_VMEXIT</c>: a vmexit happened (Xen 4.17).</summary>
    VmExit = 15,

    /// <summary><c>VM_EVENT_REASON_IO_INSTRUCTION</c>: IN, OUT, INS or OUTS ran (Xen 4.18).</summary>
    IoInstruction = 16,
}

/// <summary>Flags of a request and of its response (<c>VM_EVENT_FLAG_*</c>, vm_event.h).</summary>
[Flags]
public enum VmEventFlags : uint
{
    /// <summary>No flag.</summary>
    None = 0,

    /// <summary><c>VM_EVENT_FLAG_VCPU_PAUSED</c>: the vCPU waits for the response (a sync event); echo it.</summary>
    VcpuPaused = 1 << 0,

    /// <summary><c>VM_EVENT_FLAG_FOREIGN</c>: the request was caused by another domain.</summary>
    Foreign = 1 << 1,

    /// <summary><c>VM_EVENT_FLAG_EMULATE</c>: emulate the instruction, ignoring the access rights.</summary>
    Emulate = 1 << 2,

    /// <summary><c>VM_EVENT_FLAG_EMULATE_NOWRITE</c>: emulate, discarding memory writes.</summary>
    EmulateNoWrite = 1 << 3,

    /// <summary><c>VM_EVENT_FLAG_TOGGLE_SINGLESTEP</c>: switch single stepping of the vCPU on or off.</summary>
    ToggleSinglestep = 1 << 4,

    /// <summary><c>VM_EVENT_FLAG_SET_EMUL_READ_DATA</c>: the emulator reads the data in the response.</summary>
    SetEmulReadData = 1 << 5,

    /// <summary><c>VM_EVENT_FLAG_DENY</c>: do not do the register write.</summary>
    Deny = 1 << 6,

    /// <summary><c>VM_EVENT_FLAG_ALTERNATE_P2M</c>: switch the vCPU to the view in altp2m_idx.</summary>
    AlternateP2m = 1 << 7,

    /// <summary><c>VM_EVENT_FLAG_SET_REGISTERS</c>: set GPRs, RFLAGS and RIP from the response.</summary>
    SetRegisters = 1 << 8,

    /// <summary><c>VM_EVENT_FLAG_SET_EMUL_INSN_DATA</c>: the emulator runs the instruction bytes in the response.</summary>
    SetEmulInsnData = 1 << 9,

    /// <summary><c>VM_EVENT_FLAG_GET_NEXT_INTERRUPT</c>: report the next interrupt of the vCPU.</summary>
    GetNextInterrupt = 1 << 10,

    /// <summary><c>VM_EVENT_FLAG_FAST_SINGLESTEP</c>: step one instruction, then switch to a view, without an event.</summary>
    FastSinglestep = 1 << 11,

    /// <summary><c>VM_EVENT_FLAG_NESTED_P2M</c>: the request belongs to a nested guest.</summary>
    NestedP2m = 1 << 12,

    /// <summary><c>VM_EVENT_FLAG_RESET_VMTRACE</c>: reset the vCPU's processor trace buffer.</summary>
    ResetVmtrace = 1 << 13,

    /// <summary><c>VM_EVENT_FLAG_RESET_FORK_STATE</c>: reset the fork's vCPU state to its parent's.</summary>
    ResetForkState = 1 << 14,

    /// <summary><c>VM_EVENT_FLAG_RESET_FORK_MEMORY</c>: drop the fork's private pages.</summary>
    ResetForkMemory = 1 << 15,
}

/// <summary>Which register a <see cref="VmEventReason.WriteCtrlreg"/> event is about (<c>VM_EVENT_X86_*</c>).</summary>
public enum ControlRegisterIndex : uint
{
    /// <summary><c>VM_EVENT_X86_CR0</c>.</summary>
    Cr0 = 0,

    /// <summary><c>VM_EVENT_X86_CR3</c>.</summary>
    Cr3 = 1,

    /// <summary><c>VM_EVENT_X86_CR4</c>.</summary>
    Cr4 = 2,

    /// <summary><c>VM_EVENT_X86_XCR0</c>.</summary>
    Xcr0 = 3,
}

/// <summary>Flags of a memory access event (<c>MEM_ACCESS_*</c>, vm_event.h).</summary>
[Flags]
public enum MemAccessFlags : uint
{
    /// <summary>No flag.</summary>
    None = 0,

    /// <summary><c>MEM_ACCESS_R</c>: it was a read.</summary>
    Read = 1 << 0,

    /// <summary><c>MEM_ACCESS_W</c>: it was a write.</summary>
    Write = 1 << 1,

    /// <summary><c>MEM_ACCESS_X</c>: it was an instruction fetch.</summary>
    Execute = 1 << 2,

    /// <summary><c>MEM_ACCESS_GLA_VALID</c>: the linear address is in the event.</summary>
    GlaValid = 1 << 3,

    /// <summary><c>MEM_ACCESS_FAULT_WITH_GLA</c>: the access was to the page that the linear address maps.</summary>
    FaultWithGla = 1 << 4,

    /// <summary><c>MEM_ACCESS_FAULT_IN_GPT</c>: the access was a page-table walk.</summary>
    FaultInGpt = 1 << 5,
}

/// <summary>Second-level rights of a guest page (<c>XENMEM_access_*</c>, memory.h, numbering of Xen 4.17).</summary>
public enum MemoryAccess : byte
{
    /// <summary><c>XENMEM_access_n</c>: no access.</summary>
    N = 0,

    /// <summary><c>XENMEM_access_r</c>.</summary>
    R = 1,

    /// <summary><c>XENMEM_access_w</c>.</summary>
    W = 2,

    /// <summary><c>XENMEM_access_rw</c>.</summary>
    Rw = 3,

    /// <summary><c>XENMEM_access_x</c>.</summary>
    X = 4,

    /// <summary><c>XENMEM_access_rx</c>.</summary>
    Rx = 5,

    /// <summary><c>XENMEM_access_wx</c>.</summary>
    Wx = 6,

    /// <summary><c>XENMEM_access_rwx</c>: no restriction.</summary>
    Rwx = 7,

    /// <summary><c>XENMEM_access_rx2rw</c>: r-x that becomes rw- at the first write, without an event.</summary>
    Rx2Rw = 8,

    /// <summary><c>XENMEM_access_n2rwx</c>: no access; the first access lifts it and sends an async event.</summary>
    N2Rwx = 9,

    /// <summary><c>XENMEM_access_default</c>: the domain's default for new pages.</summary>
    Default = 10,

    /// <summary>
    /// <c>XENMEM_access_r_pw</c>: read only to the guest, writable to its page-table walks. Xen has it from 4.20 on, with
    /// the numbers of it and the default exchanged; here it is behind those of 4.17.
    /// </summary>
    RPw = 11,
}

/// <summary>What was done to a descriptor table register (<c>VM_EVENT_DESC_*</c>).</summary>
public enum DescriptorRegister : byte
{
    /// <summary><c>VM_EVENT_DESC_IDTR</c>.</summary>
    Idtr = 1,

    /// <summary><c>VM_EVENT_DESC_GDTR</c>.</summary>
    Gdtr = 2,

    /// <summary><c>VM_EVENT_DESC_LDTR</c>.</summary>
    Ldtr = 3,

    /// <summary><c>VM_EVENT_DESC_TR</c>.</summary>
    Tr = 4,
}
