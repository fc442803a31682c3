using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Execution;

/// <summary>The frames of a domain's grant table: pages of the hypervisor that the guest maps.</summary>
internal sealed class GrantFrames(Domain domain) : IDisposable
{
    /// <summary>Frames a table has by default (Xen's <c>gnttab_max_frames</c>).</summary>
    public const uint Maximum = 64;

    private readonly Lock _lock = new();
    private readonly List<(ulong Address, ulong Gfn)> _frames = [];
    private MachineExtent? _extent;

    /// <summary>Frames that the table has.</summary>
    public uint Count
    {
        get
        {
            lock (_lock)
            {
                return (uint)_frames.Count;
            }
        }
    }

    /// <summary>Where a frame is mapped, or all ones.</summary>
    public ulong GfnOf(uint index)
    {
        lock (_lock)
        {
            return index < _frames.Count ? _frames[(int)index].Gfn : ~0UL;
        }
    }

    /// <summary>Lets the table have at least so many frames. ENOSPC: it may not.</summary>
    public int Grow(uint frames)
    {
        if (frames > Maximum)
        {
            return -(int)Errno.ENOSPC;
        }

        lock (_lock)
        {
            _extent ??= domain.Machine.Memory.AllocateExtent(Maximum, $"d{domain.Id.Value} grants");
            while (_frames.Count < frames)
            {
                if (!_extent.TryTakePage(out var address))
                {
                    return -(int)Errno.ENOMEM;
                }

                domain.Machine.Memory.RestOfPage(address).Clear();
                _frames.Add((address, ~0UL));
            }
        }

        return 0;
    }

    /// <summary>Maps a frame in place of what was at the gfn.</summary>
    public int Map(uint index, ulong gfn)
    {
        var error = Grow(index + 1);
        if (error != 0)
        {
            return error;
        }

        ulong address;
        ulong old;
        lock (_lock)
        {
            (address, old) = _frames[(int)index];
            _frames[(int)index] = (address, gfn);
        }

        if (old != ~0UL && domain.Physmap[old].MachineAddress == address)
        {
            domain.Physmap.Unmap(old);
        }

        domain.Ram.Place(domain.Physmap, gfn, address, P2mType.RamRw);
        return 0;
    }

    /// <summary>Becomes what another domain's table is: as many frames, with the same contents, at the same places.</summary>
    public void CopyFrom(GrantFrames parent)
    {
        Unmap(from: (int)parent.Count);
        if (parent.Count == 0 || Grow(parent.Count) != 0)
        {
            return;
        }

        for (uint index = 0; index < parent.Count; index++)
        {
            var (source, gfn) = parent.FrameAt(index);
            var (target, mapped) = FrameAt(index);
            var memory = domain.Machine.Memory;
            memory.RestOfPage(source).CopyTo(memory.RestOfPage(target));
            if (gfn == ~0UL)
            {
                UnmapFrame(index);
            }
            else if (mapped != gfn || domain.Physmap[gfn].MachineAddress != target)
            {
                Map(index, gfn);
            }
        }
    }

    /// <summary>The bytes of a frame that the table has.</summary>
    public Span<byte> FrameBytes(uint index) => domain.Machine.Memory.RestOfPage(FrameAt(index).Address);

    private (ulong Address, ulong Gfn) FrameAt(uint index)
    {
        lock (_lock)
        {
            return _frames[(int)index];
        }
    }

    private void UnmapFrame(uint index)
    {
        var (address, gfn) = FrameAt(index);
        if (gfn != ~0UL && domain.Physmap[gfn].MachineAddress == address)
        {
            domain.Physmap.Unmap(gfn);
        }

        lock (_lock)
        {
            _frames[(int)index] = (address, ~0UL);
        }
    }

    // The table gets shorter.
    private void Unmap(int from)
    {
        for (var index = (int)Count - 1; index >= from; index--)
        {
            UnmapFrame((uint)index);
            lock (_lock)
            {
                _extent!.Release(_frames[index].Address);
                _frames.RemoveAt(index);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_lock)
        {
            foreach (var (address, _) in _frames)
            {
                _extent!.Release(address);
            }

            _frames.Clear();
            _extent?.ReleaseOwner();
            _extent = null;
        }
    }
}
