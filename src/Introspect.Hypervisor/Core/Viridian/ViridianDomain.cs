using System.Buffers.Binary;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>The enlightenments of a domain, as Xen 4.17 has them: what is the domain's, and its vCPUs'.</summary>
internal sealed partial class ViridianDomain
{
    private const ulong Enabled = 1;

    private readonly IViridianHost _host;
    private readonly ViridianVcpu?[] _vcpus;
    private ulong _guestOsId;
    private ulong _hypercallPage;

    private ViridianDomain(ViridianFeatureSet features, IViridianHost host, ViridianOptions options)
    {
        (Features, _host, Options) = (features, host, options);
        _vcpus = new ViridianVcpu?[host.VcpuCount];
        Time = new ReferenceTime(host.TscFrequency, host.FollowsInstructions);
    }

    /// <summary>The features; they never change.</summary>
    public ViridianFeatureSet Features { get; }

    /// <summary>Where it differs from Xen's.</summary>
    public ViridianOptions Options { get; }

    /// <summary>The reference time.</summary>
    public ReferenceTime Time { get; }

    /// <summary>The domain.</summary>
    public IViridianHost Host => _host;

    /// <summary>What the guest says it is; 0 until it does.</summary>
    public ulong GuestOsId
    {
        get => Volatile.Read(ref _guestOsId);
        set => Volatile.Write(ref _guestOsId, value);
    }

    /// <summary>The register of the hypercall page; writing it with its lowest bit set puts the page into the guest's memory.</summary>
    public ulong HypercallPage
    {
        get => Volatile.Read(ref _hypercallPage);
        set
        {
            Volatile.Write(ref _hypercallPage, value);
            if ((value & Enabled) != 0)
            {
                InstallHypercallPage(value >> Gfn.PageShift);
            }
        }
    }

    /// <summary>What the last vCPU that told of a crash left in the crash registers; null: none did.</summary>
    public IReadOnlyList<ulong>? LastCrash { get; private set; }

    /// <summary>Gives a domain its enlightenments: the one place that says which mask may be and when.</summary>
    /// <param name="before">Those that it has already, or null.</param>
    /// <param name="mask">The value of <c>HVM_PARAM_VIRIDIAN</c>.</param>
    /// <param name="host">The domain.</param>
    /// <param name="options">Where they are to differ from Xen's.</param>
    /// <param name="created">Its enlightenments from now on.</param>
    /// <returns>EEXIST: it has some, be they the same; EINVAL: the mask is without base, or has a bit that nobody knows.</returns>
    public static Errno TryCreate(ViridianDomain? before, ulong mask, IViridianHost host, ViridianOptions options, out ViridianDomain? created)
    {
        created = before;
        if (before is not null)
        {
            return Errno.EEXIST;
        }

        if (!ViridianFeatureSet.TryFromMask(mask, out var features) || features.IsEmpty)
        {
            return Errno.EINVAL;
        }

        created = new ViridianDomain(features, host, options);
        return Errno.None;
    }

    /// <summary>Makes a vCPU's enlightenments.</summary>
    public ViridianVcpu Attach(uint vcpuId, IViridianVcpuHost host)
    {
        var vcpu = new ViridianVcpu(this, vcpuId, host);
        Volatile.Write(ref _vcpus[vcpuId], vcpu);
        return vcpu;
    }

    /// <summary>The enlightenments of a vCPU, or null.</summary>
    public ViridianVcpu? Find(uint vcpuId) => vcpuId < (uint)_vcpus.Length ? Volatile.Read(ref _vcpus[vcpuId]) : null;

    /// <summary>A leaf of CPUID.</summary>
    public CpuidLeaf Cpuid(uint leaf) => ViridianCpuid.Query(leaf, Features, GuestOsId, Options);

    /// <summary>The guest tells of its crash.</summary>
    public void Crashed(ReadOnlySpan<ulong> parameters)
    {
        LastCrash = parameters.ToArray();
        _host.KeepCrash();
    }

    /// <summary>Bit 31 of the number tells viridian's hypercalls from Xen's, which have no such numbers.</summary>
    private void InstallHypercallPage(ulong gfn)
    {
        const byte Int3 = 0xCC;

        // As on Xen, a frame without a page is not the guest's to hear of.
        if (!_host.TryHoldPage(gfn, out var held))
        {
            return;
        }

        using var _ = held;
        var page = held.Bytes;
        page.Fill(Int3);
        page[0] = 0x0D; // or eax, imm32
        BinaryPrimitives.WriteUInt32LittleEndian(page[1..], ViridianHypercalls.NumberBit);
        page[5] = 0x0F;
        page[6] = 0x01;
        page[7] = _host.Vendor == CpuVendor.Vmx ? (byte)0xC1 : (byte)0xD9; // vmcall, vmmcall
        page[8] = 0xC3; // ret
    }
}
