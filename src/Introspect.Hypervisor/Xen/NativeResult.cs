using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Xen;

/// <summary>How Xen's libraries tell an error: a negative result, and the number in errno.</summary>
internal static class NativeResult
{
    /// <summary>A result as the toolstack's door has it: 0 or more, or a negated errno. To be called at once.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Of(int result) => result >= 0 ? result : LastError();

    /// <summary>The negated errno of the call just made.</summary>
    public static int LastError()
    {
        var error = Marshal.GetLastSystemError();
        return error > 0 ? -error : -(int)Errno.EIO;
    }

    /// <summary>The exception of a call just made.</summary>
    public static HypervisorException Failure(string message) => new((Errno)(-LastError()), message);
}
