using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Viridian;

/// <summary>Saving and loading what is the domain's. The vCPUs stand still. The features are the parameter's to carry.</summary>
internal sealed partial class ViridianDomain
{
    /// <summary>Saves <c>struct hvm_viridian_domain_context</c>.</summary>
    public void Save(Span<byte> record)
    {
        var saved = new HvmViridianDomain
        {
            HypercallGpa = HypercallPage,
            GuestOsId = GuestOsId,
            TimeRefCount = Time.At(_host.Cycles),
            ReferenceTsc = ReferenceTsc,
        };
        MemoryMarshal.Write(record, in saved);
    }

    /// <summary>Loads <c>struct hvm_viridian_domain_context</c>: the reference time goes on from its value when the domain does.</summary>
    public Errno Load(ReadOnlySpan<byte> record)
    {
        var loaded = MemoryMarshal.Read<HvmViridianDomain>(record);
        GuestOsId = loaded.GuestOsId;

        // The page is in the guest's memory, and that is restored.
        Volatile.Write(ref _hypercallPage, loaded.HypercallGpa);
        Volatile.Write(ref _referenceTsc, loaded.ReferenceTsc);
        Time.Load(loaded.TimeRefCount);
        return Errno.None;
    }
}
