using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Xen;

/// <summary>
/// A <c>xentoollog_logger</c> that says nothing. Without one the libraries write to the standard error what the
/// callers learn from errno anyway.
/// </summary>
internal static unsafe class QuietLogger
{
    /// <summary>Address of the logger, which is there as long as the process.</summary>
    public static nint Address { get; } = Create();

    private static nint Create()
    {
        // SAFETY: three words, as struct xentoollog_logger has them; nobody frees them.
        var logger = (nint*)NativeMemory.Alloc(3, (nuint)sizeof(nint));
        logger[0] = (nint)(delegate* unmanaged<nint, int, int, byte*, byte*, void*, void>)&Message;
        logger[1] = (nint)(delegate* unmanaged<nint, byte*, byte*, int, nuint, nuint, void>)&Progress;
        logger[2] = (nint)(delegate* unmanaged<nint, void>)&Destroy;
        return (nint)logger;
    }

    [UnmanagedCallersOnly]
    private static void Message(nint logger, int level, int error, byte* context, byte* format, void* arguments)
    {
    }

    [UnmanagedCallersOnly]
    private static void Progress(nint logger, byte* context, byte* what, int percent, nuint done, nuint total)
    {
    }

    [UnmanagedCallersOnly]
    private static void Destroy(nint logger)
    {
    }
}
