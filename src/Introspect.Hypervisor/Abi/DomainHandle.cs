using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Abi;

/// <summary>Reads and writes <c>xen_domain_handle_t</c>: a UUID's 16 bytes, in the order in which its text has them.</summary>
internal static unsafe class DomainHandle
{
    private const int Length = 16;

    /// <summary>The handle in a createdomain.</summary>
    public static Guid Read(in DomctlCreateDomain config)
    {
        // SAFETY: the fixed buffer is 16 bytes of the structure, which a reference keeps where it is.
        fixed (byte* bytes = config.Handle)
        {
            return new(new ReadOnlySpan<byte>(bytes, Length), bigEndian: true);
        }
    }

    /// <summary>The handle in a getdomaininfo.</summary>
    public static Guid Read(in DomctlGetDomainInfo info)
    {
        // SAFETY: as above.
        fixed (byte* bytes = info.Handle)
        {
            return new(new ReadOnlySpan<byte>(bytes, Length), bigEndian: true);
        }
    }

    /// <summary>The handle in a setdomainhandle.</summary>
    public static Guid Read(in DomctlSetDomainHandle argument) =>
        new(MemoryMarshal.AsBytes(new ReadOnlySpan<DomctlSetDomainHandle>(in argument)), bigEndian: true);

    /// <summary>Writes the handle into a createdomain.</summary>
    public static void Write(ref DomctlCreateDomain config, Guid handle) => Write(ref config.Handle[0], handle);

    /// <summary>Writes the handle into a getdomaininfo.</summary>
    public static void Write(ref DomctlGetDomainInfo info, Guid handle) => Write(ref info.Handle[0], handle);

    // SAFETY: the reference is to the first byte of a handle.
    private static void Write(ref byte first, Guid handle) =>
        handle.TryWriteBytes(new Span<byte>(Unsafe.AsPointer(ref first), Length), bigEndian: true, out _);
}
