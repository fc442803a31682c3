using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Core.Hypercalls.Toolstack;

/// <summary>The memory_op operations that a toolstack asks for.</summary>
internal static class ToolstackMemoryOperations
{
    /// <summary>Does one operation; positive results are what Xen returns, negative ones errno.</summary>
    public static int Operate(
        Machine machine,
        ToolstackCaller caller,
        uint command,
        Span<byte> argument,
        Span<byte> buffer0,
        Span<byte> buffer1)
    {
        var operation = command & ((1u << MemoryOp.ExtentShift) - 1);
        var start = command >> MemoryOp.ExtentShift;
        return operation switch
        {
            MemoryOp.PopulatePhysmap or MemoryOp.DecreaseReservation =>
                ChangeReservation(machine, caller, operation == MemoryOp.PopulatePhysmap, start, argument, buffer0),
            MemoryOp.AddToPhysmap => AddToPhysmap(machine, caller, argument),
            MemoryOp.RemoveFromPhysmap => RemoveFromPhysmap(machine, caller, argument),
            MemoryOp.SetMemoryMap => SetMemoryMap(machine, caller, argument, buffer0),
            MemoryOp.SharingOp => MemorySharingOperations.Operate(machine, caller, argument),
            MemoryOp.AccessOp => Access(machine, caller, argument, buffer0, buffer1),
            MemoryOp.MaximumGpfn => Ask(machine, caller, argument, static domain => (long)domain.Physmap.MaxMappedGfn),
            MemoryOp.CurrentReservation => Ask(machine, caller, argument, static domain => domain.Ram.TotalPages),
            MemoryOp.MaximumReservation => Ask(machine, caller, argument, static domain => domain.Ram.MaxPages),
            MemoryOp.MaximumRamPage => (int)Math.Min(machine.Memory.Bytes / Gfn.PageSize, int.MaxValue),
            _ => Negated(Errno.ENOSYS),
        };
    }

    private static int ChangeReservation(Machine machine, ToolstackCaller caller, bool populate, uint start, Span<byte> bytes, Span<byte> list)
    {
        if (!MemoryMarshal.TryRead<MemoryReservation>(bytes, out var reservation))
        {
            return (int)start;
        }

        // Like Xen, this tells how many extents were done, not what stopped it, once the arguments can be read.
        if (reservation.NrExtents > int.MaxValue || start >= reservation.NrExtents)
        {
            return (int)start;
        }

        if (Find(machine, caller, reservation.Domid, out var domain) is var refused and not Errno.None)
        {
            return Negated(refused);
        }

        var gfns = MemoryMarshal.Cast<byte, ulong>(list);
        if (reservation.ExtentOrder > DomainPolicies.MaxOrder(DomainRoles.Control) || (ulong)gfns.Length < reservation.NrExtents)
        {
            return (int)start;
        }

        var pages = 1UL << (int)reservation.ExtentOrder;
        for (var extent = (int)start; extent < (int)reservation.NrExtents; extent++)
        {
            for (ulong page = 0; page < pages; page++)
            {
                var gfn = gfns[extent] + page;
                var done = populate
                    ? domain!.Ram.TryPopulate(domain.Physmap, gfn)
                    : domain!.Ram.TryDepopulate(domain.Physmap, gfn);
                if (!done)
                {
                    return extent;
                }
            }
        }

        return (int)reservation.NrExtents;
    }

    private static int AddToPhysmap(Machine machine, ToolstackCaller caller, Span<byte> bytes)
    {
        if (!MemoryMarshal.TryRead<AddToPhysmap>(bytes, out var argument))
        {
            return Negated(Errno.EFAULT);
        }

        if (Find(machine, caller, argument.Domid, out var domain) is var refused and not Errno.None)
        {
            return Negated(refused);
        }

        return argument.Space switch
        {
            PhysMapSpace.SharedInfo => argument.Index == 0 ? Negated(domain!.MapSharedInfo(argument.Gpfn)) : Negated(Errno.EINVAL),
            PhysMapSpace.Gmfn => Negated(Move(domain!, argument.Index, argument.Gpfn)),
            _ => Negated(Errno.ENOSYS),
        };
    }

    private static Errno Move(Domain domain, ulong from, ulong to)
    {
        domain.Pages.Find(from, write: true);
        return domain.Ram.Move(domain.Physmap, from, to);
    }

    private static int RemoveFromPhysmap(Machine machine, ToolstackCaller caller, Span<byte> bytes)
    {
        if (!MemoryMarshal.TryRead<RemoveFromPhysmap>(bytes, out var argument))
        {
            return Negated(Errno.EFAULT);
        }

        if (Find(machine, caller, argument.Domid, out var domain) is var refused and not Errno.None)
        {
            return Negated(refused);
        }

        return domain!.Ram.TryDepopulate(domain.Physmap, argument.Gpfn) ? 0 : Negated(Errno.ENOENT);
    }

    private static int SetMemoryMap(Machine machine, ToolstackCaller caller, Span<byte> bytes, Span<byte> entries)
    {
        if (!MemoryMarshal.TryRead<ForeignMemoryMap>(bytes, out var argument))
        {
            return Negated(Errno.EFAULT);
        }

        if (argument.Map.NrEntries > E820Entry.MaxEntries)
        {
            return Negated(Errno.EINVAL);
        }

        if (Find(machine, caller, argument.Domid, out var domain) is var refused and not Errno.None)
        {
            return Negated(refused);
        }

        var map = MemoryMarshal.Cast<byte, E820Entry>(entries);
        if ((uint)map.Length < argument.Map.NrEntries)
        {
            return Negated(Errno.EFAULT);
        }

        domain!.Platform.SetMemoryMap(map[..(int)argument.Map.NrEntries]);
        return 0;
    }

    private static int Access(Machine machine, ToolstackCaller caller, Span<byte> bytes, Span<byte> buffer0, Span<byte> buffer1)
    {
        if (bytes.Length < Marshal.SizeOf<MemAccessOp>())
        {
            return Negated(Errno.EFAULT);
        }

        ref var argument = ref MemoryMarshal.AsRef<MemAccessOp>(bytes);
        if (CallerRights.FindLiveOther(machine, caller, argument.Domid, CallRight.DeviceModel, out var domain) is var refused and not Errno.None)
        {
            return Negated(refused);
        }

        // Xen tells this to those without rights, too.
        if (!domain!.Personality.HasMemAccess)
        {
            return Negated(Errno.EINVAL);
        }

        if (domain.MonitorRing is null)
        {
            return Negated(Errno.ENODEV);
        }

        return argument.Op switch
        {
            MemAccessOperation.SetAccess => Negated(SetAccess(domain, argument)),
            MemAccessOperation.SetAccessMulti => Negated(SetAccessMulti(domain, argument, buffer0, buffer1)),
            MemAccessOperation.GetAccess => Negated(GetAccess(domain, ref argument)),
            _ => Negated(Errno.ENOSYS),
        };
    }

    private static Errno SetAccess(Domain domain, in MemAccessOp argument)
    {
        if (argument.Pfn == MemAccessOperation.DefaultPfn)
        {
            return domain.Physmap.SetDefaultAccess((MemoryAccess)argument.Access);
        }

        var last = unchecked(argument.Pfn + argument.Nr - 1);
        if (last < argument.Pfn || last > domain.Physmap.MaxMappedGfn)
        {
            return Errno.EINVAL;
        }

        domain.Pages.Populate(argument.Pfn, argument.Nr);
        return domain.Physmap.SetAccess(argument.Pfn, argument.Nr, (MemoryAccess)argument.Access);
    }

    private static Errno SetAccessMulti(Domain domain, in MemAccessOp argument, Span<byte> pfns, Span<byte> accesses)
    {
        var gfns = MemoryMarshal.Cast<byte, ulong>(pfns);
        if ((uint)gfns.Length < argument.Nr || (uint)accesses.Length < argument.Nr)
        {
            return Errno.EFAULT;
        }

        domain.Pages.Populate(gfns[..(int)argument.Nr]);
        return domain.Physmap.SetAccess(gfns[..(int)argument.Nr], accesses[..(int)argument.Nr]);
    }

    private static Errno GetAccess(Domain domain, ref MemAccessOp argument)
    {
        if (argument.Pfn == MemAccessOperation.DefaultPfn)
        {
            argument.Access = (byte)domain.Physmap.DefaultAccess;
            return Errno.None;
        }

        if (argument.Pfn > domain.Physmap.MaxMappedGfn)
        {
            return Errno.EINVAL;
        }

        var result = domain.Physmap.GetAccess(argument.Pfn, out var access);
        argument.Access = (byte)access;
        return result;
    }

    private static int Ask(Machine machine, ToolstackCaller caller, Span<byte> bytes, Func<Domain, long> question)
    {
        if (!MemoryMarshal.TryRead<MemoryDomain>(bytes, out var argument))
        {
            return Negated(Errno.EFAULT);
        }

        return Find(machine, caller, argument.Domid, out var domain) is var refused and not Errno.None
            ? Negated(refused)
            : (int)Math.Min(question(domain!), int.MaxValue);
    }

    private static Errno Find(Machine machine, ToolstackCaller caller, ushort id, out Domain? domain) =>
        CallerRights.Find(machine, caller, id, CallRight.Target, out domain);

    private static int Negated(Errno error) => LocalToolstack.Negated(error);
}
