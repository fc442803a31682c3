using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Hypercalls;

namespace Introspect.Hypervisor.Xen;

/// <summary>The seam on real Xen, from its control domain.</summary>
public sealed class XenHypervisor : ToolstackHypervisor
{
    private readonly LibXenStore _store;

    private XenHypervisor(IToolstack toolstack, XenLibraries libraries)
        : base(toolstack, new("xen", libraries.Version, toolstack.Connection)) => _store = libraries.Store;

    /// <summary>This is Xen's control domain, as far as can be told without asking Xen.</summary>
    public static bool IsControlDomain => XenHost.WhyNot() is null;

    /// <summary>Opens Xen's libraries for the release that runs.</summary>
    /// <exception cref="HypervisorException">One line that says what is missing, and its remedy.</exception>
    public static XenHypervisor Open() => XenHost.WhyNot() is { } reason
        ? throw new HypervisorException(Errno.ENODEV, reason)
        : Open(new SystemLibraryLoader(), XenHost.Vendor());

    /// <summary>Opens libraries from elsewhere.</summary>
    internal static XenHypervisor Open(ILibraryLoader loader, CpuVendor vendor)
    {
        var libraries = XenLibraries.Open(loader);
        try
        {
            return new(new XenToolstack(libraries, vendor), libraries);
        }
        catch
        {
            libraries.Dispose();
            throw;
        }
    }

    private protected override IChangeSignal OpenChangeSignal() => new XenDomainWatch(_store);
}
