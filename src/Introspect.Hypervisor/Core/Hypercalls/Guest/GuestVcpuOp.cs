using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Platform;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary><c>__HYPERVISOR_vcpu_op</c>.</summary>
internal static class GuestVcpuOp
{
    private const ulong MinPeriod = 1_000_000;

    // A delta beyond this is not a time.
    private const ulong MaxPeriod = (1UL << 63) / 4;

    /// <summary>Does the call: A1 is the command, A2 the vCPU, A3 the argument.</summary>
    public static long Do(in HypercallArguments call, IGuestHypercallContext context)
    {
        var vcpuId = (uint)call.A2;
        var argument = call.A3;
        if (vcpuId >= context.VcpuCount)
        {
            return -(long)Errno.ENOENT;
        }

        switch ((uint)call.A1)
        {
            case VcpuOp.Initialise:
                return !context.Shared.HasVcpuInfo(vcpuId) ? -(long)Errno.EINVAL
                    : !context.TryRead(argument, out VcpuHvmContext registers) ? -(long)Errno.EFAULT
                    : registers.Mode > 1 ? -(long)Errno.EINVAL
                    : context.InitialiseVcpu(vcpuId, registers);

            case VcpuOp.Up:
                return context.BringVcpuUp(vcpuId);

            case VcpuOp.Down:
                return Down(context, vcpuId);

            case VcpuOp.IsUp:
                return context.IsVcpuUp(vcpuId) ? 1 : 0;

            case VcpuOp.GetRunstateInfo:
                return WriteRunstate(context, vcpuId, argument, call.Is64) ? 0 : -(long)Errno.EFAULT;

            case VcpuOp.RegisterRunstateMemoryArea:
                return RegisterRunstate(context, vcpuId, argument, call.Is64);

            case VcpuOp.RegisterVcpuTimeMemoryArea:
                return RegisterTime(context, vcpuId, argument, call.Is64);

            case VcpuOp.RegisterVcpuInfo:
                return RegisterInfo(context, vcpuId, argument);

            case VcpuOp.SetPeriodicTimer:
                if (!context.TryRead(argument, out ulong period))
                {
                    return -(long)Errno.EFAULT;
                }

                if (period is < MinPeriod or > MaxPeriod)
                {
                    return -(long)Errno.EINVAL;
                }

                context.Timers.SetPeriodic(vcpuId, period, context.SystemTime);
                return 0;

            case VcpuOp.StopPeriodicTimer:
                context.Timers.SetPeriodic(vcpuId, 0, context.SystemTime);
                return 0;

            case VcpuOp.SetSingleshotTimer:
                if (vcpuId != context.VcpuId)
                {
                    return -(long)Errno.EINVAL;
                }

                if (!context.TryRead(argument, out SetSingleshotTimer timer))
                {
                    return -(long)Errno.EFAULT;
                }

                context.Timers.SetSingleshot(vcpuId, Math.Max(ClampDeadline(timer.TimeoutAbsolute, context), 1));
                return 0;

            case VcpuOp.StopSingleshotTimer:
                if (vcpuId != context.VcpuId)
                {
                    return -(long)Errno.EINVAL;
                }

                context.Timers.SetSingleshot(vcpuId, 0);
                return 0;

            case VcpuOp.SendNmi:
                if (argument != 0)
                {
                    return -(long)Errno.EINVAL;
                }

                context.SendNmi(vcpuId);
                return 0;

            case VcpuOp.GetPhysid:
                return -(long)Errno.EINVAL;

            default:
                return -(long)Errno.ENOSYS;
        }
    }

    /// <summary>A deadline as timers keep it: 0 stops, the past is due at once, and a negative time is the past.</summary>
    public static ulong ClampDeadline(ulong deadline, IGuestHypercallContext context) =>
        deadline == 0 ? 0
            : (long)deadline < 0 ? Math.Max(context.SystemTime, 1)
            : deadline;

    /// <summary>Writes a vCPU's runstate in the layout of the guest's mode.</summary>
    public static bool WriteRunstate(IGuestHypercallContext context, uint vcpuId, ulong address, bool is64)
    {
        var state = context.ReadRunstate(vcpuId);
        return is64
            ? context.TryWrite(address, new RunstateInfo
            {
                State = state.State,
                EntryTime = state.EntryTime,
                Running = state.Running,
                Runnable = state.Runnable,
                Blocked = state.Blocked,
                Offline = state.Offline,
            })
            : context.TryWrite(address, new CompatRunstateInfo
            {
                State = state.State,
                EntryTime = state.EntryTime,
                Running = state.Running,
                Runnable = state.Runnable,
                Blocked = state.Blocked,
                Offline = state.Offline,
            });
    }

    private static long Down(IGuestHypercallContext context, uint vcpuId)
    {
        for (var other = 0u; other < context.VcpuCount; other++)
        {
            if (other != vcpuId && context.IsVcpuUp(other))
            {
                context.TakeVcpuDown(vcpuId);
                return 0;
            }
        }

        // The last one: there is nobody left who could bring one up again.
        context.Shutdown(ShutdownReason.Poweroff);
        return 0;
    }

    private static long RegisterRunstate(IGuestHypercallContext context, uint vcpuId, ulong argument, bool is64)
    {
        if (!context.TryReadLong(argument, 0, is64, out var area))
        {
            return -(long)Errno.EFAULT;
        }

        context.RegisterRunstateArea(vcpuId, area, is64);

        // The first write may fail: the guest learns nothing of it, as the area is only looked at later.
        _ = area == 0 || WriteRunstate(context, vcpuId, area, is64);
        return 0;
    }

    private static long RegisterTime(IGuestHypercallContext context, uint vcpuId, ulong argument, bool is64)
    {
        // A union of pointer and 64-bit number: a 32-bit guest must have cleared the upper half.
        if (!context.TryRead(argument, out ulong area) || (!is64 && area > uint.MaxValue))
        {
            return -(long)Errno.EFAULT;
        }

        context.RegisterTimeArea(vcpuId, area);
        context.RefreshTime(vcpuId);
        return 0;
    }

    private static long RegisterInfo(IGuestHypercallContext context, uint vcpuId, ulong argument)
    {
        if (!context.TryRead(argument, out RegisterVcpuInfo info))
        {
            return -(long)Errno.EFAULT;
        }

        if (info.Offset > Gfn.PageSize - SharedInfoLayout.VcpuInfoSize
            || (info.Offset & (uint)(context.Shared.Layout.WordSize - 1)) != 0)
        {
            return -(long)Errno.ENXIO;
        }

        // A vCPU that may be running cannot be told where to look from now on.
        if (vcpuId != context.VcpuId && context.IsVcpuUp(vcpuId))
        {
            return -(long)Errno.EINVAL;
        }

        var error = context.MoveVcpuInfo(vcpuId, info.Mfn, info.Offset);
        if (error == 0)
        {
            context.Events.OnVcpuInfoMoved(vcpuId);
            context.RefreshTime(vcpuId);
        }

        return error;
    }
}
