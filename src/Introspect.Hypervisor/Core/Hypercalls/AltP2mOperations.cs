using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.Hypercalls;

/// <summary>
/// <c>HVMOP_altp2m</c> once it is known who asks and that he may: the same for a toolstack and for the guest itself
/// (Xen's <c>do_altp2m_op</c>).
/// </summary>
internal static class AltP2mOperations
{
    private const ulong InvalidGfn = ulong.MaxValue;
    private const int UnionOffset = 16;

    // Xen clamps the last frame to the highest physical address, for want of a shift; so it is here.
    private const ulong LastClamped = (1UL << Cpu.Mmu.PhysicalBits) - 1;

    /// <summary>Frames that a guest's call does before others get their turn.</summary>
    public const uint FramesAtATime = 1024;

    /// <summary>What is copied back to the caller: the whole structure, or nothing where Xen writes nothing.</summary>
    public static bool TellsBack(uint command, Errno result) => command switch
    {
        AltP2mCommand.GetDomainState or AltP2mCommand.CreateP2m or AltP2mCommand.GetMemAccess
            or AltP2mCommand.GetSuppressVe or AltP2mCommand.GetP2mIdx => result == Errno.None,
        AltP2mCommand.SetSuppressVeMulti => result is Errno.None or Errno.ERESTART,
        _ => false,
    };

    /// <summary>What is said against an operation before the domain is looked for: EINVAL for version and padding, EOPNOTSUPP for one that is unknown.</summary>
    public static Errno CheckHeader(in HvmAltP2mOp operation) =>
        !IsClear(in operation, 10 - UnionOffset, 6) || operation.Version != AltP2mCommand.InterfaceVersion ? Errno.EINVAL
            : operation.Command is 0 or > AltP2mCommand.SetVisibility ? Errno.EOPNOTSUPP
            : Errno.None;

    /// <summary>
    /// What is said against it once the domain is known: whether altp2m is on, whether there is any, and who may do what.
    /// Xen tells strangers the first two as well; here they learn nothing of a domain that they may not touch.
    /// </summary>
    /// <param name="command">The operation.</param>
    /// <param name="active">altp2m is on.</param>
    /// <param name="mode">The domain's HVM_PARAM_ALTP2M.</param>
    /// <param name="isPrivileged">The caller controls the domain.</param>
    /// <param name="isSelf">The caller is the domain, or controls it.</param>
    public static Errno CheckRights(uint command, bool active, AltP2mMode mode, bool isPrivileged, bool isSelf)
    {
        if (!isPrivileged && !isSelf)
        {
            return Errno.EPERM;
        }

        if (!active && command is not (AltP2mCommand.GetDomainState or AltP2mCommand.SetDomainState))
        {
            return Errno.EOPNOTSUPP;
        }

        return mode switch
        {
            AltP2mMode.Disabled => Errno.EINVAL,
            AltP2mMode.Mixed => Errno.None,
            AltP2mMode.External => isPrivileged ? Errno.None : Errno.EPERM,

            // The guest may ask to be told of violations, and nothing else.
            AltP2mMode.Limited => isPrivileged || (isSelf && command == AltP2mCommand.VcpuEnableNotify) ? Errno.None : Errno.EPERM,
            _ => Errno.EPERM,
        };
    }

    /// <summary>What is said against the arguments of <c>set_mem_access_multi</c>, whose lists the caller brings.</summary>
    public static Errno CheckMulti(in HvmAltP2mOp operation) =>
        IsClear(in operation, 2, 2) && operation.SetMemAccessMulti.Opaque <= operation.SetMemAccessMulti.Nr ? Errno.None : Errno.EINVAL;

    /// <summary>Does it, but for <c>set_mem_access_multi</c>: its lists lie elsewhere for each caller.</summary>
    /// <param name="domain">The domain; altp2m is on unless the operation is about that.</param>
    /// <param name="operation">The operation, in and out.</param>
    /// <param name="current">The vCPU that asks, where it is the guest itself; else null.</param>
    /// <returns>ERESTART: there is more to do, and the operation says from where on.</returns>
    public static Errno Do(Domain domain, ref HvmAltP2mOp operation, Vcpu? current)
    {
        var views = domain.AltP2m;
        switch (operation.Command)
        {
            case AltP2mCommand.GetDomainState:
                operation.DomainState = views.IsActive ? (byte)1 : (byte)0;
                return Errno.None;

            case AltP2mCommand.SetDomainState:
                return views.SetActive(operation.DomainState != 0, current);

            case AltP2mCommand.VcpuEnableNotify:
                return !IsClear(in operation, 4, 4) || domain.FindVcpu(operation.EnableNotify.VcpuId) is not { } told
                    ? Errno.EINVAL
                    : told.VirtualizationExceptions.Enable(operation.EnableNotify.Gfn);

            case AltP2mCommand.VcpuDisableNotify:
                if (domain.FindVcpu(operation.DisableNotifyVcpu) is not { } silenced)
                {
                    return Errno.EINVAL;
                }

                silenced.VirtualizationExceptions.Disable();
                return Errno.None;

            case AltP2mCommand.CreateP2m:
                // A view's number is only told where there is a view.
                return operation.View.DefaultAccess > byte.MaxValue
                    ? Errno.EINVAL
                    : Create(views, ref operation.View);

            case AltP2mCommand.DestroyP2m:
                return views.Destroy(operation.View.View, current);

            case AltP2mCommand.SwitchP2m:
                return views.SwitchAll(operation.View.View, current);

            case AltP2mCommand.SetMemAccess:
                return IsClear(in operation, 4, 4) ? SetAccess(domain, operation.MemAccess) : Errno.EINVAL;

            case AltP2mCommand.GetMemAccess:
                if (!IsClear(in operation, 4, 4))
                {
                    return Errno.EINVAL;
                }

                var read = views.GetAccess(operation.MemAccess.View, operation.MemAccess.Gfn, out var access);
                operation.MemAccess.Access = (ushort)access;
                return read;

            case AltP2mCommand.ChangeGfn:
                return IsClear(in operation, 2, 6)
                    ? views.Remap(operation.ChangeGfn.View, operation.ChangeGfn.OldGfn, operation.ChangeGfn.NewGfn == InvalidGfn ? null : operation.ChangeGfn.NewGfn, suppressVe: current is null)
                    : Errno.EINVAL;

            case AltP2mCommand.SetSuppressVe:
                return IsClear(in operation, 3, 5) ? SetSuppressVe(views, operation.SuppressVe) : Errno.EINVAL;

            case AltP2mCommand.SetSuppressVeMulti:
                ref var range = ref operation.SuppressVeMulti;
                range.LastGfn = Math.Min(range.LastGfn, LastClamped);
                return IsClear(in operation, 3, 1) && range.FirstGfn <= range.LastGfn
                    ? views.SetSuppressVe(ref range, current is null ? ulong.MaxValue : FramesAtATime)
                    : Errno.EINVAL;

            case AltP2mCommand.GetSuppressVe:
                if (!IsClear(in operation, 3, 5))
                {
                    return Errno.EINVAL;
                }

                var told2 = views.GetSuppressVe(operation.SuppressVe.View, operation.SuppressVe.Gfn, out var suppress);
                operation.SuppressVe.SuppressVe = suppress ? (byte)1 : (byte)0;
                return told2;

            case AltP2mCommand.GetP2mIdx:
                if (domain.FindVcpu(operation.VcpuP2mIndex.VcpuId) is not { } vcpu)
                {
                    return Errno.EINVAL;
                }

                operation.VcpuP2mIndex.AltP2mIndex = vcpu.View;
                return Errno.None;

            case AltP2mCommand.SetVisibility:
                return IsClear(in operation, 3, 1)
                    ? views.SetVisible(operation.Visibility.AltP2mIndex, operation.Visibility.Visible != 0)
                    : Errno.EINVAL;

            default:
                return Errno.EOPNOTSUPP;
        }
    }

    // Frame ~0 sets the default of new pages, which is the host table's whatever the view, once the view is known.
    private static Errno SetAccess(Domain domain, in AltP2mMemAccess argument)
    {
        if (argument.Access > byte.MaxValue)
        {
            return Errno.EINVAL;
        }

        if (argument.Gfn == InvalidGfn)
        {
            var known = domain.AltP2m.SetAccess(argument.View, [], []);
            return known != Errno.None ? known : domain.Physmap.SetDefaultAccess((MemoryAccess)argument.Access);
        }

        return domain.AltP2m.SetAccess(argument.View, [argument.Gfn], [(byte)argument.Access]);
    }

    private static Errno SetSuppressVe(AltP2m views, in AltP2mSuppressVe argument)
    {
        var range = new AltP2mSuppressVeMulti
        {
            View = argument.View,
            SuppressVe = argument.SuppressVe,
            FirstGfn = argument.Gfn,
            LastGfn = argument.Gfn,
        };
        var result = views.SetSuppressVe(ref range, most: 1);
        return result != Errno.None ? result : (Errno)(-range.FirstError);
    }

    private static Errno Create(AltP2m views, ref AltP2mView argument)
    {
        var result = views.Create((MemoryAccess)argument.DefaultAccess, out var index);
        if (result == Errno.None)
        {
            argument.View = index;
        }

        return result;
    }

    /// <summary>True when the bytes at an offset in the operation's union are zero: padding that Xen looks at.</summary>
    private static bool IsClear(in HvmAltP2mOp operation, int offset, int bytes) =>
        !MemoryMarshal.AsBytes(new ReadOnlySpan<HvmAltP2mOp>(in operation)).Slice(UnionOffset + offset, bytes).ContainsAnyExcept((byte)0);
}
