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
        HypercallNumber.Sysctl => GuestControl.Sysctl(call, context),
        HypercallNumber.Domctl => GuestControl.Domctl(call, context),
        PlatformOp => Platform(call, context),
        HypercallNumber.DmOp => GuestControl.DmOp(call, context),
        HypercallNumber.HypfsOp => CallerRights.Check(context.Caller, target: null, CallRight.Control) == Errno.None ? -(long)Errno.ENOSYS : -(long)Errno.EPERM,
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
            while (result.Continues && result.Next != inner)
            {
                inner = result.Next;
                result = One(inner, context);
            }

            if (result.Continues)
            {
                // It did not come forward, since it is another one's turn, for which this vCPU may have to stand still.
                // What it did before stands in the list.
                if (!context.TryWriteLong(entry, 2, call.Is64, inner.A1) || !context.TryWriteLong(entry, 3, call.Is64, inner.A2)
                    || !context.TryWriteLong(entry, 4, call.Is64, inner.A3))
                {
                    return -(long)Errno.EFAULT;
                }

                return HypercallResult.ContinueWith(call with { A1 = entry, A2 = count - i });
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

    /// <summary>Operations on the machine: the version of the interface is told before the caller's right is looked at. The core has none.</summary>
    private static long Platform(in HypercallArguments call, IGuestHypercallContext context) =>
        !context.TryRead(call.A1 + 4, out uint asked) ? -(long)Errno.EFAULT
            : asked != PlatformInterfaceVersion ? -(long)Errno.EACCES
            : CallerRights.Check(context.Caller, target: null, CallRight.Control) is var refused and not Errno.None ? -(long)refused
            : -(long)Errno.ENOSYS;
}
