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

        ref var operation = ref MemoryMarshal.AsRef<HvmAltP2mOp>(bytes);
        if (operation.Version != AltP2mCommand.InterfaceVersion || bytes[10..16].ContainsAnyExcept((byte)0))
        {
            return LocalToolstack.Negated(Errno.EINVAL);
        }

        if (operation.Command is 0 or > AltP2mCommand.SetVisibility)
        {
            return LocalToolstack.Negated(Errno.EOPNOTSUPP);
        }

        if (machine.Find(operation.Domain) is not { } domain)
        {
            return LocalToolstack.Negated(Errno.ESRCH);
        }

        var isAboutState = operation.Command is AltP2mCommand.GetDomainState or AltP2mCommand.SetDomainState;
        if (!domain.Personality.HasAltP2m || (!isAboutState && !domain.AltP2m.IsActive))
        {
            return LocalToolstack.Negated(Errno.EOPNOTSUPP);
        }

        if (domain.GetParam(HvmParam.AltP2m) == (ulong)AltP2mMode.Disabled)
        {
            return LocalToolstack.Negated(Errno.EINVAL);
        }

        if (!caller.IsControl)
        {
            return LocalToolstack.Negated(Errno.EPERM);
        }

        var count = 0;
        if (operation.Command == AltP2mCommand.SetMemAccessMulti)
        {
            count = (int)Math.Min(operation.SetMemAccessMulti.Nr, int.MaxValue);
            if (gfns.Length / sizeof(ulong) < count || accesses.Length < count)
            {
                return LocalToolstack.Negated(Errno.EFAULT);
            }
        }

        return LocalToolstack.Negated(AltP2mOperations.Do(
            domain, ref operation, bySelf: false, MemoryMarshal.Cast<byte, ulong>(gfns)[..count], accesses[..count]));
    }
}
