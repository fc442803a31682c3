using Introspect.Hypervisor;

namespace Introspect.Daemon.Hypervisors;

/// <summary>Where the domains come from.</summary>
internal enum HypervisorSource
{
    /// <summary>The built-in demo guest, on the core in this process.</summary>
    Demo,

    /// <summary>An image of the user's, on the core in this process.</summary>
    Kernel,

    /// <summary>A hypervisor that listens on a socket.</summary>
    Socket,

    /// <summary>Real Xen, of which this is the control domain.</summary>
    Xen,
}

/// <summary>Which hypervisor to make or to connect to, and what guest to build on it.</summary>
internal sealed record HypervisorSpec
{
    /// <summary>Least memory of a guest that is built, MiB: the demo guest and its special pages fit.</summary>
    public const int MinMemoryMiB = 4;

    /// <summary>Most memory of a guest that is built, MiB.</summary>
    public const int MaxMemoryMiB = 1 << 20;

    /// <summary>Memory of a guest when the user says nothing, MiB.</summary>
    public const int DefaultMemoryMiB = 64;

    /// <summary>Where the domains come from.</summary>
    public required HypervisorSource Source { get; init; }

    /// <summary>The socket to connect to.</summary>
    public string? SocketPath { get; init; }

    /// <summary>The image to boot.</summary>
    public string? KernelPath { get; init; }

    /// <summary>Kernel command line.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>Modules (initrd first) that are loaded behind the kernel.</summary>
    public IReadOnlyList<string> Modules { get; init; } = [];

    /// <summary>Memory of the guest, MiB.</summary>
    public int MemoryMiB { get; init; } = DefaultMemoryMiB;

    /// <summary>Most vCPUs of a guest that is built.</summary>
    public const int MaxVcpus = 128;

    /// <summary>vCPUs of the guest; all but the first are down until it starts them.</summary>
    public int Vcpus { get; init; } = 1;

    /// <summary>Whose virtualisation the core plays.</summary>
    public CpuVendor Vendor { get; init; } = CpuVendor.Vmx;

    /// <summary>What of the core is to be otherwise.</summary>
    public CoreFeatures Core { get; init; }

    /// <summary>The demo guest goes on until it is destroyed.</summary>
    public bool DemoForever { get; init; }
}
