using System.Buffers.Binary;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>
/// Where a vCPU tells its guest of a second-level violation by #VE (Intel SDM vol. 3, 26.5.7): a page of the guest's
/// that holds what happened, and a word that the guest clears when it is ready for the next.
/// </summary>
internal sealed class VirtualizationExceptions(Domain domain)
{
    /// <summary>Vector of #VE.</summary>
    public const byte Vector = 20;

    private const int ReasonOffset = 0;
    private const int BusyOffset = 4;
    private const int QualificationOffset = 8;
    private const int LinearOffset = 16;
    private const int PhysicalOffset = 24;
    private const int ViewOffset = 32;
    private const int InfoBytes = 34;

    private readonly Lock _lock = new();
    private MachineExtent? _extent;
    private ulong _page;
    private bool _vmFunctions;

    /// <summary>There is a page.</summary>
    public bool IsEnabled => Volatile.Read(ref _extent) is not null;

    /// <summary>
    /// VMFUNC exists on the vCPU: as on Xen, which programs the processor for it when a page is given for the first
    /// time and leaves it so until altp2m goes off.
    /// </summary>
    public bool HasVmFunctions => Volatile.Read(ref _vmFunctions);

    /// <summary>Takes a frame of the guest's for the page.</summary>
    /// <returns>EEXIST: there is one; EINVAL: no RAM of the guest's own.</returns>
    public Errno Enable(ulong gfn)
    {
        lock (_lock)
        {
            if (_extent is not null)
            {
                return Errno.EEXIST;
            }

            var entry = domain.Pages.Find(gfn, write: true);
            if (entry.Type != P2mType.RamRw
                || domain.Ram.ExtentOf(entry.MachineAddress) is not { } extent
                || !domain.Pages.TryPin(gfn, out _page))
            {
                return Errno.EINVAL;
            }

            Volatile.Write(ref _extent, extent);
            Volatile.Write(ref _vmFunctions, true);
            return Errno.None;
        }
    }

    /// <summary>Lets the page go.</summary>
    public void Disable()
    {
        lock (_lock)
        {
            if (_extent is not null)
            {
                domain.Pages.Unpin(_page);
                Volatile.Write(ref _extent, null);
            }
        }
    }

    /// <summary>altp2m goes off: neither #VE nor VMFUNC.</summary>
    public void Reset()
    {
        Disable();
        Volatile.Write(ref _vmFunctions, false);
    }

    /// <summary>Writes what happened into the page.</summary>
    /// <returns>False: there is no page, or the guest is not done with the last one.</returns>
    public bool TryWrite(ulong qualification, ulong linear, ulong physical, ushort view, out ulong machinePage)
    {
        const uint EptViolation = 48;
        lock (_lock)
        {
            machinePage = _page >> 12;
            if (_extent is null)
            {
                return false;
            }

            var info = domain.Machine.Memory.RestOfPage(_page)[..InfoBytes];
            if (BinaryPrimitives.ReadUInt32LittleEndian(info[BusyOffset..]) != 0)
            {
                return false;
            }

            BinaryPrimitives.WriteUInt32LittleEndian(info[ReasonOffset..], EptViolation);
            BinaryPrimitives.WriteUInt32LittleEndian(info[BusyOffset..], uint.MaxValue);
            BinaryPrimitives.WriteUInt64LittleEndian(info[QualificationOffset..], qualification);
            BinaryPrimitives.WriteUInt64LittleEndian(info[LinearOffset..], linear);
            BinaryPrimitives.WriteUInt64LittleEndian(info[PhysicalOffset..], physical);
            BinaryPrimitives.WriteUInt16LittleEndian(info[ViewOffset..], view);
            return true;
        }
    }
}
