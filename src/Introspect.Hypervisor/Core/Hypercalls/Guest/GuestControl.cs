using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary>
/// The calls by which a control domain manages others, as any other domain may try. They go through the toolstack's
/// door with the guest as the caller, so that there is one order of checks for all: version, domain, rights, operation.
/// </summary>
internal static class GuestControl
{
    // What a guest's buffer may hold at most; contexts and lists are far smaller.
    private const uint MaxBuffer = 1 << 20;

    private static readonly int DomainInfoBytes = Marshal.SizeOf<DomctlGetDomainInfo>();

    /// <summary><c>__HYPERVISOR_domctl</c>: A1 is the structure.</summary>
    public static HypercallResult Domctl(in HypercallArguments call, IGuestHypercallContext context)
    {
        if (!context.TryRead(call.A1, out XenDomctl operation))
        {
            return -(long)Errno.EFAULT;
        }

        // What a buffer is for is only looked at for those who may: the others are refused without it.
        var (address, length, isInput) = MayManage(context) ? BufferOf(in operation) : default;
        if (length > MaxBuffer)
        {
            return -(long)Errno.E2BIG;
        }

        var buffer = length == 0 ? [] : new byte[length];
        if (isInput && !context.CopyFromGuest(address, buffer))
        {
            return -(long)Errno.EFAULT;
        }

        var result = context.Toolstack.Domctl(Bytes(ref operation), buffer, default);
        if (result == -(int)Errno.ERESTART)
        {
            return HypercallResult.ContinueWith(in call);
        }

        if (result < 0)
        {
            return result;
        }

        var written = isInput || buffer.Length == 0 || context.CopyToGuest(address, buffer.AsSpan(0, (int)BufferOf(in operation).Length));
        return written && context.TryWrite(call.A1, operation) ? result : -(long)Errno.EFAULT;
    }

    /// <summary><c>__HYPERVISOR_sysctl</c>: A1 is the structure.</summary>
    public static HypercallResult Sysctl(in HypercallArguments call, IGuestHypercallContext context)
    {
        // A program that looks for the interface's version may have put nothing else there.
        if (!context.TryRead(call.A1 + 4, out uint version))
        {
            return -(long)Errno.EFAULT;
        }

        var operation = new XenSysctl { InterfaceVersion = version };
        if (MayManage(context) && !context.TryRead(call.A1, out operation))
        {
            return -(long)Errno.EFAULT;
        }

        var isList = operation.Command == SysctlCommand.GetDomainInfoList;
        var room = isList ? (ulong)operation.GetDomainInfoList.MaxDomains * (ulong)DomainInfoBytes : 0;
        var buffer = room == 0 ? [] : new byte[Math.Min(room, MaxBuffer)];
        var result = context.Toolstack.Sysctl(Bytes(ref operation), buffer);
        if (result == -(int)Errno.ERESTART)
        {
            return HypercallResult.ContinueWith(in call);
        }

        if (result < 0)
        {
            return result;
        }

        var written = !isList || context.CopyToGuest(
            operation.GetDomainInfoList.Buffer, buffer.AsSpan(0, (int)operation.GetDomainInfoList.NumDomains * DomainInfoBytes));
        return written && context.TryWrite(call.A1, operation) ? result : -(long)Errno.EFAULT;
    }

    /// <summary><c>__HYPERVISOR_dm_op</c>: A1 is the domain, A2 how many buffers, A3 the list of them; the first is the operation.</summary>
    public static HypercallResult DmOp(in HypercallArguments call, IGuestHypercallContext context)
    {
        Span<byte> none = [];
        if (!MayManage(context))
        {
            return context.Toolstack.DmOp((ushort)call.A1, none);
        }

        if (!call.Is64)
        {
            return -(long)Errno.EOPNOTSUPP;
        }

        XenDmOp operation = default;
        if (call.A2 == 0 || !context.TryRead(call.A3, out ulong address) || !context.TryRead(call.A3 + 8, out ulong size)
            || !context.CopyFromGuest(address, Bytes(ref operation)[..(int)Math.Min(size, XenDmOp.SizeInBytes)]))
        {
            return -(long)Errno.EFAULT;
        }

        var result = context.Toolstack.DmOp((ushort)call.A1, Bytes(ref operation));
        return result == -(int)Errno.ERESTART ? HypercallResult.ContinueWith(in call)
            : result < 0 || context.CopyToGuest(address, Bytes(ref operation)[..(int)Math.Min(size, XenDmOp.SizeInBytes)]) ? result
            : -(long)Errno.EFAULT;
    }

    /// <summary>A hvm_op with a structure of fixed size, on another domain over which the caller has rights.</summary>
    public static HypercallResult HvmOp<T>(in HypercallArguments call, IGuestHypercallContext context, T argument)
        where T : unmanaged
    {
        var result = context.Toolstack.HvmOp((uint)call.A1, Bytes(ref argument), default, default);
        return result == -(int)Errno.ERESTART ? HypercallResult.ContinueWith(in call)
            : result < 0 || context.TryWrite(call.A2, argument) ? result
            : -(long)Errno.EFAULT;
    }

    /// <summary>A memory_op with a structure of fixed size, on another domain over which the caller has rights.</summary>
    public static HypercallResult MemoryOp<T>(in HypercallArguments call, IGuestHypercallContext context, T argument, Span<byte> buffer0 = default, Span<byte> buffer1 = default)
        where T : unmanaged
    {
        var command = (uint)call.A1 & ((1u << Abi.MemoryOp.ExtentShift) - 1);
        var result = context.Toolstack.MemoryOp(command, Bytes(ref argument), buffer0, buffer1);
        return result == -(int)Errno.ERESTART ? HypercallResult.ContinueWith(in call)
            : result < 0 || command != Abi.MemoryOp.AccessOp || context.TryWrite(call.A2, argument) ? result
            : -(long)Errno.EFAULT;
    }

    private static bool MayManage(IGuestHypercallContext context) =>
        CallerRights.Check(context.Caller, target: null, CallRight.Control) == Errno.None;

    /// <summary>The memory behind the guest handle of an operation, and whether it is read.</summary>
    private static (ulong Address, ulong Length, bool IsInput) BufferOf(in XenDomctl operation) => operation.Command switch
    {
        DomctlCommand.SetHvmContext => (operation.HvmContext.Buffer, operation.HvmContext.Size, true),
        DomctlCommand.GetHvmContext => (operation.HvmContext.Buffer, operation.HvmContext.Buffer == 0 ? 0 : operation.HvmContext.Size, false),
        DomctlCommand.GetHvmContextPartial =>
            (operation.HvmContextPartial.Buffer, operation.HvmContextPartial.Buffer == 0 ? 0 : operation.HvmContextPartial.BufferSize, false),
        _ => default,
    };

    private static Span<byte> Bytes<T>(ref T value)
        where T : unmanaged => MemoryMarshal.AsBytes(new Span<T>(ref value));
}
