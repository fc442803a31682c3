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
