using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary>Memory operations of a guest that are about other domains, or may be: lists and structures go through the toolstack's door.</summary>
internal static class GuestForeignMemoryOp
{
    // Elements of a list that are taken at once.
    private const uint MaxListed = 1 << 16;

    /// <summary>Populates or takes frames of another domain, from one extent up to another; tells how many were done, like all of these.</summary>
    public static HypercallResult Reserve(
        in HypercallArguments call, IGuestHypercallContext context, in MemoryReservation reservation, ulong start, ulong end)
    {
        var gfns = new ulong[end - start];
        for (var i = 0; i < gfns.Length; i++)
        {
            if (!context.TryReadLong(reservation.ExtentStart, start + (ulong)i, call.Is64, out gfns[i]))
            {
                return (long)start;
            }
        }

        var part = reservation with { ExtentStart = 1, NrExtents = (ulong)gfns.Length };
        var result = GuestControl.MemoryOp(in call, context, part, MemoryMarshal.AsBytes(gfns.AsSpan()));
        if (result.Continues)
        {
            return result;
        }

        var done = start + (ulong)Math.Max(result.Value, 0);
        return done == end && end != reservation.NrExtents
            ? HypercallResult.ContinueWith(call with { A1 = ((uint)call.A1 & ((1u << MemoryOp.ExtentShift) - 1)) | (end << MemoryOp.ExtentShift) })
            : (long)done;
    }

    /// <summary><c>XENMEM_set_memory_map</c>, of the guest itself or of another domain.</summary>
    public static HypercallResult SetMemoryMap(in HypercallArguments call, IGuestHypercallContext context)
    {
        ForeignMemoryMap argument;
        if (call.Is64)
        {
            if (!context.TryRead(call.A2, out argument))
            {
                return -(long)Errno.EFAULT;
            }
        }
        else if (context.TryRead(call.A2, out ushort domain) && context.TryRead(call.A2 + 4, out CompatMemoryMap narrow))
        {
            argument = new() { Domid = domain, Map = new() { NrEntries = narrow.NrEntries, Buffer = narrow.Buffer } };
        }
        else
        {
            return -(long)Errno.EFAULT;
        }

        if (argument.Map.NrEntries > E820Entry.MaxEntries)
        {
            return -(long)Errno.EINVAL;
        }

        if (context.Check(argument.Domid, CallRight.Target) is var refused and not Errno.None)
        {
            return -(long)refused;
        }

        var map = new E820Entry[argument.Map.NrEntries];
        if (!context.CopyFromGuest(argument.Map.Buffer, MemoryMarshal.AsBytes(map.AsSpan())))
        {
            return -(long)Errno.EFAULT;
        }

        if (!context.IsSelf(argument.Domid))
        {
            return GuestControl.MemoryOp(in call, context, argument, MemoryMarshal.AsBytes(map.AsSpan()));
        }

        context.SetMemoryMap(map);
        return 0;
    }

    /// <summary><c>XENMEM_access_op</c>, whose target is another domain by definition.</summary>
    public static HypercallResult Access(in HypercallArguments call, IGuestHypercallContext context)
    {
        if (!context.TryRead(call.A2, out MemAccessOp argument))
        {
            return -(long)Errno.EFAULT;
        }

        // No name for oneself here: a number that is no domain's.
        var refused = CallerRights.Check(context.Caller, argument.Domid, context.DomainExists(argument.Domid), CallRight.DeviceModel);
        if (refused != Errno.None)
        {
            return -(long)refused;
        }

        if (!call.Is64)
        {
            return -(long)Errno.EOPNOTSUPP;
        }

        if (argument.Op != MemAccessOperation.SetAccessMulti)
        {
            return GuestControl.MemoryOp(in call, context, argument);
        }

        if (argument.Nr > MaxListed)
        {
            return -(long)Errno.E2BIG;
        }

        var gfns = new byte[argument.Nr * sizeof(ulong)];
        var rights = new byte[argument.Nr];
        return context.CopyFromGuest(argument.PfnList, gfns) && context.CopyFromGuest(argument.AccessList, rights)
            ? GuestControl.MemoryOp(in call, context, argument, gfns, rights)
            : -(long)Errno.EFAULT;
    }
}
