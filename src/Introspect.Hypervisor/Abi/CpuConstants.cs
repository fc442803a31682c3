namespace Introspect.Hypervisor.Abi;

#pragma warning disable CS1591 // One name a bit, as the processor manuals have them.

/// <summary>Bits of CR0.</summary>
public static class Cr0
{
    public const ulong PE = 1UL << 0;
    public const ulong MP = 1UL << 1;
    public const ulong EM = 1UL << 2;
    public const ulong TS = 1UL << 3;
    public const ulong ET = 1UL << 4;
    public const ulong NE = 1UL << 5;
    public const ulong WP = 1UL << 16;
    public const ulong AM = 1UL << 18;
    public const ulong NW = 1UL << 29;
    public const ulong CD = 1UL << 30;
    public const ulong PG = 1UL << 31;
}

/// <summary>Bits of CR3.</summary>
public static class Cr3
{
    public const ulong PWT = 1UL << 3;
    public const ulong PCD = 1UL << 4;
    public const ulong PcidMask = 0xfff;
    public const ulong LamU57 = 1UL << 61;
    public const ulong LamU48 = 1UL << 62;
    public const ulong NoFlush = 1UL << 63;
}

/// <summary>Bits of CR4.</summary>
public static class Cr4
{
    public const ulong VME = 1UL << 0;
    public const ulong PVI = 1UL << 1;
    public const ulong TSD = 1UL << 2;
    public const ulong DE = 1UL << 3;
    public const ulong PSE = 1UL << 4;
    public const ulong PAE = 1UL << 5;
    public const ulong MCE = 1UL << 6;
    public const ulong PGE = 1UL << 7;
    public const ulong PCE = 1UL << 8;
    public const ulong OSFXSR = 1UL << 9;
    public const ulong OSXMMEXCPT = 1UL << 10;
    public const ulong UMIP = 1UL << 11;
    public const ulong LA57 = 1UL << 12;
    public const ulong VMXE = 1UL << 13;
    public const ulong SMXE = 1UL << 14;
    public const ulong FSGSBASE = 1UL << 16;
    public const ulong PCIDE = 1UL << 17;
    public const ulong OSXSAVE = 1UL << 18;
    public const ulong KL = 1UL << 19;
    public const ulong SMEP = 1UL << 20;
    public const ulong SMAP = 1UL << 21;
    public const ulong PKE = 1UL << 22;
    public const ulong CET = 1UL << 23;
    public const ulong PKS = 1UL << 24;
}

/// <summary>Bits of XCR0.</summary>
public static class Xcr0
{
    public const ulong X87 = 1UL << 0;
    public const ulong SSE = 1UL << 1;
    public const ulong AVX = 1UL << 2;
    public const ulong BndRegs = 1UL << 3;
    public const ulong BndCsr = 1UL << 4;
    public const ulong Opmask = 1UL << 5;
    public const ulong ZmmHi256 = 1UL << 6;
    public const ulong Hi16Zmm = 1UL << 7;
    public const ulong PKRU = 1UL << 9;
}

/// <summary>Bits of EFER.</summary>
public static class Efer
{
    public const ulong SCE = 1UL << 0;
    public const ulong LME = 1UL << 8;
    public const ulong LMA = 1UL << 10;
    public const ulong NXE = 1UL << 11;
    public const ulong SVME = 1UL << 12;
    public const ulong LMSLE = 1UL << 13;
    public const ulong FFXSE = 1UL << 14;
    public const ulong TCE = 1UL << 15;
}

/// <summary>Bits of RFLAGS.</summary>
public static class Rflags
{
    public const ulong CF = 1UL << 0;
    public const ulong Fixed1 = 1UL << 1;
    public const ulong PF = 1UL << 2;
    public const ulong AF = 1UL << 4;
    public const ulong ZF = 1UL << 6;
    public const ulong SF = 1UL << 7;
    public const ulong TF = 1UL << 8;
    public const ulong IF = 1UL << 9;
    public const ulong DF = 1UL << 10;
    public const ulong OF = 1UL << 11;
    public const ulong IOPL = 3UL << 12;
    public const ulong NT = 1UL << 14;
    public const ulong RF = 1UL << 16;
    public const ulong VM = 1UL << 17;
    public const ulong AC = 1UL << 18;
    public const ulong VIF = 1UL << 19;
    public const ulong VIP = 1UL << 20;
    public const ulong ID = 1UL << 21;
}

/// <summary>Bits of DR6; <see cref="Reserved"/> reads as ones.</summary>
public static class Dr6
{
    public const ulong B0 = 1UL << 0;
    public const ulong B1 = 1UL << 1;
    public const ulong B2 = 1UL << 2;
    public const ulong B3 = 1UL << 3;
    public const ulong BusLock = 1UL << 11;
    public const ulong BD = 1UL << 13;
    public const ulong BS = 1UL << 14;
    public const ulong BT = 1UL << 15;
    public const ulong Rtm = 1UL << 16;
    public const ulong Reserved = 0xffff0ff0;
}

/// <summary>Bits of DR7.</summary>
public static class Dr7
{
    public const ulong LE = 1UL << 8;
    public const ulong GE = 1UL << 9;
    public const ulong Fixed1 = 1UL << 10;
    public const ulong RTM = 1UL << 11;
    public const ulong GD = 1UL << 13;
    public const ulong EnableMask = 0xff;
}

/// <summary>Exception vectors.</summary>
public static class ExceptionVector
{
    public const byte DivideError = 0;
    public const byte Debug = 1;
    public const byte Nmi = 2;
    public const byte Breakpoint = 3;
    public const byte Overflow = 4;
    public const byte BoundRange = 5;
    public const byte InvalidOpcode = 6;
    public const byte DeviceNotAvailable = 7;
    public const byte DoubleFault = 8;
    public const byte InvalidTss = 10;
    public const byte SegmentNotPresent = 11;
    public const byte StackFault = 12;
    public const byte GeneralProtection = 13;
    public const byte PageFault = 14;
    public const byte X87FloatingPoint = 16;
    public const byte AlignmentCheck = 17;
    public const byte MachineCheck = 18;
    public const byte SimdFloatingPoint = 19;
    public const byte Virtualization = 20;
    public const byte ControlProtection = 21;
}

/// <summary>Bits of a page fault's error code.</summary>
public static class PageFaultError
{
    public const uint Present = 1 << 0;
    public const uint Write = 1 << 1;
    public const uint User = 1 << 2;
    public const uint ReservedBit = 1 << 3;
    public const uint InstructionFetch = 1 << 4;
    public const uint ProtectionKey = 1 << 5;
    public const uint ShadowStack = 1 << 6;
}

/// <summary>Bits of a page-table entry.</summary>
public static class PageTableEntry
{
    public const ulong Present = 1UL << 0;
    public const ulong Writable = 1UL << 1;
    public const ulong User = 1UL << 2;
    public const ulong WriteThrough = 1UL << 3;
    public const ulong CacheDisable = 1UL << 4;
    public const ulong Accessed = 1UL << 5;
    public const ulong Dirty = 1UL << 6;
    public const ulong PageSize = 1UL << 7;
    public const ulong Global = 1UL << 8;
    public const ulong NoExecute = 1UL << 63;
    public const ulong AddressMask = 0x000f_ffff_ffff_f000;
}
