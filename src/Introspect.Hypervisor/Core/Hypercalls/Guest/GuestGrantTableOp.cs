using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary>
/// <c>__HYPERVISOR_grant_table_op</c>: setting the table up, in version 1. Granted pages are mapped by tools, through
/// the seam; a guest maps none of others.
/// </summary>
internal static class GuestGrantTableOp
{
    private const uint SetupTable = 2;
    private const uint QuerySize = 6;
    private const uint SetVersion = 8;
    private const uint GetVersion = 10;

    private const short StatusOkay = 0;
    private const short StatusGeneralError = -1;
    private const short StatusBadDomain = -2;
    private const short StatusPermissionDenied = -8;
    private const short StatusBadVirtualAddress = -5;

    /// <summary>Does the call: A1 is the command, A2 the argument, A3 how many of them there are.</summary>
    public static long Do(in HypercallArguments call, IGuestHypercallContext context)
    {
        var (argument, count) = (call.A2, (uint)call.A3);
        switch ((uint)call.A1)
        {
            case SetupTable:
                return count == 1 ? Setup(context, argument, call.Is64) : -(long)Errno.EINVAL;
            case QuerySize:
                return count == 1 ? Query(context, argument) : -(long)Errno.EINVAL;
            case SetVersion:
                return ChooseVersion(context, argument);
            case GetVersion:
                return TellVersion(context, argument);
            default:
                return -(long)Errno.ENOSYS;
        }
    }

    private static bool IsSelf(ushort domain, IGuestHypercallContext context) =>
        domain == SpecialDomain.Self || domain == context.DomainId;

    private static short StatusOf(ushort domain, IGuestHypercallContext context) =>
        IsSelf(domain, context) ? StatusOkay
            : !context.DomainExists(domain) ? StatusBadDomain
            : StatusPermissionDenied;

    private static long Setup(IGuestHypercallContext context, ulong argument, bool is64)
    {
        // dom 0, nr_frames 4, status 8, frame_list 16 (64-bit) or 12 (32-bit).
        if (!context.TryRead(argument, out ushort domain) || !context.TryRead(argument + 4, out uint frames)
            || !context.TryReadLong(argument + (is64 ? 16u : 12u), 0, is64, out var list))
        {
            return -(long)Errno.EFAULT;
        }

        var status = StatusOf(domain, context);
        if (status == StatusOkay)
        {
            status = frames <= context.MaximumGrantFrames && context.GrowGrantTable(frames) == 0
                ? StatusOkay
                : StatusGeneralError;
        }

        for (var i = 0u; status == StatusOkay && i < frames; i++)
        {
            if (!context.TryWriteLong(list, i, is64, context.GrantFrameGfn(i)))
            {
                status = StatusBadVirtualAddress;
            }
        }

        return context.TryWrite(argument + 8, status) ? 0 : -(long)Errno.EFAULT;
    }

    private static long Query(IGuestHypercallContext context, ulong argument)
    {
        if (!context.TryRead(argument, out GrantQuerySize query))
        {
            return -(long)Errno.EFAULT;
        }

        query.Status = StatusOf(query.Domain, context);
        if (query.Status == StatusOkay)
        {
            query.Frames = context.GrantFrames;
            query.MaximumFrames = context.MaximumGrantFrames;
        }

        return context.TryWrite(argument, query) ? 0 : -(long)Errno.EFAULT;
    }

    private static long ChooseVersion(IGuestHypercallContext context, ulong argument)
    {
        if (!context.TryRead(argument, out uint version))
        {
            return -(long)Errno.EFAULT;
        }

        // Version 2 is not offered, which is told as before there were versions.
        var result = version switch
        {
            1 => 0L,
            2 => -(long)Errno.ENOSYS,
            _ => -(long)Errno.EINVAL,
        };
        return context.TryWrite(argument, 1u) ? result : -(long)Errno.EFAULT;
    }

    private static long TellVersion(IGuestHypercallContext context, ulong argument)
    {
        if (!context.TryRead(argument, out GrantGetVersion version))
        {
            return -(long)Errno.EFAULT;
        }

        if (!IsSelf(version.Domain, context))
        {
            return !context.DomainExists(version.Domain) ? -(long)Errno.ESRCH : -(long)Errno.EPERM;
        }

        version.Version = 1;
        return context.TryWrite(argument, version) ? 0 : -(long)Errno.EFAULT;
    }
}
