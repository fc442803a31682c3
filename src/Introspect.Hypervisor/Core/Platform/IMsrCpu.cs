namespace Introspect.Hypervisor.Core.Platform;

/// <summary>A model-specific register that lives in the interpreter's own state.</summary>
internal enum CpuMsr
{
    Efer,
    Star,
    Lstar,
    Cstar,
    SyscallMask,
    FsBase,
    GsBase,
    KernelGsBase,
    SysenterCs,
    SysenterEsp,
    SysenterEip,
    TscAux,
    Pat,
}

/// <summary>The vCPU as RDMSR and WRMSR need it.</summary>
internal interface IMsrCpu
{
    /// <summary>CR0.PG.</summary>
    bool PagingEnabled { get; }

    /// <summary>CR4.LA57: linear addresses have 57 bits.</summary>
    bool FiveLevelPaging { get; }

    /// <summary>What RDTSC gives. Setting it moves the vCPU's offset.</summary>
    ulong Timestamp { get; set; }

    /// <summary>Reads a register of the interpreter.</summary>
    ulong ReadRegister(CpuMsr register);

    /// <summary>
    /// Writes a register of the interpreter; the value was checked. What follows from it (decode mode, paging, for
    /// EFER.LME becoming set the clearing of CS.L) is the implementation's.
    /// </summary>
    void WriteRegister(CpuMsr register, ulong value);

    /// <summary>Reads a register of the local APIC in x2APIC mode (0x800–0x8FF) or its TSC deadline; false is #GP(0).</summary>
    bool ReadApic(uint msr, out ulong value);

    /// <summary>Writes a register of the local APIC in x2APIC mode (0x800–0x8FF) or its TSC deadline; false is #GP(0).</summary>
    bool WriteApic(uint msr, ulong value);

    /// <summary>APIC_BASE changed: the local APIC was enabled, disabled or changed its mode.</summary>
    void OnApicBaseChanged(ulong oldValue, ulong newValue);
}
