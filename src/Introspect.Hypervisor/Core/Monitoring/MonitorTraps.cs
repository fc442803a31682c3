using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.Monitoring;

/// <summary>How an event gets from a vCPU into the ring (<c>monitor_traps</c>).</summary>
internal static class MonitorTraps
{
    /// <summary>
    /// Sends an event of the vCPU whose thread this runs on. The reason and the union are filled in by the caller,
    /// registers and header here. Without a ring nothing happens, and the vCPU goes on.
    /// </summary>
    /// <param name="vcpu">The vCPU.</param>
    /// <param name="sync">The vCPU is paused until the response.</param>
    /// <param name="request">The request.</param>
    /// <returns>1: sent, and the vCPU is paused; 0: sent without a pause, or no ring; negative: an error number.</returns>
    public static int Send(Vcpu vcpu, bool sync, ref VmEvent request)
    {
        if (vcpu.Domain.MonitorRing is not { } ring)
        {
            return 0;
        }

        switch (ring.ClaimSlot(vcpu))
        {
            case Errno.None:
                break;
            case Errno.EOPNOTSUPP:
                return 0;
            case var refused:
                return -(int)refused;
        }

        request.VcpuId = vcpu.Id;
        if (sync)
        {
            request.Flags |= VmEventFlags.VcpuPaused;
            vcpu.VmEventPause();
        }

        if (vcpu.Domain.AltP2m.IsActive)
        {
            request.Flags |= VmEventFlags.AlternateP2m;
            request.AltP2mIndex = vcpu.View;
        }

        CpuRecords.FillEvent(ref vcpu.Runner.State, vcpu.Runner.Rflags, ref request.Registers);
        if (ring.PutRequest(vcpu, ref request))
        {
            return sync ? 1 : 0;
        }

        if (sync)
        {
            vcpu.VmEventUnpause();
        }

        return 0;
    }
}
