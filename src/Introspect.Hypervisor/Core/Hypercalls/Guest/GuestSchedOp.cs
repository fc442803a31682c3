using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary><c>__HYPERVISOR_sched_op</c>.</summary>
internal static class GuestSchedOp
{
    private const int MaxPolledPorts = 128;

    /// <summary>Does the call: A1 is the command, A2 its argument.</summary>
    public static long Do(in HypercallArguments call, IGuestHypercallContext context)
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
                return !context.TryRead(call.A2, out SchedRemoteShutdown remote) ? -(long)Errno.EFAULT
                    : remote.DomainId == context.DomainId || context.FindEvents(remote.DomainId) is not null
                        ? -(long)Errno.EPERM
                        : -(long)Errno.ESRCH;

            case SchedOp.Watchdog:
                return context.TryRead(call.A2, out uint id) && context.TryRead(call.A2 + 4, out uint timeout)
                    ? context.Timers.SetWatchdog(id, timeout, context.SystemTime)
                    : -(long)Errno.EFAULT;

            case SchedOp.PinOverride:
                return -(long)Errno.EPERM;

            default:
                return -(long)Errno.ENOSYS;
        }
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
