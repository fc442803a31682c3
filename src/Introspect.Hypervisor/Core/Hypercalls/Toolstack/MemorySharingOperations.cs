using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.Hypercalls.Toolstack;

/// <summary><c>XENMEM_sharing_op</c>, as far as forks go, with Xen's checks in Xen's order. Sharing pages by hand is not there.</summary>
internal static class MemorySharingOperations
{
    /// <summary>Does one operation.</summary>
    public static int Operate(Machine machine, ToolstackCaller caller, Span<byte> bytes)
    {
        if (bytes.Length < Marshal.SizeOf<MemSharingOp>())
        {
            return LocalToolstack.Negated(Errno.EFAULT);
        }

        ref var argument = ref MemoryMarshal.AsRef<MemSharingOp>(bytes);
        return LocalToolstack.Negated(Operate(machine, caller, ref argument));
    }

    private static Errno Operate(Machine machine, ToolstackCaller caller, ref MemSharingOp argument)
    {
        if (argument.Op == MemSharingOperation.Audit)
        {
            return CallerRights.Check(caller, target: null, CallRight.Control) is var denied and not Errno.None ? denied : Errno.ENOSYS;
        }

        if (CallerRights.FindLiveOther(machine, caller, argument.Domain, CallRight.DeviceModel, out var domain) is var missing and not Errno.None)
        {
            return missing;
        }

        if (argument.Op == MemSharingOperation.CoreForkParent)
        {
            argument.ForkParent = domain!.Parent?.Id.Value ?? SpecialDomain.Invalid;
            return Errno.None;
        }

        if (CheckAble(domain!) is var unable and not Errno.None)
        {
            return unable;
        }

        return argument.Op switch
        {
            MemSharingOperation.Fork => Fork(machine, caller, domain!, in argument),
            MemSharingOperation.ForkReset => Reset(domain!, in argument),
            _ => Errno.ENOSYS,
        };
    }

    private static Errno Fork(Machine machine, ToolstackCaller caller, Domain child, in MemSharingOp argument)
    {
        const ushort Known = MemSharingOp.ForkWithIommuAllowed | MemSharingOp.ForkBlockInterrupts;
        if (argument.ForkPad != 0 || (argument.ForkFlags & ~Known) != 0)
        {
            return Errno.EINVAL;
        }

        if (CallerRights.FindLiveOther(machine, caller, argument.ForkParent, CallRight.DeviceModel, out var parent) is var missing and not Errno.None)
        {
            return missing;
        }

        // That a domain is its own ancestor is not refused by Xen, which then looks for pages without an end.
        if (parent!.MaxVcpus != child.MaxVcpus || IsAncestor(child, parent))
        {
            return Errno.EINVAL;
        }

        if (CheckAble(parent) is var unable and not Errno.None)
        {
            return unable;
        }

        var result = Forking.Fork(child, parent);
        if (result == Errno.None && (argument.ForkFlags & MemSharingOp.ForkBlockInterrupts) != 0)
        {
            child.BlocksInterrupts = true;
        }

        return result;
    }

    private static Errno Reset(Domain child, in MemSharingOp argument)
    {
        const ushort Known = MemSharingOp.ForkResetState | MemSharingOp.ForkResetMemory;
        if (argument.ForkPad != 0 || (argument.ForkFlags & Known) == 0 || (argument.ForkFlags & ~Known) != 0)
        {
            return Errno.EINVAL;
        }

        return Forking.Reset(
            child,
            (argument.ForkFlags & MemSharingOp.ForkResetState) != 0,
            (argument.ForkFlags & MemSharingOp.ForkResetMemory) != 0);
    }

    /// <summary>What <c>mem_sharing_control</c> asks of a domain; there is no IOMMU here that could stand in the way.</summary>
    private static Errno CheckAble(Domain domain) =>
        domain.Personality.Vendor != CpuVendor.Vmx ? Errno.EOPNOTSUPP
        : (domain.Config.Flags & CreateDomainFlags.Hap) == 0 ? Errno.ENODEV
        : Errno.None;

    private static bool IsAncestor(Domain domain, Domain? of)
    {
        for (; of is not null; of = of.Parent)
        {
            if (of == domain)
            {
                return true;
            }
        }

        return false;
    }
}
