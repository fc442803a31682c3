using System.Runtime.Intrinsics.X86;
using System.Text;

namespace Introspect.Hypervisor.Xen;

/// <summary>What this machine is: whether Xen runs below it, whether it is the control domain, whose processors it has.</summary>
internal static class XenHost
{
    private const string ControlDomain = "control_d";

    /// <summary>Says whether this is Xen's control domain, as far as it can be told without asking Xen.</summary>
    /// <param name="root">Where the file system begins.</param>
    public static bool IsControlDomain(string root = "/") => WhyNot(root) is null;

    /// <summary>Why real Xen cannot be driven from here, in one line; null where it can.</summary>
    /// <param name="root">Where the file system begins.</param>
    public static string? WhyNot(string root = "/")
    {
        var type = ReadOrNull(Path.Combine(root, "sys/hypervisor/type"));
        var capabilities = ReadOrNull(Path.Combine(root, "proc/xen/capabilities"));
        var hasDevice = Exists(root, "dev/xen/privcmd") || Exists(root, "proc/xen/privcmd");
        if (!hasDevice)
        {
            return type == "xen"
                ? "not running on Xen as dom0: there is no /dev/xen/privcmd; load the modules xen-privcmd and xen-evtchn (dom0), or run this in dom0"
                : "not running on Xen as dom0: there is no /dev/xen/privcmd; boot this system as Xen's dom0, or give --connect, --kernel or --demo";
        }

        if (capabilities is not null && !capabilities.Contains(ControlDomain, StringComparison.Ordinal))
        {
            return "not running on Xen as dom0: this is a guest of Xen's (/proc/xen/capabilities has no control_d); run this in dom0";
        }

        return Exists(root, "dev/xen/evtchn") || Exists(root, "proc/xen/evtchn")
            ? null
            : "not running on Xen as dom0: there is no /dev/xen/evtchn; load the module xen-evtchn";
    }

    /// <summary>Whose virtualisation the processors have.</summary>
    public static CpuVendor Vendor()
    {
        if (!X86Base.IsSupported)
        {
            throw new HypervisorException(Errno.EOPNOTSUPP, "this is no x86 processor: Xen's monitoring of it is not known here");
        }

        var (_, ebx, ecx, edx) = X86Base.CpuId(0, 0);
        Span<int> words = [ebx, edx, ecx];
        var name = Encoding.ASCII.GetString(System.Runtime.InteropServices.MemoryMarshal.AsBytes(words));
        return name is "AuthenticAMD" or "HygonGenuine" ? CpuVendor.Svm : CpuVendor.Vmx;
    }

    private static bool Exists(string root, string path) => File.Exists(Path.Combine(root, path));

    private static string? ReadOrNull(string path)
    {
        try
        {
            return File.ReadAllText(path).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
