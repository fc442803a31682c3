namespace Introspect.Hypervisor.Abi;

#pragma warning disable CS1591 // One name a register, as the processor manuals have them.

/// <summary>Numbers of model specific registers.</summary>
public static class Msr
{
    public const uint Tsc = 0x10;
    public const uint PlatformId = 0x17;
    public const uint ApicBase = 0x1b;
    public const uint FeatureControl = 0x3a;
    public const uint TscAdjust = 0x3b;
    public const uint SpecCtrl = 0x48;
    public const uint PredCmd = 0x49;
    public const uint BiosSignId = 0x8b;
    public const uint PlatformInfo = 0xce;
    public const uint CoreCapabilities = 0xcf;
    public const uint MtrrCap = 0xfe;
    public const uint ArchCapabilities = 0x10a;
    public const uint FlushCmd = 0x10b;
    public const uint TsxForceAbort = 0x10f;
    public const uint TsxCtrl = 0x122;
    public const uint MiscFeaturesEnables = 0x140;
    public const uint SysenterCs = 0x174;
    public const uint SysenterEsp = 0x175;
    public const uint SysenterEip = 0x176;
    public const uint McgCap = 0x179;
    public const uint McgStatus = 0x17a;
    public const uint McgCtl = 0x17b;
    public const uint MiscEnable = 0x1a0;
    public const uint DebugCtl = 0x1d9;
    public const uint LastBranchFromIp = 0x1db;
    public const uint LastBranchToIp = 0x1dc;
    public const uint LastIntFromIp = 0x1dd;
    public const uint LastIntToIp = 0x1de;
    public const uint MtrrPhysBase0 = 0x200;
    public const uint MtrrPhysMask7 = 0x20f;
    public const uint MtrrFix64K00000 = 0x250;
    public const uint MtrrFix16K80000 = 0x258;
    public const uint MtrrFix16KA0000 = 0x259;
    public const uint MtrrFix4KC0000 = 0x268;
    public const uint MtrrFix4KF8000 = 0x26f;
    public const uint Pat = 0x277;
    public const uint MtrrDefType = 0x2ff;
    public const uint PerfCapabilities = 0x345;
    public const uint Mc0Ctl = 0x400;
    public const uint VmxBasic = 0x480;
    public const uint VmxVmfunc = 0x491;
    public const uint DsArea = 0x600;
    public const uint UCet = 0x6a0;
    public const uint SCet = 0x6a2;
    public const uint Pl0Ssp = 0x6a4;
    public const uint Pl3Ssp = 0x6a7;
    public const uint InterruptSspTable = 0x6a8;
    public const uint TscDeadline = 0x6e0;
    public const uint Pkrs = 0x6e1;
    public const uint X2ApicFirst = 0x800;
    public const uint X2ApicLast = 0x8ff;
    public const uint Xss = 0xda0;
    public const uint Efer = 0xc0000080;
    public const uint Star = 0xc0000081;
    public const uint Lstar = 0xc0000082;
    public const uint Cstar = 0xc0000083;
    public const uint SyscallMask = 0xc0000084;
    public const uint FsBase = 0xc0000100;
    public const uint GsBase = 0xc0000101;
    public const uint KernelGsBase = 0xc0000102;
    public const uint TscAux = 0xc0000103;
    public const uint K8Syscfg = 0xc0010010;
    public const uint K8Hwcr = 0xc0010015;
    public const uint VmCr = 0xc0010114;
    public const uint VmHsavePa = 0xc0010117;
    public const uint VirtSpecCtrl = 0xc001011f;
    public const uint Amd64LsCfg = 0xc0011020;
    public const uint Amd64DrAddressMask0 = 0xc0011027;

    /// <summary>First number of the range that hypervisors keep for themselves.</summary>
    public const uint HypervisorFirst = 0x40000000;

    /// <summary>Xen's register for its hypercall page, when viridian does not have 0x40000000.</summary>
    public const uint XenHypercallPage = 0x40000000;

    /// <summary>Xen's register for its hypercall page beside viridian's.</summary>
    public const uint XenHypercallPageWithViridian = 0x40000200;

    public const uint HypervisorLast = 0x400002ff;

    public const uint HvGuestOsId = 0x40000000;
    public const uint HvHypercall = 0x40000001;
    public const uint HvVpIndex = 0x40000002;
    public const uint HvReset = 0x40000003;
    public const uint HvVpRuntime = 0x40000010;
    public const uint HvTimeRefCount = 0x40000020;
    public const uint HvReferenceTsc = 0x40000021;
    public const uint HvTscFrequency = 0x40000022;
    public const uint HvApicFrequency = 0x40000023;
    public const uint HvEoi = 0x40000070;
    public const uint HvIcr = 0x40000071;
    public const uint HvTpr = 0x40000072;
    public const uint HvVpAssistPage = 0x40000073;
    public const uint HvScontrol = 0x40000080;
    public const uint HvSversion = 0x40000081;
    public const uint HvSiefp = 0x40000082;
    public const uint HvSimp = 0x40000083;
    public const uint HvEom = 0x40000084;
    public const uint HvSint0 = 0x40000090;
    public const uint HvSint15 = 0x4000009f;
    public const uint HvStimer0Config = 0x400000b0;
    public const uint HvStimer0Count = 0x400000b1;
    public const uint HvStimer3Count = 0x400000b7;
    public const uint HvGuestIdle = 0x400000f0;
    public const uint HvCrashP0 = 0x40000100;
    public const uint HvCrashP4 = 0x40000104;
    public const uint HvCrashCtl = 0x40000105;
}
