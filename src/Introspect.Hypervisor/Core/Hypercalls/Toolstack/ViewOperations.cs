using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.Hypercalls.Toolstack;

/// <summary><c>HVMOP_altp2m</c> from a toolstack, with Xen's checks in Xen's order.</summary>
internal static class ViewOperations
{
    /// <summary>Does it. The lists of <c>set_mem_access_multi</c> are in the buffers.</summary>
    public static int Operate(Machine machine, ToolstackCaller caller, Span<byte> bytes, Span<byte> gfns, Span<byte> accesses)
    {
        if (bytes.Length < Marshal.SizeOf<HvmAltP2mOp>())
        {
            return LocalToolstack.Negated(Errno.EFAULT);
        }

        // What does not succeed changes nothing of the caller's, but for what Xen writes.
        ref var theirs = ref MemoryMarshal.AsRef<HvmAltP2mOp>(bytes);
        var operation = theirs;
        var domain = machine.Find(operation.Domain);
        var result = Check(domain, caller, in operation);
        if (result == Errno.None)
        {
            result = operation.Command == AltP2mCommand.SetMemAccessMulti
                ? SetAccessMulti(domain!, in operation, MemoryMarshal.Cast<byte, ulong>(gfns), accesses)
                : AltP2mOperations.Do(domain!, ref operation, current: null);
            if (AltP2mOperations.TellsBack(operation.Command, result))
            {
                theirs = operation;
            }
        }

        return LocalToolstack.Negated(result);
    }

    private static Errno Check(Domain? domain, ToolstackCaller caller, in HvmAltP2mOp operation)
    {
        // On Xen a machine has altp2m or has not, and says so before it looks at anything; here a domain has, which is
        // told to those alone who may do something to it.
        if (domain is { Personality.HasAltP2m: false } && CallerRights.Check(caller, domain.Id.Value, CallRight.Target) == Errno.None)
        {
            return Errno.EOPNOTSUPP;
        }

        if (AltP2mOperations.CheckHeader(in operation) is var refused and not Errno.None)
        {
            return refused;
        }

        if (domain is null)
        {
            // A toolstack's own domain is none that could have views.
            return operation.Domain == SpecialDomain.Self ? Errno.EOPNOTSUPP : Errno.ESRCH;
        }

        return AltP2mOperations.CheckRights(
            operation.Command,
            domain.AltP2m.IsActive,
            (AltP2mMode)domain.GetParam(HvmParam.AltP2m),
            CallerRights.Check(caller, domain.Id.Value, CallRight.DeviceModel) == Errno.None,
            CallerRights.Check(caller, domain.Id.Value, CallRight.Target) == Errno.None);
    }

    // A list that ends early is EFAULT at its end; what came before is done.
    private static Errno SetAccessMulti(Domain domain, in HvmAltP2mOp operation, ReadOnlySpan<ulong> gfns, ReadOnlySpan<byte> accesses)
    {
        if (AltP2mOperations.CheckMulti(in operation) is var refused and not Errno.None)
        {
            return refused;
        }

        var argument = operation.SetMemAccessMulti;
        var there = (int)Math.Min(argument.Nr, (uint)Math.Min(gfns.Length, accesses.Length));
        var start = (int)Math.Min(argument.Opaque, (uint)there);
        var result = domain.AltP2m.SetAccess(argument.View, gfns[start..there], accesses[start..there]);
        return result == Errno.None && (uint)there < argument.Nr ? Errno.EFAULT : result;
    }
}
