using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>What hypercalls do with the guest's memory.</summary>
internal sealed partial class GuestContext
{
    /// <inheritdoc/>
    public ReadOnlySpan<E820Entry> MemoryMap => _platform.MemoryMap;

    /// <inheritdoc/>
    public void SetMemoryMap(ReadOnlySpan<E820Entry> map) => _platform.SetMemoryMap(map);

    /// <inheritdoc/>
    public ulong MaximumGfn => _domain.Physmap.MaxMappedGfn;

    /// <inheritdoc/>
    public ulong MaximumRamPage => _domain.Machine.Memory.Bytes / Gfn.PageSize;

    /// <inheritdoc/>
    public ulong TotalPages => (ulong)_domain.Ram.TotalPages;

    /// <inheritdoc/>
    public ulong MaximumPages => (ulong)_domain.Ram.MaxPages;

    /// <inheritdoc/>
    public uint GrantFrames => _platform.Grants.Count;

    /// <inheritdoc/>
    public uint MaximumGrantFrames => Execution.GrantFrames.Maximum;

    /// <inheritdoc/>
    public bool CopyFromGuest(ulong linearAddress, Span<byte> destination) => _runner.Cpu.CopyFromGuest(linearAddress, destination);

    /// <inheritdoc/>
    public bool CopyToGuest(ulong linearAddress, ReadOnlySpan<byte> source) => _runner.Cpu.CopyToGuest(linearAddress, source);

    /// <inheritdoc/>
    public bool IsRam(ulong gfn) => _domain.Pages.Find(gfn, write: false).Type is P2mType.RamRw or P2mType.RamRo or P2mType.RamShared;

    /// <inheritdoc/>
    public HvmMemType MemoryType(ulong gfn) => _domain.Pages.Find(gfn, write: false).MemType;

    /// <inheritdoc/>
    public int MapSharedInfo(ulong gfn) => -(int)_domain.MapSharedInfo(gfn);

    /// <inheritdoc/>
    public int MapGrantFrame(ulong index, ulong gfn) =>
        index >= Execution.GrantFrames.Maximum ? -(int)Errno.ENOSPC : _platform.Grants.Map((uint)index, gfn);

    /// <inheritdoc/>
    public int MoveFrame(ulong fromGfn, ulong toGfn)
    {
        if (fromGfn == toGfn)
        {
            return _domain.Physmap[fromGfn].IsPresent ? 0 : -(int)Errno.EINVAL;
        }

        // Its own page goes, not one that it shares. Two vCPUs may move the same frame: it is the one's who took it out.
        _domain.Pages.Find(fromGfn, write: true);
        var entry = _domain.Physmap.Unmap(fromGfn);
        if (!entry.IsPresent)
        {
            return -(int)Errno.EINVAL;
        }

        _domain.Ram.Place(_domain.Physmap, toGfn, entry.MachineAddress, entry.Type);
        return 0;
    }

    /// <inheritdoc/>
    public int PopulateFrame(ulong gfn) => _domain.Ram.TryPopulate(_domain.Physmap, gfn) ? 0 : -(int)Errno.ENOMEM;

    /// <inheritdoc/>
    public int RemoveFrame(ulong gfn) => _domain.Ram.TryDepopulate(_domain.Physmap, gfn) ? 0 : -(int)Errno.ENOENT;

    /// <inheritdoc/>
    public int GrowGrantTable(uint frames) => _platform.Grants.Grow(frames);

    /// <inheritdoc/>
    public ulong GrantFrameGfn(uint index) => _platform.Grants.GfnOf(index);

    /// <inheritdoc/>
    public void FlushTlbs() => _domain.FlushTlbs();
}
