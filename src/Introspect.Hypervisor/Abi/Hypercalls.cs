namespace Introspect.Hypervisor.Abi;

/// <summary>Hypercall numbers (<c>__HYPERVISOR_*</c>, xen.h).</summary>
internal static class HypercallNumber
{
    public const uint MemoryOp = 12;
    public const uint Multicall = 13;
    public const uint SetTimerOp = 15;
    public const uint XenVersion = 17;
    public const uint ConsoleIo = 18;
    public const uint GrantTableOp = 20;
    public const uint VmAssist = 21;
    public const uint VcpuOp = 24;
    public const uint MmuextOp = 26;
    public const uint XsmOp = 27;
    public const uint NmiOp = 28;
    public const uint SchedOp = 29;
    public const uint CallbackOp = 30;
    public const uint EventChannelOp = 32;
    public const uint PhysdevOp = 33;
    public const uint HvmOp = 34;
    public const uint Sysctl = 35;
    public const uint Domctl = 36;
    public const uint KexecOp = 37;
    public const uint ArgoOp = 39;
    public const uint XenpmuOp = 40;
    public const uint DmOp = 41;
    public const uint HypfsOp = 42;

    /// <summary>Entries in the hypercall page, 32 bytes each.</summary>
    public const int PageEntries = 128;
}

/// <summary>Domain numbers with a meaning of their own (<c>DOMID_*</c>, xen.h).</summary>
internal static class SpecialDomain
{
    public const ushort FirstReserved = 0x7FF0;
    public const ushort Self = 0x7FF0;
    public const ushort Io = 0x7FF1;
    public const ushort Xen = 0x7FF2;
    public const ushort Cow = 0x7FF3;
    public const ushort Invalid = 0x7FF4;
    public const ushort Idle = 0x7FFF;
}

/// <summary>Commands of <c>__HYPERVISOR_sched_op</c> (<c>SCHEDOP_*</c>).</summary>
internal static class SchedOp
{
    public const uint Yield = 0;
    public const uint Block = 1;
    public const uint Shutdown = 2;
    public const uint Poll = 3;
    public const uint RemoteShutdown = 4;
    public const uint ShutdownCode = 5;
    public const uint Watchdog = 6;
    public const uint PinOverride = 7;
}

/// <summary>Why a domain shut down (<c>SHUTDOWN_*</c>, sched.h).</summary>
internal enum ShutdownReason : byte
{
    Poweroff = 0,
    Reboot = 1,
    Suspend = 2,
    Crash = 3,
    Watchdog = 4,
    SoftReset = 5,

    /// <summary>What Xen keeps for a domain that did not shut down.</summary>
    None = 0xFF,
}

/// <summary>Commands of <c>__HYPERVISOR_console_io</c> (<c>CONSOLEIO_*</c>).</summary>
internal static class ConsoleIo
{
    public const uint Write = 0;
    public const uint Read = 1;
}

/// <summary>Commands of <c>__HYPERVISOR_xen_version</c> (<c>XENVER_*</c>).</summary>
internal static class XenVersionOp
{
    public const uint Version = 0;
    public const uint ExtraVersion = 1;
    public const uint CompileInfo = 2;
    public const uint Capabilities = 3;
    public const uint Changeset = 4;
    public const uint PlatformParameters = 5;
    public const uint GetFeatures = 6;
    public const uint PageSize = 7;
    public const uint GuestHandle = 8;
    public const uint CommandLine = 9;
    public const uint BuildId = 10;

    public const int ExtraVersionBytes = 16;
    public const int CapabilitiesBytes = 1024;
    public const int ChangesetBytes = 64;
    public const int CommandLineBytes = 1024;
}

/// <summary>Bits of <c>XENVER_get_features</c> (<c>XENFEAT_*</c>).</summary>
internal static class XenFeature
{
    public const int WritablePageTables = 0;
    public const int WritableDescriptorTables = 1;
    public const int AutoTranslatedPhysmap = 2;
    public const int SupervisorModeKernel = 3;
    public const int PaePgdirAbove4Gb = 4;
    public const int MmuPtUpdatePreserveAd = 5;
    public const int HighmemAssist = 6;
    public const int GnttabMapAvailBits = 7;
    public const int HvmCallbackVector = 8;
    public const int HvmSafePvclock = 9;
    public const int HvmPirqs = 10;
    public const int Dom0 = 11;
    public const int MemoryOpVnodeSupported = 13;
    public const int LinuxRsdpUnrestricted = 15;
}

/// <summary>Commands of <c>__HYPERVISOR_vcpu_op</c> (<c>VCPUOP_*</c>).</summary>
internal static class VcpuOp
{
    public const uint Initialise = 0;
    public const uint Up = 1;
    public const uint Down = 2;
    public const uint IsUp = 3;
    public const uint GetRunstateInfo = 4;
    public const uint RegisterRunstateMemoryArea = 5;
    public const uint SetPeriodicTimer = 6;
    public const uint StopPeriodicTimer = 7;
    public const uint SetSingleshotTimer = 8;
    public const uint StopSingleshotTimer = 9;
    public const uint RegisterVcpuInfo = 10;
    public const uint SendNmi = 11;
    public const uint GetPhysid = 12;
    public const uint RegisterVcpuTimeMemoryArea = 13;
}

/// <summary>The Xen leaves of CPUID (arch-x86/cpuid.h).</summary>
internal static class XenCpuid
{
    public const uint FirstLeaf = 0x40000000;

    /// <summary>Leaves from the base on, the base included.</summary>
    public const uint MaxLeaves = 5;

    /// <summary>"XenV".</summary>
    public const uint SignatureEbx = 0x566e6558;

    /// <summary>"MMXe".</summary>
    public const uint SignatureEcx = 0x65584d4d;

    /// <summary>"nVMM".</summary>
    public const uint SignatureEdx = 0x4d4d566e;

    /// <summary>Bits of EAX of base + 4 (<c>XEN_HVM_CPUID_*</c>).</summary>
    public const uint HvmApicAccessVirt = 1 << 0;
    public const uint HvmX2ApicVirt = 1 << 1;
    public const uint HvmIommuMappings = 1 << 2;
    public const uint HvmVcpuIdPresent = 1 << 3;
    public const uint HvmDomidPresent = 1 << 4;
    public const uint HvmExtDestId = 1 << 5;
    public const uint HvmUpcallVector = 1 << 6;
}

/// <summary>ELF notes that a kernel tells about itself (<c>XEN_ELFNOTE_*</c>, elfnote.h).</summary>
internal static class XenElfNote
{
    public const uint Info = 0;
    public const uint Entry = 1;
    public const uint HypercallPage = 2;
    public const uint VirtBase = 3;
    public const uint PaddrOffset = 4;
    public const uint XenVersion = 5;
    public const uint GuestOs = 6;
    public const uint GuestVersion = 7;
    public const uint Loader = 8;
    public const uint PaeMode = 9;
    public const uint Features = 10;
    public const uint SupportedFeatures = 17;

    /// <summary>Entry point of a PVH boot, a physical address.</summary>
    public const uint Phys32Entry = 18;

    /// <summary>Owner of the notes.</summary>
    public const string Owner = "Xen";
}
