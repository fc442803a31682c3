using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary>
/// What an HVM guest may ask for: the table of hypercalls, and who may call. Results and their order of checks are
/// those of Xen 4.17.
/// </summary>
internal static class GuestHypercalls
{
    private const uint PlatformOp = 7;
    private const uint PlatformInterfaceVersion = 0x0300_0000;

    // Calls done in one go; the guest comes back for the others.
    private const uint MulticallBatch = 32;

    /// <summary>Does a hypercall of the calling vCPU.</summary>
    public static HypercallResult Dispatch(ref readonly HypercallArguments registers, IGuestHypercallContext context)
    {
        var call = registers.Normalized();
        if (context.Cpl != 0 && !IsUserspaceGuestRequest(call, context))
        {
            return -(long)Errno.EPERM;
        }

        return call.Op == HypercallNumber.Multicall ? Multicall(call, context) : One(call, context);
    }

    private static bool IsUserspaceGuestRequest(in HypercallArguments call, IGuestHypercallContext context) =>
        context.GuestRequestFromUserspace && call.Op == HypercallNumber.HvmOp && call.A1 == HvmOp.GuestRequestVmEvent;

    private static HypercallResult One(in HypercallArguments call, IGuestHypercallContext context) => call.Op switch
    {
        HypercallNumber.MemoryOp => GuestMemoryOp.Do(call, context),
        HypercallNumber.XenVersion => GuestXenVersion.Do(call, context),
        HypercallNumber.ConsoleIo => GuestConsoleIo.Do(call, context),
        HypercallNumber.GrantTableOp => GuestGrantTableOp.Do(call, context),
        HypercallNumber.VcpuOp => GuestVcpuOp.Do(call, context),
        HypercallNumber.SchedOp => GuestSchedOp.Do(call, context),
        HypercallNumber.EventChannelOp => GuestEventChannelOp.Do(call, context),
        HypercallNumber.HvmOp => GuestHvmOp.Do(call, context),
        HypercallNumber.SetTimerOp => SetTimer(call, context),
        HypercallNumber.VmAssist => VmAssist(call, context),
        HypercallNumber.Sysctl => ControlOperation(call, context, XenInterface.CoreSysctl),
        HypercallNumber.Domctl => Domctl(call, context),
        PlatformOp => ControlOperation(call, context, PlatformInterfaceVersion),
        HypercallNumber.DmOp => DmOp(call, context),
        HypercallNumber.HypfsOp => -(long)Errno.EPERM,
        HypercallNumber.XenpmuOp => -(long)Errno.EOPNOTSUPP,

        // No interrupt routing over event channels, no security module, no Argo; the rest is for PV guests.
        _ => -(long)Errno.ENOSYS,
    };

    private static HypercallResult Multicall(in HypercallArguments call, IGuestHypercallContext context)
    {
        var width = call.Is64 ? 8UL : 4UL;
        var size = width * 8;
        var (list, count) = (call.A1, (uint)call.A2);
        var batch = Math.Min(count, MulticallBatch);
        Span<ulong> words = stackalloc ulong[8];
        for (var i = 0u; i < batch; i++)
        {
            var entry = list + (i * size);
            for (var w = 0; w < words.Length; w++)
            {
                if (!context.TryReadLong(entry, (ulong)w, call.Is64, out words[w]))
                {
                    return -(long)Errno.EFAULT;
                }
            }

            // Op, result, six arguments. A call inside a call has no registers to continue in: it is done to its end.
            var inner = new HypercallArguments
            {
                Op = words[0],
                A1 = words[2],
                A2 = words[3],
                A3 = words[4],
                A4 = words[5],
                A5 = words[6],
                Is64 = call.Is64,
            };
            var result = inner.Op == HypercallNumber.Multicall ? -(long)Errno.ENOSYS : One(inner, context);
            while (result.Continues)
            {
                result = One(result.Next, context);
            }

            if (!context.TryWriteLong(entry, 1, call.Is64, (ulong)result.Value))
            {
                return -(long)Errno.EFAULT;
            }
        }

        return batch == count ? 0 : HypercallResult.ContinueWith(call with { A1 = list + (batch * size), A2 = count - batch });
    }

    /// <summary>The one-shot timer by its old name: the deadline is one argument, or two halves in 32-bit modes.</summary>
    private static long SetTimer(in HypercallArguments call, IGuestHypercallContext context)
    {
        var deadline = call.Is64 ? call.A1 : (uint)call.A1 | (call.A2 << 32);
        context.Timers.SetSingleshot(context.VcpuId, GuestVcpuOp.ClampDeadline(deadline, context));
        return 0;
    }

    private static long VmAssist(in HypercallArguments call, IGuestHypercallContext context)
    {
        const uint Enable = 0;
        const uint Disable = 1;
        const uint RunstateUpdateFlag = 5;
        if (call.A2 != RunstateUpdateFlag)
        {
            return -(long)Errno.EINVAL;
        }

        switch ((uint)call.A1)
        {
            case Enable:
            case Disable:
                context.RunstateUpdateFlag = (uint)call.A1 == Enable;
                return 0;
            default:
                return -(long)Errno.ENOSYS;
        }
    }

    /// <summary>Control operations: the version of the interface is told before the caller's right is looked at.</summary>
    private static long ControlOperation(in HypercallArguments call, IGuestHypercallContext context, uint version) =>
        !context.TryRead(call.A1 + 4, out uint asked) ? -(long)Errno.EFAULT
            : asked != version ? -(long)Errno.EACCES
            : -(long)Errno.EPERM;

    private static long Domctl(in HypercallArguments call, IGuestHypercallContext context)
    {
        if (!context.TryRead(call.A1, out XenDomctl operation))
        {
            return -(long)Errno.EFAULT;
        }

        if (operation.InterfaceVersion != XenInterface.CoreDomctl)
        {
            return -(long)Errno.EACCES;
        }

        // The creation of a domain names none that must be there.
        var known = operation.Command == DomctlCommand.CreateDomain || operation.Domain == SpecialDomain.Self
            || operation.Domain == context.DomainId || context.FindEvents(operation.Domain) is not null;
        return known ? -(long)Errno.EPERM : -(long)Errno.ESRCH;
    }

    private static long DmOp(in HypercallArguments call, IGuestHypercallContext context)
    {
        // For device models: the target is always another domain, and the right is not a guest's.
        var domain = (ushort)call.A1;
        return domain == SpecialDomain.Self || domain == context.DomainId || context.FindEvents(domain) is not null
            ? -(long)Errno.EPERM
            : -(long)Errno.ESRCH;
    }
}
