using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Ring;

namespace Introspect.Hypervisor.Core;

/// <summary>
/// Releases a domain from a monitor that died. Its ring cannot be taken over: nobody can map the page any more. But
/// a ring that is enabled anew takes responses for the old one's requests, since Xen keeps in the vCPU, not in the
/// ring, that it waits. And it can be asked: a response's registers are taken for a vCPU that waits for one, and for
/// no other, so a flag that changes nothing tells how many requests hold it. Async requests hold nobody and leave no trace.
/// </summary>
internal static class MonitorRecovery
{
    // Sync events can nest on a vCPU (a vmexit's and the instruction's own); a response too many is ignored.
    private const int MaxRequestsPerVcpu = 4;

    // RF: left set, it would keep one instruction breakpoint from firing, and nothing else.
    private const ulong Probe = Abi.Rflags.RF;

    /// <summary>What was found and done.</summary>
    /// <param name="WasEnabled">A ring was enabled.</param>
    /// <param name="Unanswered">Requests that held a vCPU.</param>
    /// <param name="Released">vCPUs that they held.</param>
    public readonly record struct Found(bool WasEnabled, int Unanswered, int Released);

    /// <summary>Runs it; the caller holds the domain paused.</summary>
    public static Found Run(ToolstackCalls calls, CoreDomain domain)
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
            return default;
        }

        var unanswered = 0;
        var released = 0;
        using (var page = RingPage.Enable(calls, number))
        {
            var ring = new VersionedMonitorRing(page.Address, calls.GetVmEventVersion());
            ring.Ring.Initialise();
            for (uint vcpu = 0; vcpu < vcpus; vcpu++)
            {
                var held = Release(calls, domain, ring, vcpu);
                unanswered += held;
                released += held > 0 ? 1 : 0;
            }

            MemoryRights.Reset(calls, number);
            CoreAltp2m.Recover(calls, number);
            ToolstackCalls.Check(calls.TryRing(number, VmEventOperation.Disable, out _), $"disabling the monitor of domain {number}");
        }

        // Where nobody tells, all were told to go on, and those that waited for nothing took no notice.
        return new(disabled == Errno.None, unanswered, calls.Toolstack.TellsHeldVcpus ? released : vcpus);
    }

    private static int Release(ToolstackCalls calls, CoreDomain domain, VersionedMonitorRing ring, uint vcpu)
    {
        var held = 0;
        if (calls.Toolstack.TellsHeldVcpus && domain.TryReadVcpu(new(vcpu), out var state))
        {
            while (held < MaxRequestsPerVcpu && Waits(calls, domain, ring, vcpu, in state))
            {
                var goOn = WithRegisters(Response(vcpu), in state);
                goOn.Flags |= VmEventFlags.VcpuPaused;
                Respond(calls, domain.Id.Value, ring, in goOn);
                held++;
            }
        }

        // Whatever the answer was, nobody stays behind: one that is down, say, cannot be asked.
        for (var i = held; i < MaxRequestsPerVcpu; i++)
        {
            Respond(calls, domain.Id.Value, ring, Response(vcpu));
        }

        return held;
    }

    /// <summary>True when a request holds the vCPU; then the probe is set in its flags, for the release to take back.</summary>
    private static bool Waits(ToolstackCalls calls, CoreDomain domain, VersionedMonitorRing ring, uint vcpu, in VcpuState state)
    {
        var probe = WithRegisters(Response(vcpu), in state);
        probe.Registers.Rflags ^= Probe;
        Respond(calls, domain.Id.Value, ring, in probe);
        return domain.TryReadVcpu(new(vcpu), out var now) && ((now.Rflags ^ state.Rflags) & Probe) != 0;
    }

    private static VmEvent Response(uint vcpu) => new() { Version = VmEvent.InterfaceVersion, Flags = VmEventFlags.VcpuPaused, VcpuId = vcpu };

    private static VmEvent WithRegisters(VmEvent response, in VcpuState state)
    {
        ref var r = ref response.Registers;
        (r.Rax, r.Rcx, r.Rdx, r.Rbx, r.Rsp, r.Rbp, r.Rsi, r.Rdi) = (state.Rax, state.Rcx, state.Rdx, state.Rbx, state.Rsp, state.Rbp, state.Rsi, state.Rdi);
        (r.R8, r.R9, r.R10, r.R11, r.R12, r.R13, r.R14, r.R15) = (state.R8, state.R9, state.R10, state.R11, state.R12, state.R13, state.R14, state.R15);
        (r.Rflags, r.Rip) = (state.Rflags, state.Rip);
        response.Flags = VmEventFlags.SetRegisters;
        return response;
    }

    private static void Respond(ToolstackCalls calls, ushort domain, VersionedMonitorRing ring, in VmEvent response)
    {
        ring.PutUnasked(response);

        // RESUME takes it at once, whoever is bound to the event channel.
        ring.Push();
        ToolstackCalls.Check(calls.TryRing(domain, VmEventOperation.Resume, out _), $"resuming vCPU {response.VcpuId} of domain {domain}");
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
