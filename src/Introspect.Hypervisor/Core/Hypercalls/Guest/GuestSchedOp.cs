using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary><c>__HYPERVISOR_sched_op</c>.</summary>
internal static class GuestSchedOp
{
    private const int MaxPolledPorts = 128;

    /// <summary>Does the call: A1 is the command, A2 its argument.</summary>
    public static HypercallResult Do(in HypercallArguments call, IGuestHypercallContext context)
    {
        switch ((uint)call.A1)
        {
            case SchedOp.Yield:
                context.Yield();
                return 0;

            case SchedOp.Block:
                context.Block();
                return 0;

            case SchedOp.Shutdown:
                if (!context.TryRead(call.A2, out SchedShutdown shutdown))
                {
                    return -(long)Errno.EFAULT;
                }

                context.Shutdown((ShutdownReason)(byte)shutdown.Reason);
                return 0;

            case SchedOp.ShutdownCode:
                if (!context.TryRead(call.A2, out SchedShutdown code))
                {
                    return -(long)Errno.EFAULT;
                }

                context.SetShutdownCode((ShutdownReason)(byte)code.Reason);
                return 0;

            case SchedOp.Poll:
                return Poll(call, context);

            case SchedOp.RemoteShutdown:
                return RemoteShutdown(in call, context);

            case SchedOp.Watchdog:
                return context.TryRead(call.A2, out uint id) && context.TryRead(call.A2 + 4, out uint timeout)
                    ? context.Timers.SetWatchdog(id, timeout, context.SystemTime)
                    : -(long)Errno.EFAULT;

            case SchedOp.PinOverride:
                // Who may finds no CPU to be pinned to: the core's vCPUs are threads.
                return DomainPolicies.MayOverridePinning(context.Roles) ? -(long)Errno.ENOSYS : -(long)Errno.EPERM;

            default:
                return -(long)Errno.ENOSYS;
        }
    }

    private static HypercallResult RemoteShutdown(in HypercallArguments call, IGuestHypercallContext context)
    {
        if (!context.TryRead(call.A2, out SchedRemoteShutdown remote))
        {
            return -(long)Errno.EFAULT;
        }

        var refused = CallerRights.Check(context.Caller, remote.DomainId, context.DomainExists(remote.DomainId), CallRight.DeviceModel);
        if (refused != Errno.None)
        {
            return -(long)refused;
        }

        if (remote.DomainId == context.DomainId)
        {
            context.Shutdown((ShutdownReason)(byte)remote.Reason);
            return 0;
        }

        var operation = new XenDmOp { Op = DmOpCommand.RemoteShutdown, RemoteShutdownReason = (byte)remote.Reason };
        var result = context.Toolstack.DmOp(remote.DomainId, MemoryMarshal.AsBytes(new Span<XenDmOp>(ref operation)));
        return result == -(int)Errno.ERESTART ? HypercallResult.ContinueWith(in call) : result;
    }

    private static long Poll(in HypercallArguments call, IGuestHypercallContext context)
    {
        SchedPoll poll;
        if (call.Is64)
        {
            if (!context.TryRead(call.A2, out poll))
            {
                return -(long)Errno.EFAULT;
            }
        }
        else
        {
            if (!context.TryRead(call.A2, out CompatSchedPoll narrow))
            {
                return -(long)Errno.EFAULT;
            }

            poll = new SchedPoll { Ports = narrow.Ports, NrPorts = narrow.NrPorts, Timeout = narrow.Timeout };
        }

        if (poll.NrPorts > MaxPolledPorts)
        {
            return -(long)Errno.EINVAL;
        }

        Span<uint> ports = stackalloc uint[MaxPolledPorts];
        ports = ports[..(int)poll.NrPorts];
        for (var i = 0; i < ports.Length; i++)
        {
            if (!context.TryRead(poll.Ports + ((ulong)i * 4), out ports[i]))
            {
                return -(long)Errno.EFAULT;
            }
        }

        var result = context.Events.StartPoll(context.VcpuId, ports);
        if (result != 0)
        {
            return result > 0 ? 0 : result;
        }

        // A timeout is a moment; one that has passed ends the wait at once, 0 means for ever.
        if (poll.Timeout != 0 && poll.Timeout <= context.SystemTime)
        {
            context.Events.EndPoll(context.VcpuId);
            return 0;
        }

        context.Timers.SetPollEnd(context.VcpuId, poll.Timeout);
        context.BlockInPoll();
        return 0;
    }
}
