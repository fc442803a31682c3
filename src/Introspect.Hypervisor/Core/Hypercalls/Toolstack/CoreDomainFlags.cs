using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Core.Hypercalls.Toolstack;

/// <summary>
/// What createdomain can be told on the core beyond Xen's own, in bits of <see cref="ArchDomainConfig.MiscFlags"/>
/// that Xen does not use; getdomaininfo tells them back.
/// </summary>
internal static class CoreDomainFlags
{
    /// <summary>Xen's own <c>XEN_X86_MSR_RELAXED</c>.</summary>
    public const uint MsrRelaxed = 1 << 0;

    /// <summary>The domain's virtualisation plays AMD-V; else Intel VT-x.</summary>
    public const uint Svm = 1u << 31;

    /// <summary>The vCPUs run on one thread, in an order that depends on the guest alone, and time follows their instructions.</summary>
    public const uint Interleaved = 1u << 30;

    /// <summary>The domain may manage others.</summary>
    public const uint Control = 1u << 29;

    /// <summary>The domain is to manage the machine: it takes that over from the boot domain.</summary>
    public const uint Hardware = 1u << 28;

    /// <summary>Where the number of altp2m views is (10 bits); 0 is Xen's 10.</summary>
    public const int AltP2mViewsShift = 16;

    private const uint AltP2mViewsMask = 0x3ff;

    /// <summary>The bits that mean something.</summary>
    public const uint Known = MsrRelaxed | Svm | Interleaved | Control | Hardware | (AltP2mViewsMask << AltP2mViewsShift);

    /// <summary>How many altp2m views flags ask for.</summary>
    public static int AltP2mViewsOf(uint miscFlags) =>
        ((miscFlags >> AltP2mViewsShift) & AltP2mViewsMask) is not 0 and var views ? (int)views : AltP2m.DefaultViews;

    /// <summary>The roles that flags ask for, and tell back.</summary>
    public static DomainRoles RolesOf(uint miscFlags) =>
        ((miscFlags & Control) != 0 ? DomainRoles.Control : DomainRoles.None)
        | ((miscFlags & Hardware) != 0 ? DomainRoles.Hardware : DomainRoles.None);

    /// <summary>Flags that ask for roles, or tell them.</summary>
    public static uint FlagsOf(DomainRoles roles) =>
        ((roles & DomainRoles.Control) != 0 ? Control : 0) | ((roles & DomainRoles.Hardware) != 0 ? Hardware : 0);

    /// <summary>The vendor that flags ask for.</summary>
    public static CpuVendor VendorOf(uint miscFlags) => (miscFlags & Svm) != 0 ? CpuVendor.Svm : CpuVendor.Vmx;
}
