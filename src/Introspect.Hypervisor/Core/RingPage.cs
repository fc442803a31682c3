using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core;

/// <summary>
/// A monitor ring enabled in its guest page, as libxenctrl does it: the parameter, the page (populated where it is
/// absent), the mapping, ENABLE, and the page out of the physmap, so that the guest cannot touch it. The caller
/// holds the domain paused around it.
/// </summary>
internal sealed class RingPage : IDisposable
{
    private readonly ForeignMapping _mapping;

    private RingPage(ForeignMapping mapping, uint port) => (_mapping, Port) = (mapping, port);

    /// <summary>Native address of the page.</summary>
    public nint Address => _mapping.Address;

    /// <summary>The domain's event channel port.</summary>
    public uint Port { get; }

    /// <summary>Enables the ring.</summary>
    public static RingPage Enable(ToolstackCalls calls, ushort domain)
    {
        var gfn = calls.GetParam(domain, HvmParam.MonitorRingPfn);
        if (gfn == 0)
        {
            throw new HypervisorException(Errno.EOPNOTSUPP, $"domain {domain} was built without a page for the monitor ring (HVM_PARAM_MONITOR_RING_PFN is 0)");
        }

        var mapping = calls.TryMap(domain, [gfn], writable: true);
        var populated = mapping is null;
        if (mapping is null)
        {
            calls.Populate(domain, [gfn]);
        }

        try
        {
            mapping ??= calls.Map(domain, [gfn], writable: true);
            ToolstackCalls.Check(
                calls.TryRing(domain, VmEventOperation.Enable, out var port),
                $"enabling the monitor of domain {domain} (another monitor has it, or a dead one had: try 'introspect recover {domain}')");
            calls.TryDepopulate(domain, [gfn]);
            return new RingPage(mapping, port);
        }
        catch
        {
            mapping?.Dispose();
            if (populated)
            {
                calls.TryDepopulate(domain, [gfn]);
            }

            throw;
        }
    }

    /// <summary>Unmaps the page, which is freed when the hypervisor has let go of it, too.</summary>
    public void Dispose() => _mapping.Dispose();
}
