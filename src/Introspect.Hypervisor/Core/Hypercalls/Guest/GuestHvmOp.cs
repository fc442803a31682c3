using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary><c>__HYPERVISOR_hvm_op</c> from the guest itself.</summary>
internal static class GuestHvmOp
{
    private const byte FirstUpcallVector = 0x10;

    /// <summary>Does the call: A1 is the command, A2 its argument.</summary>
    public static HypercallResult Do(in HypercallArguments call, IGuestHypercallContext context)
    {
        var argument = call.A2;
        switch (call.A1)
        {
            case HvmOp.SetParam:
                return SetParam(in call, context);

            case HvmOp.GetParam:
                return GetParam(in call, context);

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
                return GetMemType(in call, context);

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
                return AltP2m(in call, context);

            default:
                return -(long)Errno.ENOSYS;
        }
    }

    /// <summary>Checks that both parameter calls make: 0, or a negated errno.</summary>
    private static long CheckParam(in HvmParamArgument parameter, IGuestHypercallContext context) =>
        parameter.Index >= HvmParam.Count ? -(long)Errno.EINVAL : -(long)context.Check(parameter.Domid, CallRight.Target);

    private static HypercallResult SetParam(in HypercallArguments call, IGuestHypercallContext context)
    {
        if (!context.TryRead(call.A2, out HvmParamArgument parameter))
        {
            return -(long)Errno.EFAULT;
        }

        var error = CheckParam(parameter, context);
        if (error != 0)
        {
            return error;
        }

        if (!context.IsSelf(parameter.Domid))
        {
            return GuestControl.HvmOp(in call, context, parameter);
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
            context.Shared.Latch(call.Is64);
        }

        return error;
    }

    private static HypercallResult GetParam(in HypercallArguments call, IGuestHypercallContext context)
    {
        if (!context.TryRead(call.A2, out HvmParamArgument parameter))
        {
            return -(long)Errno.EFAULT;
        }

        var error = CheckParam(parameter, context);
        if (error != 0)
        {
            return error;
        }

        if (!context.IsSelf(parameter.Domid))
        {
            return GuestControl.HvmOp(in call, context, parameter);
        }

        error = HvmParamRights.CheckGuestRead(parameter.Index);
        if (error != 0)
        {
            return error;
        }

        parameter.Value = HvmParamRights.Load(
            parameter.Index, context.ReadHvmParam(HvmParamRights.StoredIn(parameter.Index)));
        return context.TryWrite(call.A2, parameter) ? 0 : -(long)Errno.EFAULT;
    }

    private static HypercallResult GetMemType(in HypercallArguments call, IGuestHypercallContext context)
    {
        if (!context.TryRead(call.A2, out HvmGetMemType question))
        {
            return -(long)Errno.EFAULT;
        }

        if (context.Check(question.Domid, CallRight.Target) is var refused and not Errno.None)
        {
            return -(long)refused;
        }

        if (!context.IsSelf(question.Domid))
        {
            return GuestControl.HvmOp(in call, context, question);
        }

        question.MemType = context.MemoryType(question.Pfn);
        return context.TryWrite(call.A2, question) ? 0 : -(long)Errno.EFAULT;
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

    private static HypercallResult AltP2m(in HypercallArguments call, IGuestHypercallContext context)
    {
        // VMX only, as the hardware that Xen uses for it.
        if (context.Vendor != CpuVendor.Vmx)
        {
            return -(long)Errno.EOPNOTSUPP;
        }

        if (!context.TryRead(call.A2, out HvmAltP2mOp operation))
        {
            return -(long)Errno.EFAULT;
        }

        var error = AltP2mOperations.CheckHeader(in operation);
        if (error != Errno.None)
        {
            return -(long)error;
        }

        if (!context.TryReadAltP2m(operation.Domain == SpecialDomain.Self ? context.DomainId : operation.Domain, out var active, out var mode))
        {
            return -(long)Errno.ESRCH;
        }

        error = AltP2mOperations.CheckRights(
            operation.Command,
            active,
            mode,
            context.Check(operation.Domain, CallRight.DeviceModel) == Errno.None,
            context.Check(operation.Domain, CallRight.Target) == Errno.None);
        if (error != Errno.None)
        {
            return -(long)error;
        }

        if (!context.IsSelf(operation.Domain))
        {
            // The lists of set_mem_access_multi are for a domain's own views, and for those outside of all guests.
            return operation.Command == AltP2mCommand.SetMemAccessMulti ? -(long)Errno.EOPNOTSUPP : GuestControl.HvmOp(in call, context, operation);
        }

        var isMulti = operation.Command == AltP2mCommand.SetMemAccessMulti;
        if (isMulti && !call.Is64)
        {
            // The lists' addresses are 32 bits each there, one behind the other.
            ref var lists = ref operation.SetMemAccessMulti;
            (lists.PfnList, lists.AccessList) = ((uint)lists.PfnList, lists.PfnList >> 32);
        }

        error = isMulti ? context.SetViewAccess(ref operation) : context.AltP2m(ref operation);
        var written = isMulti
            ? error != Errno.ERESTART || context.TryWrite(call.A2 + AltP2mCommand.OpaqueOffset, operation.SetMemAccessMulti.Opaque)
            : !AltP2mOperations.TellsBack(operation.Command, error) || context.TryWrite(call.A2, operation);
        return !written ? -(long)Errno.EFAULT
            : error == Errno.ERESTART ? HypercallResult.ContinueWith(in call)
            : -(long)error;
    }
}
