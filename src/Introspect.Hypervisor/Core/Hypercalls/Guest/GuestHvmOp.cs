using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary><c>__HYPERVISOR_hvm_op</c> from the guest itself.</summary>
internal static class GuestHvmOp
{
    private const uint AltP2mInterfaceVersion = 1;
    private const byte FirstUpcallVector = 0x10;

    /// <summary>Does the call: A1 is the command, A2 its argument.</summary>
    public static long Do(in HypercallArguments call, IGuestHypercallContext context)
    {
        var argument = call.A2;
        switch (call.A1)
        {
            case HvmOp.SetParam:
                return SetParam(context, argument, call.Is64);

            case HvmOp.GetParam:
                return GetParam(context, argument);

            case HvmOp.FlushTlbs:
                if (argument != 0)
                {
                    return -(long)Errno.EINVAL;
                }

                context.FlushTlbs();
                return 0;

            case HvmOp.PagetableDying:
                // A hint for shadow paging, which there is none of.
                return -(long)Errno.EINVAL;

            case HvmOp.GetTime:
                return context.TryWrite(argument, context.SystemTime) ? 0 : -(long)Errno.EFAULT;

            case HvmOp.GetMemType:
                return GetMemType(context, argument);

            case HvmOp.SetEvtchnUpcallVector:
                return SetUpcallVector(context, argument);

            case HvmOp.GuestRequestVmEvent:
                if (argument != 0)
                {
                    return -(long)Errno.EINVAL;
                }

                context.RaiseGuestRequest();
                return 0;

            case HvmOp.AltP2m:
                return AltP2m(context, argument);

            default:
                return -(long)Errno.ENOSYS;
        }
    }

    private static bool IsSelf(ushort domain, IGuestHypercallContext context) =>
        domain == SpecialDomain.Self || domain == context.DomainId;

    /// <summary>Checks that both parameter calls make: 0, or a negated errno.</summary>
    private static long CheckParam(in HvmParamArgument parameter, IGuestHypercallContext context) =>
        parameter.Index >= HvmParam.Count ? -(long)Errno.EINVAL
            : IsSelf(parameter.Domid, context) ? 0
            : context.FindEvents(parameter.Domid) is null ? -(long)Errno.ESRCH
            : -(long)Errno.EPERM;

    private static long SetParam(IGuestHypercallContext context, ulong argument, bool is64)
    {
        if (!context.TryRead(argument, out HvmParamArgument parameter))
        {
            return -(long)Errno.EFAULT;
        }

        var error = CheckParam(parameter, context);
        if (error != 0)
        {
            return error;
        }

        error = HvmParamRights.CheckGuestWrite(parameter.Index, parameter.Value);
        if (error != 0)
        {
            return error;
        }

        var (index, value) = HvmParamRights.Store(parameter.Index, parameter.Value);
        error = context.WriteHvmParam(index, value);
        if (error == 0 && index == HvmParam.CallbackIrq)
        {
            context.Shared.Latch(is64);
        }

        return error;
    }

    private static long GetParam(IGuestHypercallContext context, ulong argument)
    {
        if (!context.TryRead(argument, out HvmParamArgument parameter))
        {
            return -(long)Errno.EFAULT;
        }

        var error = CheckParam(parameter, context);
        if (error != 0)
        {
            return error;
        }

        error = HvmParamRights.CheckGuestRead(parameter.Index);
        if (error != 0)
        {
            return error;
        }

        parameter.Value = HvmParamRights.Load(
            parameter.Index, context.ReadHvmParam(HvmParamRights.StoredIn(parameter.Index)));
        return context.TryWrite(argument, parameter) ? 0 : -(long)Errno.EFAULT;
    }

    private static long GetMemType(IGuestHypercallContext context, ulong argument)
    {
        if (!context.TryRead(argument, out HvmGetMemType question))
        {
            return -(long)Errno.EFAULT;
        }

        if (!IsSelf(question.Domid, context))
        {
            return context.FindEvents(question.Domid) is null ? -(long)Errno.ESRCH : -(long)Errno.EPERM;
        }

        question.MemType = context.MemoryType(question.Pfn);
        return context.TryWrite(argument, question) ? 0 : -(long)Errno.EFAULT;
    }

    private static long SetUpcallVector(IGuestHypercallContext context, ulong argument)
    {
        if (!context.TryRead(argument, out HvmEvtchnUpcallVector choice))
        {
            return -(long)Errno.EFAULT;
        }

        if (choice.Vector < FirstUpcallVector)
        {
            return -(long)Errno.EINVAL;
        }

        if (choice.Vcpu >= context.VcpuCount)
        {
            return -(long)Errno.ENOENT;
        }

        context.SetUpcallVector(choice.Vcpu, choice.Vector);
        return 0;
    }

    private static long AltP2m(IGuestHypercallContext context, ulong argument)
    {
        // VMX only, as the hardware that Xen uses for it.
        if (context.Vendor != CpuVendor.Vmx)
        {
            return -(long)Errno.EOPNOTSUPP;
        }

        if (!context.TryRead(argument, out HvmAltP2mOp operation))
        {
            return -(long)Errno.EFAULT;
        }

        // Padding behind the domain, 6 bytes, must be clear.
        var header = MemoryMarshal.AsBytes(new ReadOnlySpan<HvmAltP2mOp>(in operation))[10..16];
        if (header.ContainsAnyExcept((byte)0) || operation.Version != AltP2mInterfaceVersion)
        {
            return -(long)Errno.EINVAL;
        }

        if (operation.Command is 0 or > AltP2mCommand.SetVisibility)
        {
            return -(long)Errno.EOPNOTSUPP;
        }

        if (!IsSelf(operation.Domain, context))
        {
            return context.FindEvents(operation.Domain) is null ? -(long)Errno.ESRCH : -(long)Errno.EPERM;
        }

        var isDomainState = operation.Command is AltP2mCommand.GetDomainState or AltP2mCommand.SetDomainState;
        if (!isDomainState && !context.AltP2mActive)
        {
            return -(long)Errno.EOPNOTSUPP;
        }

        switch ((AltP2mMode)context.ReadHvmParam(HvmParam.AltP2m))
        {
            case AltP2mMode.Disabled:
                return -(long)Errno.EINVAL;
            case AltP2mMode.Mixed:
                break;

            // Limited: the guest may only ask to be told of violations; external: nothing.
            case AltP2mMode.Limited when operation.Command == AltP2mCommand.VcpuEnableNotify:
                break;
            default:
                return -(long)Errno.EPERM;
        }

        var result = context.AltP2m(ref operation);
        return result < 0 || context.TryWrite(argument, operation) ? result : -(long)Errno.EFAULT;
    }
}
