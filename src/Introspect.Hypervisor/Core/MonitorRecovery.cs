using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Core;

/// <summary>
/// Releases a domain from a monitor that died. Its ring cannot be taken over: nobody can map the page any more. But
/// a ring that is enabled anew takes responses for the old one's requests, since Xen keeps in the vCPU, not in the
/// ring, that it waits.
/// </summary>
internal static class MonitorRecovery
{
    // Sync events can nest on a vCPU (a vmexit's and the instruction's own); a response too many is ignored.
    private const int ResponsesPerVcpu = 4;

    /// <summary>Runs it; the caller holds the domain paused.</summary>
    /// <returns>Whether a ring was enabled, and how many vCPUs were told to go on.</returns>
    public static (bool WasEnabled, int Released) Run(ToolstackCalls calls, CoreDomain domain)
    {
        var number = domain.Id.Value;
        var disabled = calls.TryRing(number, VmEventOperation.Disable, out _);
        var vcpus = (int)unchecked(calls.GetDomainInfo(number).MaxVcpuId + 1);
        if (disabled is not (Errno.None or Errno.EINVAL))
        {
            ToolstackCalls.Check(disabled, $"disabling what the dead monitor of domain {number} left (EBUSY: vCPUs wait for a slot in its full ring, and only destroying the domain helps)");
        }

        if (vcpus == 0)
        {
            return (false, 0);
        }

        using (var page = RingPage.Enable(calls, number))
        {
            var ring = new MonitorRing(page.Address);
            ring.Initialise();
            for (uint vcpu = 0; vcpu < vcpus; vcpu++)
            {
                Release(calls, number, ring, vcpu);
            }

            MemoryRights.Reset(calls, number);
            CoreAltp2m.Recover(calls, number);
            ToolstackCalls.Check(calls.TryRing(number, VmEventOperation.Disable, out _), $"disabling the monitor of domain {number}");
        }

        return (disabled == Errno.None, vcpus);
    }

    private static void Release(ToolstackCalls calls, ushort domain, MonitorRing ring, uint vcpu)
    {
        for (var i = 0; i < ResponsesPerVcpu; i++)
        {
            var response = new VmEvent
            {
                Version = VmEvent.InterfaceVersion,
                Flags = VmEventFlags.VcpuPaused,
                VcpuId = vcpu,
            };
            ring.PutUnasked(MemoryMarshal.AsBytes(new ReadOnlySpan<VmEvent>(in response)));
        }

        // RESUME takes them at once, whoever is bound to the event channel.
        ring.Push();
        ToolstackCalls.Check(calls.TryRing(domain, VmEventOperation.Resume, out _), $"resuming vCPU {vcpu} of domain {domain}");
    }
}

/// <summary>Takes back what a monitor did to a domain's second-level rights.</summary>
internal static class MemoryRights
{
    /// <summary>Gives every page, and those to come, all rights. A domain without mem_access has nothing to take back.</summary>
    public static void Reset(ToolstackCalls calls, ushort domain)
    {
        var defaults = new MemAccessOp
        {
            Op = MemAccessOperation.SetAccess,
            Access = (byte)MemoryAccess.Rwx,
            Domid = domain,
            Pfn = MemAccessOperation.DefaultPfn,
        };
        if (calls.TryAccess(ref defaults) == Errno.EINVAL)
        {
            return;
        }

        var all = new MemAccessOp
        {
            Op = MemAccessOperation.SetAccess,
            Access = (byte)MemoryAccess.Rwx,
            Domid = domain,
            Nr = (uint)Math.Min(calls.MaximumGfn(domain) + 1, uint.MaxValue),
        };
        ToolstackCalls.Check(calls.TryAccess(ref all), $"giving the pages of domain {domain} their rights back");
    }
}
