using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Monitoring;

namespace Introspect.Hypervisor.Core.Hypercalls.Toolstack;

/// <summary>The vm_event operations on a domain's rings; the core has the monitor ring.</summary>
internal static class MonitorRingOperations
{
    /// <summary>Does one operation.</summary>
    public static Errno Operate(Domain domain, ref DomctlVmEventOp operation)
    {
        if (domain.IsDying)
        {
            return Errno.None;
        }

        if (domain.Vcpus.Count == 0)
        {
            return Errno.EINVAL;
        }

        if (operation.Mode != VmEventMode.Monitor)
        {
            return Errno.ENOSYS;
        }

        return operation.Op switch
        {
            VmEventOperation.Enable => Enable(domain, ref operation),
            VmEventOperation.Disable => Disable(domain),
            VmEventOperation.Resume => domain.MonitorRing?.Resume() ?? Errno.ENODEV,
            _ => Errno.ENOSYS,
        };
    }

    private static Errno Enable(Domain domain, ref DomctlVmEventOp operation)
    {
        domain.Monitor.Prepare();
        if (domain.MonitorRing is not null)
        {
            return Errno.EBUSY;
        }

        if (VmEventRing.Create(domain, out var ring) is var refused and not Errno.None)
        {
            return refused;
        }

        // Room for deferred writes must be there before the first event can go out.
        foreach (var vcpu in domain.Vcpus)
        {
            vcpu.Runner.MonitorAttached();
        }

        operation.EnablePort = ring!.Port.Port;
        domain.MonitorRing = ring;
        return Errno.None;
    }

    // Whatever becomes of the ring, nothing is monitored afterwards: so it is on Xen, too.
    private static Errno Disable(Domain domain)
    {
        if (domain.MonitorRing is not { } ring)
        {
            return Errno.EINVAL;
        }

        domain.Pause();
        try
        {
            var result = ring.Disable();
            if (result == Errno.None)
            {
                domain.MonitorRing = null;
                domain.Monitor.EmulateEachRep = false;
                foreach (var vcpu in domain.Vcpus)
                {
                    vcpu.Runner.MonitorDetached();
                }
            }

            domain.Monitor.Clear();
            return result;
        }
        finally
        {
            domain.Unpause();
        }
    }
}
