using System.Text;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Policies;

namespace Introspect.Hypervisor.Core.Hypercalls.Guest;

/// <summary><c>__HYPERVISOR_xen_version</c>: who the hypervisor is and what it offers.</summary>
internal static class GuestXenVersion
{
    /// <summary>What follows the numbers of the version.</summary>
    public const string ExtraVersionText = ".0-introspect";

    /// <summary>Kinds of domains that there can be.</summary>
    public const string CapabilitiesText = "hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ";

    private const int CompilerBytes = 64;
    private const int CompileByBytes = 16;
    private const int CompileDomainBytes = 32;
    private const int CompileDateBytes = 32;
    private const int NotDirectMapped = 16;

    /// <summary>What an unprivileged caller gets in place of a text.</summary>
    private const string Denied = "<denied>";

    // Where Xen's own half of a PV address space would begin.
    internal const ulong VirtStart64 = 0xFFFF_8000_0000_0000;
    private const uint VirtStart32 = 0xF580_0000;

    /// <summary>Does the call.</summary>
    public static long Do(in HypercallArguments call, IGuestHypercallContext context)
    {
        var target = call.A2;
        switch ((uint)call.A1)
        {
            case XenVersionOp.Version:
                return (XenInterface.CoreMajor << 16) | XenInterface.CoreMinor;

            case XenVersionOp.ExtraVersion:
                return Text(context, target, ExtraVersionText, XenVersionOp.ExtraVersionBytes);

            case XenVersionOp.CompileInfo:
                return CompileInfo(context, target);

            case XenVersionOp.Capabilities:
                return Text(
                    context, target, CapabilitiesText, XenVersionOp.CapabilitiesBytes);

            case XenVersionOp.Changeset:
                return Text(context, target, "", XenVersionOp.ChangesetBytes);

            case XenVersionOp.PlatformParameters:
                var written = call.Is64 ? context.TryWrite(target, VirtStart64) : context.TryWrite(target, VirtStart32);
                return written ? 0 : -(long)Errno.EFAULT;

            case XenVersionOp.GetFeatures:
                return Features(context, target);

            case XenVersionOp.PageSize:
                return target != 0 ? -(long)Errno.EINVAL : Gfn.PageSize;

            case XenVersionOp.GuestHandle:
                return context.CopyToGuest(target, context.DomainHandle) ? 0 : -(long)Errno.EFAULT;

            case XenVersionOp.CommandLine:
                return DomainPolicies.MayManage(context.Roles)
                    ? Text(context, target, "", XenVersionOp.CommandLineBytes)
                    : Text(context, target, Denied, Denied.Length + 1);

            case XenVersionOp.BuildId:
                return DomainPolicies.MayManage(context.Roles) ? -(long)Errno.ENODATA : -(long)Errno.EPERM;

            default:
                return -(long)Errno.ENOSYS;
        }
    }

    private static long Text(IGuestHypercallContext context, ulong target, string text, int size)
    {
        Span<byte> buffer = stackalloc byte[XenVersionOp.CapabilitiesBytes];
        buffer = buffer[..size];
        buffer.Clear();
        Encoding.ASCII.GetBytes(text, buffer[..^1]);
        return context.CopyToGuest(target, buffer) ? 0 : -(long)Errno.EFAULT;
    }

    private static long CompileInfo(IGuestHypercallContext context, ulong target)
    {
        Span<byte> buffer = stackalloc byte[CompilerBytes + CompileByBytes + CompileDomainBytes + CompileDateBytes];
        buffer.Clear();
        Encoding.ASCII.GetBytes(".NET", buffer);
        Encoding.ASCII.GetBytes("introspect", buffer[CompilerBytes..]);
        return context.CopyToGuest(target, buffer) ? 0 : -(long)Errno.EFAULT;
    }

    private static long Features(IGuestHypercallContext context, ulong target)
    {
        if (!context.TryRead(target, out XenFeatureInfo info))
        {
            return -(long)Errno.EFAULT;
        }

        if (info.SubmapIndex != 0)
        {
            return -(long)Errno.EINVAL;
        }

        info.Submap = (1u << XenFeature.MemoryOpVnodeSupported) | (1u << XenFeature.WritablePageTables)
            | (1u << XenFeature.AutoTranslatedPhysmap) | (1u << XenFeature.HvmSafePvclock)
            | (1u << XenFeature.HvmCallbackVector) | (1u << NotDirectMapped)
            | (DomainPolicies.IsToldToBeDomain0(context.Roles) ? 1u << XenFeature.Dom0 : 0);
        return context.TryWrite(target, info) ? 0 : -(long)Errno.EFAULT;
    }
}
