namespace Introspect.Hypervisor.Core.Platform;

/// <summary>Numbers of model-specific registers that only a CPU's own platform code meets, and bits of APIC_BASE.</summary>
internal static class MsrIndex
{
    public const uint P5McAddr = 0x0;
    public const uint P5McType = 0x1;
    public const uint EbcFrequencyId = 0x2C;
    public const uint UcodeWrite = 0x79;
    public const uint PerfCounter0 = 0xC1;
    public const uint PerfCounter7 = 0xC8;
    public const uint PerfEventSelect0 = 0x186;
    public const uint PerfEventSelect3 = 0x189;
    public const uint PerfEventSelect7 = 0x18D;
    public const uint PerfStatus = 0x198;
    public const uint PerfCtl = 0x199;
    public const uint ThermStatus = 0x19C;
    public const uint Mc0Ctl2 = 0x280;
    public const uint Mc31Ctl2 = 0x29F;
    public const uint FixedCounter0 = 0x309;
    public const uint FixedCounter2 = 0x30B;
    public const uint FixedCounterCtrl = 0x38D;
    public const uint PerfGlobalOverflowCtrl = 0x390;
    public const uint PebsEnable = 0x3F1;
    public const uint Mc31Misc = 0x47F;

    public const uint TscRatio = 0xC000_0104;
    public const uint Mc4Misc1 = 0xC000_0408;
    public const uint Mc4Misc3 = 0xC000_040A;

    public const uint K7EventSelect0 = 0xC001_0000;
    public const uint K7Counter3 = 0xC001_0007;
    public const uint TopMem1 = 0xC001_001A;
    public const uint TopMem2 = 0xC001_001D;
    public const uint NbCfg = 0xC001_001F;
    public const uint PatchLoader = 0xC001_0020;
    public const uint EnableC1E = 0xC001_0055;
    public const uint OsvwIdLength = 0xC001_0140;
    public const uint OsvwStatus = 0xC001_0141;
    public const uint Fam15EventSelect0 = 0xC001_0200;
    public const uint Fam15Counter5 = 0xC001_020B;
    public const uint Dr1Mask = 0xC001_1019;
    public const uint Dr3Mask = 0xC001_101B;
    public const uint BuCfg = 0xC001_1023;
    public const uint DeCfg = 0xC001_1029;
    public const uint BuCfg2 = 0xC001_102A;
    public const uint ExCfg = 0xC001_102C;

    public const ulong ApicDefaultAddress = 0xFEE0_0000;
    public const ulong ApicBaseBsp = 1 << 8;
    public const ulong ApicBaseX2 = 1 << 10;
    public const ulong ApicBaseEnable = 1 << 11;
}
