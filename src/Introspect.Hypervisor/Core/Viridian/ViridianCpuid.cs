using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>A register that CPUID gives.</summary>
internal enum CpuidRegister
{
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// <summary>A bit of CPUID that comes with a feature.</summary>
/// <param name="Feature">The feature.</param>
/// <param name="Leaf">Leaf.</param>
/// <param name="Register">Register.</param>
/// <param name="Bit">Bit, or -1 for all of them.</param>
/// <param name="Name">What it says, in the specification's words.</param>
internal readonly record struct ViridianCpuidBit(ViridianFeature Feature, uint Leaf, CpuidRegister Register, int Bit, string Name);

/// <summary>Leaves 0x40000000 to 0x40000006 of a domain with viridian.</summary>
internal static class ViridianCpuid
{
    /// <summary>First leaf.</summary>
    public const uint First = CpuidPolicy.HypervisorBase;

    /// <summary>Last leaf that is not Xen's.</summary>
    public const uint Last = First + 0xFF;

    private const uint MaxLeaf = First + 6;

    // "Micr", "osof", "t Hv"; "Hv#1".
    private const uint VendorEbx = 0x7263_694D, VendorEcx = 0x666F_736F, VendorEdx = 0x7648_2074, InterfaceName = 0x3123_7648;

    // The recommendations are for systems from this one on: 4 is Windows.
    private const byte FirstAdvisedSystem = 4;
    private const uint RelaxedTiming = 1 << 5;
    private const uint ApicByRegisters = 1 << 3;
    private const uint MsrBitmaps = 1 << 1, NestedPaging = 1 << 3;

    /// <summary>The bits that features give.</summary>
    public static IReadOnlyList<ViridianCpuidBit> Bits { get; } =
    [
        new(ViridianFeature.Base, 3, CpuidRegister.Eax, 4, "AccessIntrCtrlRegs"),
        new(ViridianFeature.Base, 3, CpuidRegister.Eax, 5, "AccessHypercallMsrs"),
        new(ViridianFeature.Base, 3, CpuidRegister.Eax, 6, "AccessVpIndex"),
        new(ViridianFeature.Freq, 3, CpuidRegister.Eax, 11, "AccessFrequencyRegs"),
        new(ViridianFeature.TimeRefCount, 3, CpuidRegister.Eax, 1, "AccessPartitionReferenceCounter"),
        new(ViridianFeature.ReferenceTsc, 3, CpuidRegister.Eax, 9, "AccessPartitionReferenceTsc"),
        new(ViridianFeature.Synic, 3, CpuidRegister.Eax, 2, "AccessSynicRegs"),
        new(ViridianFeature.Synic, 3, CpuidRegister.Edx, 17, "SintPollingMode"),
        new(ViridianFeature.Stimer, 3, CpuidRegister.Eax, 3, "AccessSyntheticTimerRegs"),
        new(ViridianFeature.CrashCtl, 3, CpuidRegister.Edx, 10, "GuestCrashMsrs"),
        new(ViridianFeature.CpuHotplug, 3, CpuidRegister.Edx, 3, "CpuDynamicPartitioning"),
        new(ViridianFeature.HcallRemoteTlbFlush, 4, CpuidRegister.Eax, 2, "UseHypercallForRemoteFlush"),
        new(ViridianFeature.HcallIpi, 4, CpuidRegister.Eax, 10, "UseSyntheticClusterIpi"),
        new(ViridianFeature.ExProcessorMasks, 4, CpuidRegister.Eax, 11, "UseExProcessorMasks"),
        new(ViridianFeature.NoVpLimit, 5, CpuidRegister.Eax, -1, "no limit of virtual processors"),
    ];

    /// <summary>A leaf; zeroes where there is none. Leaves 2 and 4 are there once the guest has said what it is.</summary>
    public static CpuidLeaf Query(uint leaf, ViridianFeatureSet features, ulong guestOsId, ViridianOptions options)
    {
        switch (leaf - First)
        {
            case 0:
                return new(MaxLeaf, VendorEbx, VendorEcx, VendorEdx);
            case 1:
                return new(InterfaceName, 0, 0, 0);
            case 2 when guestOsId != 0:
                return new(options.Build, ((uint)options.MajorVersion << 16) | options.MinorVersion, 0, 0);
            case 3 or 5:
                return Gather(leaf - First, features);
            case 4 when SystemOf(guestOsId) >= FirstAdvisedSystem:
                var advised = Gather(4, features);
                return advised with { Eax = advised.Eax | RelaxedTiming | ApicByRegisters, Ebx = options.SpinlockRetries };
            case 6:
                return new(MsrBitmaps | NestedPaging, 0, 0, 0);
            default:
                return default;
        }
    }

    private static byte SystemOf(ulong guestOsId) => (byte)(guestOsId >> 40);

    private static CpuidLeaf Gather(uint leaf, ViridianFeatureSet features)
    {
        var result = default(CpuidLeaf);
        for (var i = 0; i < Bits.Count; i++)
        {
            var bit = Bits[i];
            if (bit.Leaf != leaf || !features.Has(bit.Feature))
            {
                continue;
            }

            var mask = bit.Bit < 0 ? uint.MaxValue : 1u << bit.Bit;
            result = bit.Register switch
            {
                CpuidRegister.Eax => result with { Eax = result.Eax | mask },
                CpuidRegister.Ebx => result with { Ebx = result.Ebx | mask },
                CpuidRegister.Ecx => result with { Ecx = result.Ecx | mask },
                _ => result with { Edx = result.Edx | mask },
            };
        }

        return result;
    }
}
