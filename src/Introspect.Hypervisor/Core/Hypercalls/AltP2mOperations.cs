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

    /// <summary>Does it.</summary>
    /// <param name="domain">The domain; altp2m is on unless the operation is about that.</param>
    /// <param name="operation">The operation, in and out.</param>
    /// <param name="bySelf">The guest itself asks.</param>
    /// <param name="gfns">What <c>set_mem_access_multi</c> is about, else empty.</param>
    /// <param name="accesses">One access for each of them.</param>
    public static Errno Do(Domain domain, ref HvmAltP2mOp operation, bool bySelf, ReadOnlySpan<ulong> gfns, ReadOnlySpan<byte> accesses)
    {
        var views = domain.AltP2m;
        switch (operation.Command)
        {
            case AltP2mCommand.GetDomainState:
                operation.DomainState = views.IsActive ? (byte)1 : (byte)0;
                return Errno.None;

            case AltP2mCommand.SetDomainState:
                views.SetActive(operation.DomainState != 0);
                return Errno.None;

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
                return views.Create((MemoryAccess)operation.View.DefaultAccess, out operation.View.View);

            case AltP2mCommand.DestroyP2m:
                return views.Destroy(operation.View.View);

            case AltP2mCommand.SwitchP2m:
                return views.SwitchAll(operation.View.View);

            case AltP2mCommand.SetMemAccess:
                return IsClear(in operation, 4, 4) ? SetAccess(domain, operation.MemAccess) : Errno.EINVAL;

            case AltP2mCommand.SetMemAccessMulti:
                return IsClear(in operation, 2, 2) && operation.SetMemAccessMulti.Opaque <= operation.SetMemAccessMulti.Nr
                    ? views.SetAccess(operation.SetMemAccessMulti.View, gfns, accesses)
                    : Errno.EINVAL;

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
                    ? views.Remap(operation.ChangeGfn.View, operation.ChangeGfn.OldGfn, operation.ChangeGfn.NewGfn == InvalidGfn ? null : operation.ChangeGfn.NewGfn, suppressVe: !bySelf)
                    : Errno.EINVAL;

            case AltP2mCommand.SetSuppressVe:
                return IsClear(in operation, 3, 5)
                    ? views.SetSuppressVe(operation.SuppressVe.View, operation.SuppressVe.Gfn, operation.SuppressVe.SuppressVe != 0)
                    : Errno.EINVAL;

            case AltP2mCommand.SetSuppressVeMulti:
                return SetSuppressVeMulti(domain, ref operation);

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
        if (argument.Gfn == InvalidGfn)
        {
            var known = domain.AltP2m.SetAccess(argument.View, [], []);
            return known != Errno.None ? known : domain.Physmap.SetDefaultAccess((MemoryAccess)argument.Access);
        }

        return argument.Access > byte.MaxValue
            ? Errno.EINVAL
            : domain.AltP2m.SetAccess(argument.View, [argument.Gfn], [(byte)argument.Access]);
    }

    private static Errno SetSuppressVeMulti(Domain domain, ref HvmAltP2mOp operation)
    {
        ref var range = ref operation.SuppressVeMulti;
        range.LastGfn = Math.Min(range.LastGfn, domain.Physmap.EntryCount - 1);
        if (!IsClear(in operation, 3, 1) || range.FirstGfn > range.LastGfn)
        {
            return Errno.EINVAL;
        }

        // The first error is told, and the rest of the range is done all the same.
        for (; range.FirstGfn <= range.LastGfn; range.FirstGfn++)
        {
            var result = domain.AltP2m.SetSuppressVe(range.View, range.FirstGfn, range.SuppressVe != 0);
            if (result == Errno.EINVAL)
            {
                return result;
            }

            if (result != Errno.None && range.FirstError == 0)
            {
                range.FirstError = -(int)result;
                range.FirstErrorGfn = range.FirstGfn;
            }
        }

        return Errno.None;
    }

    /// <summary>True when the bytes at an offset in the operation's union are zero: padding that Xen looks at.</summary>
    private static bool IsClear(in HvmAltP2mOp operation, int offset, int bytes) =>
        !MemoryMarshal.AsBytes(new ReadOnlySpan<HvmAltP2mOp>(in operation)).Slice(UnionOffset + offset, bytes).ContainsAnyExcept((byte)0);
}
