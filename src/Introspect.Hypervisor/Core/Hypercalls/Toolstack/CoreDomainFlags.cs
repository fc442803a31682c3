using Introspect.Hypervisor.Abi;

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

    /// <summary>The vendor that flags ask for.</summary>
    public static CpuVendor VendorOf(uint miscFlags) => (miscFlags & Svm) != 0 ? CpuVendor.Svm : CpuVendor.Vmx;
}
