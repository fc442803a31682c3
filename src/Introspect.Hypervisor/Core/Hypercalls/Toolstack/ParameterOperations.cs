using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Hypercalls.Guest;

namespace Introspect.Hypervisor.Core.Hypercalls.Toolstack;

/// <summary>The hvm_op operations that a toolstack asks for.</summary>
internal static class ParameterOperations
{
    private const ulong MaxTimerMode = 3;
    private const ulong MaxIoreqServerPages = 64;

    /// <summary><c>HVMOP_set_param</c>.</summary>
    public static int Set(Machine machine, ToolstackCaller caller, Span<byte> bytes)
    {
        if (!MemoryMarshal.TryRead<HvmParamArgument>(bytes, out var argument))
        {
            return LocalToolstack.Negated(Errno.EFAULT);
        }

        var refused = Check(machine, caller, argument, out var domain);
        if (refused == Errno.None)
        {
            refused = Store(domain!, argument.Index, argument.Value);
        }

        return LocalToolstack.Negated(refused);
    }

    /// <summary><c>HVMOP_get_param</c>.</summary>
    public static int Get(Machine machine, ToolstackCaller caller, Span<byte> bytes)
    {
        if (bytes.Length < Marshal.SizeOf<HvmParamArgument>())
        {
            return LocalToolstack.Negated(Errno.EFAULT);
        }

        ref var argument = ref MemoryMarshal.AsRef<HvmParamArgument>(bytes);
        var refused = Check(machine, caller, argument, out var domain);
        if (refused == Errno.None)
        {
            argument.Value = HvmParamRights.Load(argument.Index, domain!.GetParam(argument.Index));
        }

        return LocalToolstack.Negated(refused);
    }

    /// <summary><c>HVMOP_get_mem_type</c>.</summary>
    public static int GetMemType(Machine machine, ToolstackCaller caller, Span<byte> bytes)
    {
        if (bytes.Length < Marshal.SizeOf<HvmGetMemType>())
        {
            return LocalToolstack.Negated(Errno.EFAULT);
        }

        ref var argument = ref MemoryMarshal.AsRef<HvmGetMemType>(bytes);
        if (machine.Find(argument.Domid) is not { } domain)
        {
            return LocalToolstack.Negated(Errno.ESRCH);
        }

        if (!caller.IsControl)
        {
            return LocalToolstack.Negated(Errno.EPERM);
        }

        argument.MemType = domain.Pages.Find(argument.Pfn, write: false).MemType;
        return 0;
    }

    private static Errno Check(Machine machine, ToolstackCaller caller, in HvmParamArgument argument, out Domain? domain)
    {
        domain = null;
        if (argument.Index >= HvmParam.Count)
        {
            return Errno.EINVAL;
        }

        domain = machine.Find(argument.Domid);
        if (domain is null)
        {
            return Errno.ESRCH;
        }

        return !caller.IsControl ? Errno.EPERM : HvmParamRights.IsDeprecated(argument.Index) ? Errno.EINVAL : Errno.None;
    }

    /// <summary>Stores a parameter whose caller may.</summary>
    public static Errno Store(Domain domain, uint index, ulong value)
    {
        var old = domain.GetParam(index);
        switch (index)
        {
            // Those that may change but once. Of viridian's, where the same is refused as well, its room judges.
            case HvmParam.IoreqPfn or HvmParam.BufIoreqPfn or HvmParam.IoreqServerPfn
                or HvmParam.NrIoreqServerPages or HvmParam.AltP2m or HvmParam.McaCap when old != 0 && value != old:
                return Errno.EEXIST;

            case HvmParam.TimerMode when value > MaxTimerMode:
            case HvmParam.AltP2m when value > (ulong)AltP2mMode.Limited:
            case HvmParam.TripleFaultReason when value > (ulong)ShutdownReason.SoftReset:
            case HvmParam.NrIoreqServerPages when value is 0 or > MaxIoreqServerPages:
            case HvmParam.AcpiSState when value is not (0 or 3):
            case HvmParam.AcpiIoportsLocation when value > 1:
            case HvmParam.X87FipWidth when value is not (0 or 4 or 8):
            case HvmParam.Vm86Tss when value > uint.MaxValue:
            case HvmParam.Vm86TssSized when HvmParamRights.CheckGuestWrite(index, value) != 0:
                return Errno.EINVAL;
        }

        var (storedAt, stored) = HvmParamRights.Store(index, value);
        var before = domain.GetParam(storedAt);
        domain.SetParam(storedAt, stored);
        if (domain.Platform.HvmParamSet(storedAt, stored) is var refused and not Errno.None)
        {
            domain.SetParam(storedAt, before);
            return refused;
        }

        return Errno.None;
    }
}
