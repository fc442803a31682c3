namespace Introspect.Hypervisor.Core.Platform;

/// <summary>Register of a CPUID leaf that holds feature bits, in the order of Xen's feature set words.</summary>
internal enum CpuFeatureWord
{
    /// <summary>Leaf 1, EDX.</summary>
    Leaf1Edx = 0,

    /// <summary>Leaf 1, ECX.</summary>
    Leaf1Ecx = 1,

    /// <summary>Leaf 0x80000001, EDX.</summary>
    Extended1Edx = 2,

    /// <summary>Leaf 0x80000001, ECX.</summary>
    Extended1Ecx = 3,

    /// <summary>Leaf 0xd, subleaf 1, EAX.</summary>
    XstateEax = 4,

    /// <summary>Leaf 7, EBX.</summary>
    Leaf7Ebx = 5,

    /// <summary>Leaf 7, ECX.</summary>
    Leaf7Ecx = 6,

    /// <summary>Leaf 0x80000007, EDX.</summary>
    Extended7Edx = 7,

    /// <summary>Leaf 0x80000008, EBX.</summary>
    Extended8Ebx = 8,

    /// <summary>Leaf 7, EDX.</summary>
    Leaf7Edx = 9,

    /// <summary>How many words there are.</summary>
    Count = 10,
}

/// <summary>A CPU feature: its word times 32 plus its bit. Names are the processor manuals'.</summary>
internal enum CpuFeature
{
    Fpu = (32 * CpuFeatureWord.Leaf1Edx) + 0,
    Vme = (32 * CpuFeatureWord.Leaf1Edx) + 1,
    De = (32 * CpuFeatureWord.Leaf1Edx) + 2,
    Pse = (32 * CpuFeatureWord.Leaf1Edx) + 3,
    Tsc = (32 * CpuFeatureWord.Leaf1Edx) + 4,
    Msr = (32 * CpuFeatureWord.Leaf1Edx) + 5,
    Pae = (32 * CpuFeatureWord.Leaf1Edx) + 6,
    Mce = (32 * CpuFeatureWord.Leaf1Edx) + 7,
    Cx8 = (32 * CpuFeatureWord.Leaf1Edx) + 8,
    Apic = (32 * CpuFeatureWord.Leaf1Edx) + 9,
    Sep = (32 * CpuFeatureWord.Leaf1Edx) + 11,
    Mtrr = (32 * CpuFeatureWord.Leaf1Edx) + 12,
    Pge = (32 * CpuFeatureWord.Leaf1Edx) + 13,
    Mca = (32 * CpuFeatureWord.Leaf1Edx) + 14,
    Cmov = (32 * CpuFeatureWord.Leaf1Edx) + 15,
    Pat = (32 * CpuFeatureWord.Leaf1Edx) + 16,
    Pse36 = (32 * CpuFeatureWord.Leaf1Edx) + 17,
    Clflush = (32 * CpuFeatureWord.Leaf1Edx) + 19,
    Mmx = (32 * CpuFeatureWord.Leaf1Edx) + 23,
    Fxsr = (32 * CpuFeatureWord.Leaf1Edx) + 24,
    Sse = (32 * CpuFeatureWord.Leaf1Edx) + 25,
    Sse2 = (32 * CpuFeatureWord.Leaf1Edx) + 26,
    Htt = (32 * CpuFeatureWord.Leaf1Edx) + 28,

    Sse3 = (32 * CpuFeatureWord.Leaf1Ecx) + 0,
    Pclmulqdq = (32 * CpuFeatureWord.Leaf1Ecx) + 1,
    Monitor = (32 * CpuFeatureWord.Leaf1Ecx) + 3,
    Vmx = (32 * CpuFeatureWord.Leaf1Ecx) + 5,
    Ssse3 = (32 * CpuFeatureWord.Leaf1Ecx) + 9,
    Fma = (32 * CpuFeatureWord.Leaf1Ecx) + 12,
    Cx16 = (32 * CpuFeatureWord.Leaf1Ecx) + 13,
    Pcid = (32 * CpuFeatureWord.Leaf1Ecx) + 17,
    Sse41 = (32 * CpuFeatureWord.Leaf1Ecx) + 19,
    Sse42 = (32 * CpuFeatureWord.Leaf1Ecx) + 20,
    X2Apic = (32 * CpuFeatureWord.Leaf1Ecx) + 21,
    Movbe = (32 * CpuFeatureWord.Leaf1Ecx) + 22,
    Popcnt = (32 * CpuFeatureWord.Leaf1Ecx) + 23,
    TscDeadline = (32 * CpuFeatureWord.Leaf1Ecx) + 24,
    Aes = (32 * CpuFeatureWord.Leaf1Ecx) + 25,
    Xsave = (32 * CpuFeatureWord.Leaf1Ecx) + 26,
    OsXsave = (32 * CpuFeatureWord.Leaf1Ecx) + 27,
    Avx = (32 * CpuFeatureWord.Leaf1Ecx) + 28,
    F16c = (32 * CpuFeatureWord.Leaf1Ecx) + 29,
    Rdrand = (32 * CpuFeatureWord.Leaf1Ecx) + 30,
    Hypervisor = (32 * CpuFeatureWord.Leaf1Ecx) + 31,

    Syscall = (32 * CpuFeatureWord.Extended1Edx) + 11,
    Nx = (32 * CpuFeatureWord.Extended1Edx) + 20,
    MmxExt = (32 * CpuFeatureWord.Extended1Edx) + 22,
    Ffxsr = (32 * CpuFeatureWord.Extended1Edx) + 25,
    Page1Gb = (32 * CpuFeatureWord.Extended1Edx) + 26,
    Rdtscp = (32 * CpuFeatureWord.Extended1Edx) + 27,
    Lm = (32 * CpuFeatureWord.Extended1Edx) + 29,

    LahfLm = (32 * CpuFeatureWord.Extended1Ecx) + 0,
    CmpLegacy = (32 * CpuFeatureWord.Extended1Ecx) + 1,
    Svm = (32 * CpuFeatureWord.Extended1Ecx) + 2,
    Cr8Legacy = (32 * CpuFeatureWord.Extended1Ecx) + 4,
    Abm = (32 * CpuFeatureWord.Extended1Ecx) + 5,
    Sse4a = (32 * CpuFeatureWord.Extended1Ecx) + 6,
    MisalignSse = (32 * CpuFeatureWord.Extended1Ecx) + 7,
    Prefetchw = (32 * CpuFeatureWord.Extended1Ecx) + 8,
    Osvw = (32 * CpuFeatureWord.Extended1Ecx) + 9,
    Dbext = (32 * CpuFeatureWord.Extended1Ecx) + 26,

    XsaveOpt = (32 * CpuFeatureWord.XstateEax) + 0,
    Xsavec = (32 * CpuFeatureWord.XstateEax) + 1,
    Xgetbv1 = (32 * CpuFeatureWord.XstateEax) + 2,
    Xsaves = (32 * CpuFeatureWord.XstateEax) + 3,

    FsGsBase = (32 * CpuFeatureWord.Leaf7Ebx) + 0,
    TscAdjust = (32 * CpuFeatureWord.Leaf7Ebx) + 1,
    Bmi1 = (32 * CpuFeatureWord.Leaf7Ebx) + 3,
    Hle = (32 * CpuFeatureWord.Leaf7Ebx) + 4,
    Avx2 = (32 * CpuFeatureWord.Leaf7Ebx) + 5,
    FdpExceptionOnly = (32 * CpuFeatureWord.Leaf7Ebx) + 6,
    Smep = (32 * CpuFeatureWord.Leaf7Ebx) + 7,
    Bmi2 = (32 * CpuFeatureWord.Leaf7Ebx) + 8,
    Erms = (32 * CpuFeatureWord.Leaf7Ebx) + 9,
    Invpcid = (32 * CpuFeatureWord.Leaf7Ebx) + 10,
    Rtm = (32 * CpuFeatureWord.Leaf7Ebx) + 11,
    NoFpuSelectors = (32 * CpuFeatureWord.Leaf7Ebx) + 13,
    Rdseed = (32 * CpuFeatureWord.Leaf7Ebx) + 18,
    Adx = (32 * CpuFeatureWord.Leaf7Ebx) + 19,
    Smap = (32 * CpuFeatureWord.Leaf7Ebx) + 20,
    Clflushopt = (32 * CpuFeatureWord.Leaf7Ebx) + 23,
    Clwb = (32 * CpuFeatureWord.Leaf7Ebx) + 24,
    Sha = (32 * CpuFeatureWord.Leaf7Ebx) + 29,

    Umip = (32 * CpuFeatureWord.Leaf7Ecx) + 2,
    Pku = (32 * CpuFeatureWord.Leaf7Ecx) + 3,
    OsPke = (32 * CpuFeatureWord.Leaf7Ecx) + 4,
    La57 = (32 * CpuFeatureWord.Leaf7Ecx) + 16,
    Rdpid = (32 * CpuFeatureWord.Leaf7Ecx) + 22,

    Itsc = (32 * CpuFeatureWord.Extended7Edx) + 8,

    Clzero = (32 * CpuFeatureWord.Extended8Ebx) + 0,
    AmdIbpb = (32 * CpuFeatureWord.Extended8Ebx) + 12,
    AmdIbrs = (32 * CpuFeatureWord.Extended8Ebx) + 14,
    AmdSsbd = (32 * CpuFeatureWord.Extended8Ebx) + 24,
    VirtSsbd = (32 * CpuFeatureWord.Extended8Ebx) + 25,

    Fsrm = (32 * CpuFeatureWord.Leaf7Edx) + 4,
    MdClear = (32 * CpuFeatureWord.Leaf7Edx) + 10,
    IbrsIbpb = (32 * CpuFeatureWord.Leaf7Edx) + 26,
    Stibp = (32 * CpuFeatureWord.Leaf7Edx) + 27,
    L1dFlush = (32 * CpuFeatureWord.Leaf7Edx) + 28,
    ArchCapabilities = (32 * CpuFeatureWord.Leaf7Edx) + 29,
    Ssbd = (32 * CpuFeatureWord.Leaf7Edx) + 31,
}
