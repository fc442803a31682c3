using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary><c>__HYPERVISOR_memory_op</c> from the guest itself: its own physmap.</summary>
internal static class GuestMemoryOp
{
    private const ulong CommandMask = (1u << MemoryOp.ExtentShift) - 1;

    // Extents done in one go; the guest comes back for the rest.
    private const ulong BatchExtents = 256;
    private const ushort BatchFrames = 256;

    private const uint MachphysMapping = 12;
    private const uint GetPodTarget = 17;
    private const uint SetPodTarget = 16;
    private const uint GetVnumaInfo = 26;
    private const uint PopulateOnDemand = 1 << 16;
    private const uint DevMmioSpace = 5;

    /// <summary>Does the call: A1 is the command with a continued call's place above it, A2 the argument.</summary>
    public static HypercallResult Do(in HypercallArguments call, IGuestHypercallContext context)
    {
        var argument = call.A2;
        var start = call.A1 >> MemoryOp.ExtentShift;
        var command = (uint)(call.A1 & CommandMask);
        switch (command)
        {
            case MemoryOp.IncreaseReservation:
            case MemoryOp.DecreaseReservation:
            case MemoryOp.PopulatePhysmap:
                return Reservation(call, context, command, start);

            case MemoryOp.AddToPhysmap:
                return AddToPhysmap(call, context, start);

            case MemoryOp.AddToPhysmapBatch:
                return AddToPhysmapBatch(call, context, start);

            case MemoryOp.RemoveFromPhysmap:
                return start != 0 ? -(long)Errno.EINVAL : RemoveFromPhysmap(call, context);

            case MemoryOp.MaximumRamPage:
                return start != 0 ? -(long)Errno.EINVAL : (long)context.MaximumRamPage;

            case MemoryOp.CurrentReservation:
            case MemoryOp.MaximumReservation:
            case MemoryOp.MaximumGpfn:
                return start != 0 ? -(long)Errno.EINVAL : Statistic(in call, context, command);

            case MemoryOp.MemoryMap:
                return MemoryMap(context, argument, call.Is64);

            case MemoryOp.MachineMemoryMap or MachphysMapping:
                return -(long)Errno.ENOSYS;

            case MemoryOp.SetMemoryMap:
                return GuestForeignMemoryOp.SetMemoryMap(in call, context);

            case MemoryOp.AccessOp:
                return GuestForeignMemoryOp.Access(in call, context);

            case MemoryOp.ClaimPages or SetPodTarget or GetPodTarget or MemoryOp.PagingOp or MemoryOp.SharingOp:
                // Claims, paging and sharing are for those outside of all guests, who have no vCPU that others wait for.
                return CallerRights.Check(context.Caller, target: null, CallRight.Control) == Errno.None
                    ? -(long)Errno.EOPNOTSUPP
                    : -(long)Errno.EPERM;

            case MemoryOp.Exchange or GetVnumaInfo:
                return -(long)Errno.EOPNOTSUPP;

            default:
                return -(long)Errno.ENOSYS;
        }
    }

    /// <summary>These calls have no errors: they tell how many extents were done, from the first on.</summary>
    private static HypercallResult Reservation(
        in HypercallArguments call, IGuestHypercallContext context, uint command, ulong start)
    {
        if (!TryReadReservation(context, call, out var reservation)
            || reservation.NrExtents > uint.MaxValue >> MemoryOp.ExtentShift
            || start >= reservation.NrExtents
            || context.Check(reservation.Domid, CallRight.Target) != Errno.None
            || reservation.ExtentOrder > DomainPolicies.MaxOrder(context.Roles)
            || !HearsNode(reservation.MemFlags, context.Roles)
            || (command == MemoryOp.PopulatePhysmap && (reservation.MemFlags & PopulateOnDemand) != 0)
            || command == MemoryOp.IncreaseReservation)
        {
            // Pages without a place in the physmap are of no use to a translated guest: none are given.
            return (long)start;
        }

        var end = Math.Min(reservation.NrExtents, start + BatchExtents);
        if (!context.IsSelf(reservation.Domid))
        {
            return GuestForeignMemoryOp.Reserve(in call, context, reservation, start, end);
        }

        for (var i = start; i < end; i++)
        {
            if (!context.TryReadLong(reservation.ExtentStart, i, call.Is64, out var gfn)
                || !DoExtent(context, command, gfn, reservation.ExtentOrder))
            {
                return (long)i;
            }
        }

        return end == reservation.NrExtents
            ? (long)end
            : HypercallResult.ContinueWith(call with { A1 = command | (end << MemoryOp.ExtentShift) });
    }

    /// <summary>A wish for a NUMA node, of which there is one: heard of who may choose, not heard of others unless they insist.</summary>
    private static bool HearsNode(uint flags, DomainRoles roles)
    {
        const uint Exact = 1 << 17;
        const uint MaxNodes = 64;
        var node = (flags >> 8) & 0xFF;
        return node == 0
            || (DomainPolicies.MayChooseNode(roles) ? node <= MaxNodes && ((flags & Exact) == 0 || node == 1) : (flags & Exact) == 0);
    }

    private static bool TryReadReservation(
        IGuestHypercallContext context, in HypercallArguments call, out MemoryReservation reservation)
    {
        if (call.Is64)
        {
            return context.TryRead(call.A2, out reservation);
        }

        var ok = context.TryRead(call.A2, out CompatMemoryReservation narrow);
        reservation = new MemoryReservation
        {
            ExtentStart = narrow.ExtentStart,
            NrExtents = narrow.NrExtents,
            ExtentOrder = narrow.ExtentOrder,
            MemFlags = narrow.MemFlags,
            Domid = narrow.Domid,
        };
        return ok;
    }

    /// <summary>One extent, whole or not at all when it is populated; what was removed stays removed.</summary>
    private static bool DoExtent(IGuestHypercallContext context, uint command, ulong gfn, uint order)
    {
        var pages = 1UL << (int)order;
        for (var page = 0UL; page < pages; page++)
        {
            var error = command == MemoryOp.PopulatePhysmap
                ? context.PopulateFrame(gfn + page)
                : context.RemoveFrame(gfn + page);
            if (error == 0)
            {
                continue;
            }

            while (command == MemoryOp.PopulatePhysmap && page-- > 0)
            {
                _ = context.RemoveFrame(gfn + page);
            }

            return false;
        }

        return true;
    }

    private static HypercallResult AddToPhysmap(in HypercallArguments call, IGuestHypercallContext context, ulong start)
    {
        if (start > ushort.MaxValue)
        {
            return -(long)Errno.EDOM;
        }

        AddToPhysmap add;
        if (call.Is64)
        {
            if (!context.TryRead(call.A2, out add))
            {
                return -(long)Errno.EFAULT;
            }
        }
        else if (context.TryRead(call.A2, out CompatAddToPhysmap narrow))
        {
            add = new AddToPhysmap
            {
                Domid = narrow.Domid,
                Size = narrow.Size,
                Space = narrow.Space,
                Index = narrow.Index,
                Gpfn = narrow.Gpfn,
            };
        }
        else
        {
            return -(long)Errno.EFAULT;
        }

        if (add.Space == PhysMapSpace.GmfnForeign)
        {
            return -(long)Errno.ENOSYS;
        }

        var error = CheckSpace(add.Domid, add.Space, context);
        if (error != 0)
        {
            return error;
        }

        if (add.Gpfn == InvalidGfn(call.Is64))
        {
            return -(long)Errno.EINVAL;
        }

        if (!context.IsSelf(add.Domid))
        {
            return add.Space == PhysMapSpace.GmfnRange ? -(long)Errno.EOPNOTSUPP : GuestControl.MemoryOp(in call, context, add);
        }

        return add.Space == PhysMapSpace.GmfnRange
            ? AddRange(call, context, add, start)
            : AddOne(context, add.Space, add.Index, add.Gpfn);
    }

    private static ulong InvalidGfn(bool is64) => is64 ? ulong.MaxValue : uint.MaxValue;

    private static long CheckSpace(ushort domain, uint space, IGuestHypercallContext context)
    {
        var refused = context.Check(domain, CallRight.Target);
        return refused == Errno.ESRCH ? -(long)refused
            : space == DevMmioSpace && !DomainPolicies.MayMapDeviceMemory(context.Roles, context.IsSelf(domain)) ? -(long)Errno.EACCES
            : -(long)refused;
    }

    private static HypercallResult AddRange(
        in HypercallArguments call, IGuestHypercallContext context, in AddToPhysmap add, ulong start)
    {
        if (add.Size < start)
        {
            return -(long)Errno.EILSEQ;
        }

        if (add.Gpfn + add.Size < add.Gpfn || add.Index + add.Size < add.Index)
        {
            return -(long)Errno.EOVERFLOW;
        }

        var end = Math.Min(add.Size, start + BatchFrames);
        for (var i = start; i < end; i++)
        {
            var error = context.MoveFrame(add.Index + i, add.Gpfn + i);
            if (error < 0)
            {
                return error;
            }
        }

        return end == add.Size
            ? 0
            : HypercallResult.ContinueWith(call with { A1 = MemoryOp.AddToPhysmap | (end << MemoryOp.ExtentShift) });
    }

    private static int AddOne(IGuestHypercallContext context, uint space, ulong index, ulong gfn) => space switch
    {
        PhysMapSpace.SharedInfo => index == 0 ? context.MapSharedInfo(gfn) : -(int)Errno.EINVAL,
        PhysMapSpace.GrantTable => index < context.MaximumGrantFrames
            ? context.MapGrantFrame(index, gfn)
            : -(int)Errno.EINVAL,
        PhysMapSpace.Gmfn => context.MoveFrame(index, gfn),
        _ => -(int)Errno.EINVAL,
    };

    private static HypercallResult AddToPhysmapBatch(
        in HypercallArguments call, IGuestHypercallContext context, ulong start)
    {
        if (start > ushort.MaxValue)
        {
            return -(long)Errno.EDOM;
        }

        AddToPhysmapBatch batch;
        if (call.Is64)
        {
            if (!context.TryRead(call.A2, out batch))
            {
                return -(long)Errno.EFAULT;
            }
        }
        else if (context.TryRead(call.A2, out CompatAddToPhysmapBatch narrow))
        {
            batch = new AddToPhysmapBatch
            {
                Domid = narrow.Domid,
                Space = narrow.Space,
                Size = narrow.Size,
                ForeignDomid = narrow.ForeignDomid,
                Indexes = narrow.Indexes,
                Gpfns = narrow.Gpfns,
                Errors = narrow.Errors,
            };
        }
        else
        {
            return -(long)Errno.EFAULT;
        }

        if (batch.Space == PhysMapSpace.GmfnRange)
        {
            return -(long)Errno.EOPNOTSUPP;
        }

        var error = CheckSpace(batch.Domid, batch.Space, context);
        if (error != 0)
        {
            return error;
        }

        if (!context.IsSelf(batch.Domid))
        {
            return -(long)Errno.EOPNOTSUPP;
        }

        if (batch.Size < start)
        {
            return -(long)Errno.EILSEQ;
        }

        var end = Math.Min(batch.Size, start + BatchFrames);
        for (var i = start; i < end; i++)
        {
            if (!context.TryReadLong(batch.Indexes, i, call.Is64, out var index)
                || !context.TryReadLong(batch.Gpfns, i, call.Is64, out var gfn))
            {
                return -(long)Errno.EFAULT;
            }

            if (gfn == InvalidGfn(call.Is64))
            {
                return -(long)Errno.EINVAL;
            }

            // Pages of other domains: a guest has no right to any.
            var result = batch.Space == PhysMapSpace.GmfnForeign
                ? context.DomainExists(batch.ForeignDomid) ? -(int)Errno.EPERM : -(int)Errno.ESRCH
                : AddOne(context, batch.Space, index, gfn);
            if (!context.TryWrite(batch.Errors + (i * 4), result))
            {
                return -(long)Errno.EFAULT;
            }
        }

        return end == batch.Size
            ? 0
            : HypercallResult.ContinueWith(
                call with { A1 = MemoryOp.AddToPhysmapBatch | (end << MemoryOp.ExtentShift) });
    }

    private static HypercallResult RemoveFromPhysmap(in HypercallArguments call, IGuestHypercallContext context)
    {
        ushort domain;
        ulong gfn;
        if (call.Is64)
        {
            if (!context.TryRead(call.A2, out RemoveFromPhysmap wide))
            {
                return -(long)Errno.EFAULT;
            }

            (domain, gfn) = (wide.Domid, wide.Gpfn);
        }
        else if (context.TryRead(call.A2, out CompatRemoveFromPhysmap narrow))
        {
            (domain, gfn) = (narrow.Domid, narrow.Gpfn);
        }
        else
        {
            return -(long)Errno.EFAULT;
        }

        return context.Check(domain, CallRight.Target) is var refused and not Errno.None ? -(long)refused
            : context.IsSelf(domain) ? context.RemoveFrame(gfn)
            : GuestControl.MemoryOp(in call, context, new RemoveFromPhysmap { Domid = domain, Gpfn = gfn });
    }

    private static HypercallResult Statistic(in HypercallArguments call, IGuestHypercallContext context, uint command)
    {
        if (!context.TryRead(call.A2, out MemoryDomain domain))
        {
            return -(long)Errno.EFAULT;
        }

        if (context.Check(domain.Domid, CallRight.Target) is var refused and not Errno.None)
        {
            return -(long)refused;
        }

        return !context.IsSelf(domain.Domid) ? GuestControl.MemoryOp(in call, context, domain) : (long)(command switch
        {
            MemoryOp.CurrentReservation => context.TotalPages,
            MemoryOp.MaximumReservation => context.MaximumPages,
            _ => context.MaximumGfn,
        });
    }

    private static long MemoryMap(IGuestHypercallContext context, ulong argument, bool is64)
    {
        uint entries;
        ulong buffer;
        if (is64)
        {
            if (!context.TryRead(argument, out MemoryMap wide))
            {
                return -(long)Errno.EFAULT;
            }

            (entries, buffer) = (wide.NrEntries, wide.Buffer);
        }
        else if (context.TryRead(argument, out CompatMemoryMap narrow))
        {
            (entries, buffer) = (narrow.NrEntries, narrow.Buffer);
        }
        else
        {
            return -(long)Errno.EFAULT;
        }

        var map = context.MemoryMap;
        if (map.IsEmpty)
        {
            return -(long)Errno.ENOSYS;
        }

        map = map[..(int)Math.Min(entries, (uint)map.Length)];
        return context.CopyToGuest(buffer, System.Runtime.InteropServices.MemoryMarshal.AsBytes(map))
            && context.TryWrite(argument, (uint)map.Length)
                ? 0
                : -(long)Errno.EFAULT;
    }
}
