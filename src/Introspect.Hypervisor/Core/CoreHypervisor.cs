using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Hypercalls;
using Introspect.Hypervisor.Core.Hypercalls.Toolstack;

namespace Introspect.Hypervisor.Core;

/// <summary>The seam on the core: its domains in this process, or in a host's behind a socket.</summary>
public sealed class CoreHypervisor : ToolstackHypervisor
{
    /// <summary>How often <see cref="IHypervisor.WatchAsync"/> looks.</summary>
    private static readonly TimeSpan WatchInterval = TimeSpan.FromMilliseconds(250);

    private readonly IDisposable? _owned;

    internal CoreHypervisor(IToolstack toolstack, IDisposable? owned = null)
        : base(toolstack, new("core", Version, toolstack.Connection)) => _owned = owned;

    /// <summary>Who keeps whole domains, where somebody does: the host behind a socket.</summary>
    internal ILabControl? Lab => Toolstack as ILabControl;

    /// <summary>The interface version that the core speaks is this release's of Xen.</summary>
    private static string Version => $"{XenInterface.CoreMajor}.{XenInterface.CoreMinor}";

    /// <summary>Connects to a host's domains.</summary>
    /// <param name="socketPath">The socket that <c>introspect lab serve</c> listens on.</param>
    /// <exception cref="HypervisorException">Nobody listens there, or the host refuses this user.</exception>
    public static CoreHypervisor Connect(string socketPath)
    {
        ArgumentException.ThrowIfNullOrEmpty(socketPath);
        return new(new HostClient(socketPath));
    }

    /// <summary>A machine of its own in this process, which lives as long as the seam on it.</summary>
    internal static CoreHypervisor CreateInProcess(MachineOptions options)
    {
        var machine = new Machine(options);
        return new(new LocalToolstack(machine, ToolstackCaller.Control), machine);
    }

    private protected override IChangeSignal OpenChangeSignal() => new PeriodicLook(WatchInterval);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        base.Dispose(disposing);
        if (disposing)
        {
            _owned?.Dispose();
        }
    }
}
