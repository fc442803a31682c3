using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary><c>__HYPERVISOR_event_channel_op</c>. Its structures are the same for 32-bit and 64-bit guests.</summary>
internal static class GuestEventChannelOp
{
    private const uint FifoControlBlockBytes = 72;

    /// <summary>Does the call: A1 is the command, A2 its argument.</summary>
    public static long Do(in HypercallArguments call, IGuestHypercallContext context)
    {
        var argument = call.A2;
        var events = context.Events;
        switch ((uint)call.A1)
        {
            case EventChannelOp.AllocUnbound:
                return AllocateUnbound(context, argument);

            case EventChannelOp.BindInterdomain:
                return BindInterdomain(context, argument);

            case EventChannelOp.BindVirq:
                {
                    if (!context.TryRead(argument, out EvtchnBindVirq bind))
                    {
                        return -(long)Errno.EFAULT;
                    }

                    var error = events.BindVirq(bind.Virq, bind.Vcpu, out bind.Port);
                    return Finish(error, error == 0 && context.TryWrite(argument, bind));
                }

            case EventChannelOp.BindIpi:
                {
                    if (!context.TryRead(argument, out EvtchnBindIpi bind))
                    {
                        return -(long)Errno.EFAULT;
                    }

                    var error = events.BindIpi(bind.Vcpu, out bind.Port);
                    return Finish(error, error == 0 && context.TryWrite(argument, bind));
                }

            case EventChannelOp.BindVcpu:
                return context.TryRead(argument, out EvtchnBindVcpu vcpu)
                    ? events.BindVcpu(vcpu.Port, vcpu.Vcpu)
                    : -(long)Errno.EFAULT;

            case EventChannelOp.Close:
                return context.TryRead(argument, out EvtchnPort close)
                    ? events.Close(close.Port, byGuest: true)
                    : -(long)Errno.EFAULT;

            case EventChannelOp.Send:
                return context.TryRead(argument, out EvtchnPort send) ? events.Send(send.Port) : -(long)Errno.EFAULT;

            case EventChannelOp.Unmask:
                return context.TryRead(argument, out EvtchnPort unmask)
                    ? events.Unmask(unmask.Port)
                    : -(long)Errno.EFAULT;

            case EventChannelOp.Status:
                {
                    if (!context.TryRead(argument, out EvtchnStatus status))
                    {
                        return -(long)Errno.EFAULT;
                    }

                    var table = TargetOf(status.Dom, context, out var error);
                    error = table is null ? error : table.Query(ref status);
                    return Finish(error, error == 0 && context.TryWrite(argument, status));
                }

            case EventChannelOp.Reset:
                return Reset(context, argument);

            case EventChannelOp.InitControl:
                return InitControl(context, argument);

            case EventChannelOp.ExpandArray:
                // Without a control block there is no array to expand.
                return context.TryRead(argument, out ulong _) ? -(long)Errno.EOPNOTSUPP : -(long)Errno.EFAULT;

            case EventChannelOp.BindPirq:
                return -(long)Errno.EINVAL;

            default:
                return -(long)Errno.ENOSYS;
        }
    }

    private static long Finish(int error, bool written) =>
        error != 0 ? error : written ? 0 : -(long)Errno.EFAULT;

    /// <summary>The domain that a call is about: itself, unless the caller controls others.</summary>
    private static EventChannelTable? TargetOf(ushort domain, IGuestHypercallContext context, out int error)
    {
        error = -(int)context.Check(domain, CallRight.Target);
        if (error != 0)
        {
            return null;
        }

        var events = context.IsSelf(domain) ? context.Events : context.FindEvents(domain);
        error = events is null ? -(int)Errno.ESRCH : 0;
        return events;
    }

    private static long AllocateUnbound(IGuestHypercallContext context, ulong argument)
    {
        if (!context.TryRead(argument, out EvtchnAllocUnbound allocate))
        {
            return -(long)Errno.EFAULT;
        }

        var table = TargetOf(allocate.Dom, context, out var error);
        if (table is null)
        {
            return error;
        }

        var remote = allocate.RemoteDom == SpecialDomain.Self ? context.DomainId : allocate.RemoteDom;
        error = table.AllocateUnbound(remote, out allocate.Port);
        return Finish(error, error == 0 && context.TryWrite(argument, allocate));
    }

    private static long BindInterdomain(IGuestHypercallContext context, ulong argument)
    {
        if (!context.TryRead(argument, out EvtchnBindInterdomain bind))
        {
            return -(long)Errno.EFAULT;
        }

        var remote = bind.RemoteDom == SpecialDomain.Self || bind.RemoteDom == context.DomainId
            ? context.Events
            : context.FindEvents(bind.RemoteDom);
        if (remote is null)
        {
            return -(long)Errno.ESRCH;
        }

        var error = context.Events.BindInterdomain(remote, bind.RemotePort, out bind.LocalPort);
        return Finish(error, error == 0 && context.TryWrite(argument, bind));
    }

    private static long Reset(IGuestHypercallContext context, ulong argument)
    {
        if (!context.TryRead(argument, out ushort domain))
        {
            return -(long)Errno.EFAULT;
        }

        var table = TargetOf(domain, context, out var error);
        table?.Reset();
        return error;
    }

    /// <summary>
    /// The first step to the FIFO layout: a bad argument is told as Xen tells it, and for a good one that the layout
    /// is not offered, after which guests go on with the two-level one.
    /// </summary>
    private static long InitControl(IGuestHypercallContext context, ulong argument)
    {
        if (!context.TryRead(argument, out EvtchnInitControl control))
        {
            return -(long)Errno.EFAULT;
        }

        if (control.Vcpu >= context.VcpuCount)
        {
            return -(long)Errno.ENOENT;
        }

        return control.Offset > Gfn.PageSize - FifoControlBlockBytes || (control.Offset & 7) != 0
            || !context.IsRam(control.ControlGfn)
                ? -(long)Errno.EINVAL
                : -(long)Errno.ENOSYS;
    }
}
