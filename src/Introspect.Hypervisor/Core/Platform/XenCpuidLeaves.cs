using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>The Xen leaves: signature, version, where the hypercall page's MSR is, time, and HVM features.</summary>
internal sealed class XenCpuidLeaves(uint leafBase, ushort domainId, ulong tscFrequency, bool rdtscp, bool viridianFirst)
{
    /// <summary>Version told: 4.17 as Xen packs it.</summary>
    public const uint Version = ((uint)XenInterface.CoreMajor << 16) | XenInterface.CoreMinor;

    /// <summary>How many leaves follow the first.</summary>
    public const uint Limit = 5;

    private const uint TscIsStable = 1 << 1;
    private const uint HasRdtscp = 1 << 2;
    private const uint TscModeNative = 2;

    // Grant maps that ask for a DMA mapping get one; EBX and ECX are filled in; a vCPU can have an upcall vector.
    private const uint HvmFeatures = XenCpuid.HvmIommuMappings | XenCpuid.HvmVcpuIdPresent | XenCpuid.HvmDomidPresent
        | XenCpuid.HvmUpcallVector;

    private readonly TimeScale _scale = TimeScale.ForFrequency(tscFrequency);

    /// <summary>First Xen leaf.</summary>
    public uint Base => leafBase;

    /// <summary>MSR that writes the hypercall page.</summary>
    public uint HypercallPageMsr => viridianFirst ? Msr.XenHypercallPageWithViridian : Msr.XenHypercallPage;

    /// <summary>A leaf of the hypervisor range; zeroes where it is not Xen's.</summary>
    public CpuidLeaf Query(uint leaf, uint subleaf, uint vcpuId)
    {
        var khz = (uint)Math.Min(tscFrequency / 1000, uint.MaxValue);
        return (leaf - leafBase, subleaf) switch
        {
            (0, _) => new(leafBase + Limit, XenCpuid.SignatureEbx, XenCpuid.SignatureEcx, XenCpuid.SignatureEdx),
            (1, _) => new(Version, 0, 0, 0),
            (2, _) => new(1, HypercallPageMsr, 0, 0),
            (3, 0) => new(TscIsStable | (rdtscp ? HasRdtscp : 0), TscModeNative, khz, 0),
            (3, 1) => new(0, 0, _scale.Multiplier, unchecked((uint)_scale.Shift)),
            (3, 2) => new(khz, 0, 0, 0),
            (4, 0) => new(HvmFeatures, vcpuId, domainId, 0),
            _ => default,
        };
    }
}
