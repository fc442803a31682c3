using System.Buffers.Binary;
using System.Numerics;
using System.Text;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>The four registers that CPUID gives.</summary>
internal readonly record struct CpuidLeaf(uint Eax, uint Ebx, uint Ecx, uint Edx);

/// <summary>What of CPUID follows the vCPU's own state.</summary>
internal readonly record struct CpuidVcpuState
{
    /// <summary>Number of the vCPU in its domain.</summary>
    public uint VcpuId { get; init; }

    /// <summary>CR4.OSXSAVE.</summary>
    public bool OsXsave { get; init; }

    /// <summary>CR4.PKE.</summary>
    public bool ProtectionKeys { get; init; }

    /// <summary>APIC_BASE.EN: the local APIC is not disabled globally.</summary>
    public bool ApicEnabled { get; init; }

    /// <summary>EFER.LMA.</summary>
    public bool LongMode { get; init; }

    /// <summary>XCR0.</summary>
    public ulong Xcr0 { get; init; }

    /// <summary>IA32_XSS.</summary>
    public ulong Xss { get; init; }
}

/// <summary>What a domain's CPUID is made from.</summary>
internal sealed record CpuidConfiguration
{
    /// <summary>Vendor personality.</summary>
    public required CpuVendor Vendor { get; init; }

    /// <summary>Features; what the vendor lacks or what lacks a prerequisite is taken out.</summary>
    public CpuFeatureSet? Features { get; init; }

    /// <summary>The domain's number, told in the Xen leaves.</summary>
    public required ushort DomainId { get; init; }

    /// <summary>How many vCPUs the domain can have, 1 to 128.</summary>
    public int VcpuCount { get; init; } = 1;

    /// <summary>Frequency of the virtual TSC.</summary>
    public required ulong TscFrequency { get; init; }

    /// <summary>Bits of a guest-physical address.</summary>
    public int PhysicalAddressBits { get; init; } = 39;

    /// <summary>True when the viridian leaves come first, which moves the Xen leaves by 0x100.</summary>
    public bool ViridianFirst { get; init; }
}

/// <summary>
/// What CPUID gives a domain: a leaf, a subleaf and the vCPU's state in, four registers out. Leaves that are not
/// there give zeroes whatever the vendor, as on Xen, where no guest sees the processor's own answer.
/// </summary>
internal sealed class CpuidPolicy
{
    /// <summary>First leaf of the hypervisor range.</summary>
    public const uint HypervisorBase = 0x4000_0000;

    /// <summary>Highest extended leaf.</summary>
    public const uint MaxExtendedLeaf = 0x8000_0008;

    /// <summary>Most vCPUs that the topology can tell: an initial APIC id is twice the vCPU's number, in 8 bits.</summary>
    public const int MaxVcpus = 128;

    /// <summary>Frequency of the local APIC's bus, which leaves 0x15 and 0x16 are told against.</summary>
    public const uint ApicBusMhz = 100;

    private readonly CpuFeatureSet _features;
    private readonly int _vcpuCount;
    private readonly int _coreBits;
    private readonly ulong _tscFrequency;
    private readonly int _physicalBits;
    private readonly XenCpuidLeaves _xen;
    private readonly byte[] _vendorName;
    private readonly byte[] _brand;

    /// <summary>Makes the policy of a domain.</summary>
    public CpuidPolicy(CpuidConfiguration configuration)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(configuration.VcpuCount, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(configuration.VcpuCount, MaxVcpus);
        ArgumentOutOfRangeException.ThrowIfZero(configuration.TscFrequency);
        ArgumentOutOfRangeException.ThrowIfLessThan(configuration.PhysicalAddressBits, 32);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(configuration.PhysicalAddressBits, 52);
        Vendor = configuration.Vendor;
        _features = CpuFeatures.Consistent(configuration.Features ?? CpuFeatures.Implemented, Vendor);
        _vcpuCount = configuration.VcpuCount;
        _coreBits = BitOperations.Log2(BitOperations.RoundUpToPowerOf2((uint)_vcpuCount));
        _tscFrequency = configuration.TscFrequency;
        _physicalBits = configuration.PhysicalAddressBits;
        _xen = new XenCpuidLeaves(
            HypervisorBase + (configuration.ViridianFirst ? 0x100u : 0), configuration.DomainId, _tscFrequency,
            _features.Has(CpuFeature.Rdtscp), configuration.ViridianFirst);
        _vendorName = Encoding.ASCII.GetBytes(Vendor == CpuVendor.Vmx ? "GenuineIntel" : "AuthenticAMD");
        _brand = new byte[48];
        Encoding.ASCII.GetBytes("Introspect virtual CPU").CopyTo(_brand, 0);
    }

    /// <summary>Vendor personality.</summary>
    public CpuVendor Vendor { get; }

    /// <summary>Features told.</summary>
    public CpuFeatureSet Features => _features;

    /// <summary>Bits of a guest-physical address (leaf 0x80000008).</summary>
    public int PhysicalAddressBits => _physicalBits;

    /// <summary>Highest basic leaf.</summary>
    public uint MaxBasicLeaf => Vendor == CpuVendor.Vmx ? 0x16u : 0xDu;

    /// <summary>First Xen leaf.</summary>
    public uint XenBase => _xen.Base;

    /// <summary>MSR that writes the hypercall page (Xen leaf base + 2, EBX).</summary>
    public uint HypercallPageMsr => _xen.HypercallPageMsr;

    /// <summary>XCR0 bits that the guest may set.</summary>
    public ulong SupportedXcr0 => !Has(CpuFeature.Xsave) ? 0
        : 3 | (Has(CpuFeature.Avx) ? 4UL : 0) | (Has(CpuFeature.Pku) ? 0x200UL : 0);

    /// <summary>True when the feature is told.</summary>
    public bool Has(CpuFeature feature) => _features.Has(feature);

    /// <summary>Executes CPUID.</summary>
    public CpuidLeaf Query(uint leaf, uint subleaf, in CpuidVcpuState vcpu)
    {
        if (leaf <= MaxBasicLeaf)
        {
            return Basic(leaf, subleaf, vcpu);
        }

        // Who is not told that there is a hypervisor does not find one.
        if (leaf is >= HypervisorBase and < HypervisorBase + 0x200 && Has(CpuFeature.Hypervisor))
        {
            return _xen.Query(leaf, subleaf, vcpu.VcpuId);
        }

        return leaf is >= 0x8000_0000 and <= MaxExtendedLeaf ? Extended(leaf, vcpu) : default;
    }

    /// <summary>Family, model and stepping as CPUID packs them: Skylake, or Zen 2.</summary>
    private uint Signature => Vendor == CpuVendor.Vmx ? 0x0005_06E3u : 0x0083_0F10u;

    private static uint ApicId(uint vcpuId) => vcpuId * 2;

    private CpuidLeaf Basic(uint leaf, uint subleaf, in CpuidVcpuState vcpu)
    {
        switch (leaf)
        {
            case 0:
                return VendorLeaf(MaxBasicLeaf);

            case 1:
                return Leaf1(vcpu);

            case 2 when Vendor == CpuVendor.Vmx:
                // One descriptor: "see leaf 4", and 64-byte prefetching.
                return new(0x0000_FF01, 0, 0, 0xF0);

            case 4 when Vendor == CpuVendor.Vmx:
                return IntelCache(subleaf);

            case 7 when subleaf == 0:
                var ecx = _features[CpuFeatureWord.Leaf7Ecx];
                if (vcpu.ProtectionKeys)
                {
                    ecx |= Bit(CpuFeature.OsPke);
                }

                return new(0, _features[CpuFeatureWord.Leaf7Ebx], ecx, _features[CpuFeatureWord.Leaf7Edx]);

            case 0xB when Vendor == CpuVendor.Vmx || Has(CpuFeature.X2Apic):
                return Topology(subleaf, vcpu.VcpuId);

            case 0xD when Has(CpuFeature.Xsave):
                return Xstate(subleaf, vcpu);

            case 0x15:
                return TscRatio();

            case 0x16:
                var mhz = (uint)Math.Min((_tscFrequency + 500_000) / 1_000_000, ushort.MaxValue);
                return new(mhz, mhz, ApicBusMhz, 0);

            default:
                return default;
        }
    }

    private CpuidLeaf VendorLeaf(uint max) => new(
        max,
        BinaryPrimitives.ReadUInt32LittleEndian(_vendorName),
        BinaryPrimitives.ReadUInt32LittleEndian(_vendorName.AsSpan(8)),
        BinaryPrimitives.ReadUInt32LittleEndian(_vendorName.AsSpan(4)));

    private CpuidLeaf Leaf1(in CpuidVcpuState vcpu)
    {
        var ecx = _features[CpuFeatureWord.Leaf1Ecx];
        if (vcpu.OsXsave)
        {
            ecx |= Bit(CpuFeature.OsXsave);
        }

        var edx = Leaf1EdxOf(vcpu);
        if (_vcpuCount > 1)
        {
            edx |= Bit(CpuFeature.Htt);
        }

        // Two APIC ids a core, of which one is used, so that ids are even as on Xen.
        var logical = _vcpuCount > 1 ? Math.Min(2u << _coreBits, 255u) : 1u;
        return new(Signature, (ApicId(vcpu.VcpuId) << 24) | (logical << 16) | (8u << 8), ecx, edx);
    }

    private uint Leaf1EdxOf(in CpuidVcpuState vcpu) =>
        _features[CpuFeatureWord.Leaf1Edx] & ~(vcpu.ApicEnabled ? 0 : Bit(CpuFeature.Apic));

    private CpuidLeaf IntelCache(uint subleaf)
    {
        // type | level << 5 | self-initialising << 8; ways, line size, sets; all that a Skylake core has.
        var (type, level, ways, sets, shared) = subleaf switch
        {
            0 => (1u, 1u, 8u, 64u, false),
            1 => (2u, 1u, 8u, 64u, false),
            2 => (3u, 2u, 4u, 1024u, false),
            3 => (3u, 3u, 16u, 8192u, true),
            _ => default,
        };
        if (type == 0)
        {
            return default;
        }

        var coresMinusOne = Math.Min((1u << _coreBits) - 1, 63u);
        var sharingMinusOne = shared ? Math.Min((2u << _coreBits) - 1, 4095u) : 1u;
        return new(
            type | (level << 5) | (1u << 8) | (sharingMinusOne << 14) | (coresMinusOne << 26),
            63u | ((ways - 1) << 22),
            sets - 1,
            shared ? 6u : 0u);
    }

    private CpuidLeaf Topology(uint subleaf, uint vcpuId) => subleaf switch
    {
        0 => new(1, 1, 0x100, ApicId(vcpuId)),
        1 => new((uint)_coreBits + 1, (uint)_vcpuCount, 0x201, ApicId(vcpuId)),
        _ => new(0, 0, subleaf & 0xFF, ApicId(vcpuId)),
    };

    private CpuidLeaf Xstate(uint subleaf, in CpuidVcpuState vcpu)
    {
        switch (subleaf)
        {
            case 0:
                var supported = SupportedXcr0;
                return new(
                    (uint)supported, XstateLayout.StandardSize(vcpu.Xcr0), XstateLayout.StandardSize(supported),
                    (uint)(supported >> 32));

            case 1:
                var eax = _features[CpuFeatureWord.XstateEax];
                var compacted = Has(CpuFeature.Xsavec) || Has(CpuFeature.Xsaves);
                return new(eax, compacted ? XstateLayout.CompactedSize(vcpu.Xcr0 | vcpu.Xss) : 0, 0, 0);

            default:
                return subleaf < 63 && ((SupportedXcr0 >> (int)subleaf) & 1) != 0
                    ? new(XstateLayout.SizeOf((int)subleaf), XstateLayout.OffsetOf((int)subleaf), 0, 0)
                    : default;
        }
    }

    /// <summary>TSC = crystal × EBX / EAX, with products that fit 32 bits of kHz where guests compute them.</summary>
    private CpuidLeaf TscRatio()
    {
        var khz = _tscFrequency / 1000;
        const ulong CrystalKhz = ApicBusMhz * 1000;
        if (khz != 0 && _tscFrequency % 1000 == 0)
        {
            var divisor = Gcd(khz, CrystalKhz);
            var (numerator, denominator) = (khz / divisor, CrystalKhz / divisor);
            if (numerator * CrystalKhz <= uint.MaxValue)
            {
                return new((uint)denominator, (uint)numerator, ApicBusMhz * 1_000_000, 0);
            }
        }

        // An odd frequency: the crystal is said to be the TSC itself, or left out where 32 bits cannot hold it.
        return _tscFrequency <= uint.MaxValue ? new(1, 1, (uint)_tscFrequency, 0) : default;
    }

    private static ulong Gcd(ulong a, ulong b)
    {
        while (b != 0)
        {
            (a, b) = (b, a % b);
        }

        return a;
    }

    private CpuidLeaf Extended(uint leaf, in CpuidVcpuState vcpu)
    {
        switch (leaf)
        {
            case 0x8000_0000:
                return Vendor == CpuVendor.Svm ? VendorLeaf(MaxExtendedLeaf) : new(MaxExtendedLeaf, 0, 0, 0);

            case 0x8000_0001:
                return Extended1(vcpu);

            case >= 0x8000_0002 and <= 0x8000_0004:
                var text = _brand.AsSpan((int)(leaf - 0x8000_0002) * 16, 16);
                return new(
                    BinaryPrimitives.ReadUInt32LittleEndian(text),
                    BinaryPrimitives.ReadUInt32LittleEndian(text[4..]),
                    BinaryPrimitives.ReadUInt32LittleEndian(text[8..]),
                    BinaryPrimitives.ReadUInt32LittleEndian(text[12..]));

            case 0x8000_0005 when Vendor == CpuVendor.Svm:
                // TLBs of 64 entries; L1 data and instruction caches of 32 KiB, 8 ways, 64-byte lines.
                return new(0xFF40_FF40, 0xFF40_FF40, 0x2008_0140, 0x2008_0140);

            case 0x8000_0006:
                // L2: 256 KiB, 4 ways (Intel) or 512 KiB, 8 ways (AMD); L3 on AMD: 16 MiB, 16 ways.
                return Vendor == CpuVendor.Svm
                    ? new(0x6400_6400, 0x6400_6400, 0x0200_6140, 0x0080_8140)
                    : new(0, 0, 0x0100_4040, 0);

            case 0x8000_0007:
                return new(0, 0, 0, _features[CpuFeatureWord.Extended7Edx]);

            case 0x8000_0008:
                var linear = Has(CpuFeature.La57) ? 57u : Has(CpuFeature.Lm) ? 48u : 32u;
                var cores = Vendor == CpuVendor.Svm && _vcpuCount > 1
                    ? (uint)(_vcpuCount - 1) | ((uint)(_coreBits + 1) << 12)
                    : 0u;
                return new((uint)_physicalBits | (linear << 8), _features[CpuFeatureWord.Extended8Ebx], cores, 0);

            default:
                return default;
        }
    }

    private CpuidLeaf Extended1(in CpuidVcpuState vcpu)
    {
        // Bits that AMD repeats from leaf 1.
        const uint Common = 0x0183_F3FF;
        var edx = _features[CpuFeatureWord.Extended1Edx];
        if (Vendor == CpuVendor.Svm)
        {
            edx |= Leaf1EdxOf(vcpu) & Common;
            var ecx = _features[CpuFeatureWord.Extended1Ecx] | (_vcpuCount > 1 ? Bit(CpuFeature.CmpLegacy) : 0);
            return new(Signature, 0, ecx, edx);
        }

        if (!vcpu.LongMode)
        {
            edx &= ~Bit(CpuFeature.Syscall);
        }

        return new(0, 0, _features[CpuFeatureWord.Extended1Ecx], edx);
    }

    private static uint Bit(CpuFeature feature) => 1u << ((int)feature & 31);
}
