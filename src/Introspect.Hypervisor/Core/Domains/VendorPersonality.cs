using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>What a monitor sees of an exit, in a vendor's numbers.</summary>
/// <param name="Reason">VMX basic exit reason, or SVM EXITCODE.</param>
/// <param name="Qualification">VMX exit qualification, or SVM EXITINFO1.</param>
/// <param name="Info2">SVM EXITINFO2; 0 on VMX.</param>
internal readonly record struct VendorExit(ulong Reason, ulong Qualification, ulong Info2);

/// <summary>
/// The CPU vendor that a domain's virtualisation plays: how exits are numbered, what can be monitored, and which
/// hypercall instruction the hypercall page has.
/// </summary>
internal abstract class VendorPersonality
{
    /// <summary>Intel VT-x.</summary>
    public static readonly VendorPersonality Vmx = new VmxPersonality();

    /// <summary>AMD-V.</summary>
    public static readonly VendorPersonality Svm = new SvmPersonality();

    /// <summary>Which vendor.</summary>
    public abstract CpuVendor Vendor { get; }

    /// <summary>What can be monitored on a domain of this vendor.</summary>
    public abstract MonitorCapabilities Capabilities { get; }

    /// <summary>mem_access operations work (Xen 4.17 has them on VMX only).</summary>
    public abstract bool HasMemAccess { get; }

    /// <summary>altp2m views can be had.</summary>
    public abstract bool HasAltP2m { get; }

    /// <summary>Bytes of VMCALL or VMMCALL.</summary>
    public abstract ReadOnlySpan<byte> HypercallInstruction { get; }

    /// <summary>CPUID vendor text, in the order EBX, EDX, ECX.</summary>
    public abstract string CpuidVendor { get; }

    /// <summary>The personality of a vendor.</summary>
    public static VendorPersonality Of(CpuVendor vendor) => vendor == CpuVendor.Svm ? Svm : Vmx;

    /// <summary>
    /// Numbers an exit as the vendor's manual has it. <see cref="ExitKind.Budget"/> is no exit: the reason is ~0.
    /// </summary>
    /// <param name="exit">The exit.</param>
    /// <param name="rip">RIP at the exit: SVM tells the next RIP of I/O.</param>
    public abstract VendorExit Translate(in Exit exit, ulong rip);
}
