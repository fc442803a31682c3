namespace Introspect.Hypervisor.Core.Platform;

/// <summary>The Xen leaves: signature, version, where the hypercall page's MSR is, time, and HVM features.</summary>
internal sealed class XenCpuidLeaves(uint leafBase, ushort domainId, ulong tscFrequency, bool rdtscp, bool viridianFirst)
{
    /// <summary>Version told: 4.17 as Xen packs it.</summary>
    public const uint Version = (4u << 16) | 17u;

    /// <summary>How many leaves follow the first.</summary>
    public const uint Limit = 5;

    private const uint SignatureEbx = 0x566E_6558; // "XenV"
    private const uint SignatureEcx = 0x6558_4D4D; // "MMXe"
    private const uint SignatureEdx = 0x4D4D_566E; // "nVMM"

    private const uint TscIsStable = 1 << 1;
    private const uint HasRdtscp = 1 << 2;
    private const uint TscModeNative = 2;

    // The IOMMU bit says that grant maps which ask for a DMA mapping get one; the others, that EBX and ECX are
    // filled in, and that each vCPU can have an upcall vector of its own.
    private const uint IommuMappings = 1 << 2;
    private const uint VcpuIdPresent = 1 << 3;
    private const uint DomainIdPresent = 1 << 4;
    private const uint UpcallVector = 1 << 6;

    private readonly TimeScale _scale = TimeScale.ForFrequency(tscFrequency);

    /// <summary>First Xen leaf.</summary>
    public uint Base => leafBase;

    /// <summary>MSR that writes the hypercall page.</summary>
    public uint HypercallPageMsr => viridianFirst ? 0x4000_0200u : 0x4000_0000u;

    /// <summary>A leaf of the hypervisor range; zeroes where it is not Xen's.</summary>
    public CpuidLeaf Query(uint leaf, uint subleaf, uint vcpuId)
    {
        var khz = (uint)Math.Min(tscFrequency / 1000, uint.MaxValue);
        return (leaf - leafBase, subleaf) switch
        {
            (0, _) => new(leafBase + Limit, SignatureEbx, SignatureEcx, SignatureEdx),
            (1, _) => new(Version, 0, 0, 0),
            (2, _) => new(1, HypercallPageMsr, 0, 0),
            (3, 0) => new(TscIsStable | (rdtscp ? HasRdtscp : 0), TscModeNative, khz, 0),
            (3, 1) => new(0, 0, _scale.Multiplier, unchecked((uint)_scale.Shift)),
            (3, 2) => new(khz, 0, 0, 0),
            (4, 0) => new(IommuMappings | VcpuIdPresent | DomainIdPresent | UpcallVector, vcpuId, domainId, 0),
            _ => default,
        };
    }
}
