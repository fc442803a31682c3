using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Core.Memory;

/// <summary>
/// A domain's p2m: one <see cref="P2mEntry"/> a guest frame, in a native array which the CPU reads without a lock.
/// The array is reserved for the whole guest-physical space and takes host memory where it is written.
/// </summary>
internal sealed unsafe class Physmap : IDisposable
{
    /// <summary>Guest frames unless asked otherwise: 256 GiB of guest-physical space.</summary>
    public const ulong DefaultEntryCount = 1UL << 26;

    private readonly MappedMemory _entries;
    private readonly Lock _lock = new();
    private readonly Action _changed;

    /// <param name="changed">Called after rights were taken or a mapping was changed, outside the physmap's lock: translations must be flushed before it returns.</param>
    /// <param name="entryCount">Guest frames.</param>
    public Physmap(Action changed, ulong entryCount = DefaultEntryCount)
    {
        _changed = changed;
        _entries = MappedMemory.AllocatePrivate((long)entryCount * sizeof(ulong));
        EntryCount = entryCount;
    }

    /// <summary>The entries, see <see cref="P2mEntry"/>.</summary>
    public ulong* Entries => (ulong*)_entries.Address;

    /// <summary>Entries in <see cref="Entries"/>: frames beyond do not exist.</summary>
    public ulong EntryCount { get; }

    /// <summary>Highest frame that was ever mapped (<c>p2m->max_mapped_pfn</c>).</summary>
    public ulong MaxMappedGfn { get; private set; }

    /// <summary>Rights that newly mapped pages get.</summary>
    public MemoryAccess DefaultAccess { get; private set; } = MemoryAccess.Rwx;

    /// <summary>A violation that no monitor listens to crashes the domain instead of lifting the rights.</summary>
    public bool AccessRequired { get; set; }

    /// <summary>Pages can be read-only to all but page-table walks (<see cref="MemoryAccess.RPw"/>).</summary>
    public bool HasPagingWrites { get; init; }

    /// <summary>The entry of a frame; absent beyond the end.</summary>
    public P2mEntry this[ulong gfn] => gfn < EntryCount ? new(Volatile.Read(ref Entries[gfn])) : default;

    /// <summary>Maps a frame with the default rights. Whoever mapped something there before has it back as the result.</summary>
    /// <returns>The entry that was there, or absent.</returns>
    /// <exception cref="HypervisorException">EINVAL: the frame is beyond the end.</exception>
    public P2mEntry Map(ulong gfn, ulong machineAddress, P2mType type)
    {
        P2mEntry old;
        lock (_lock)
        {
            if (gfn >= EntryCount)
            {
                throw new HypervisorException(Errno.EINVAL, $"guest frame 0x{gfn:x} is beyond the physmap's 0x{EntryCount:x} frames");
            }

            old = this[gfn];
            Store(gfn, P2mEntry.Make(machineAddress, type, DefaultAccess));
            MaxMappedGfn = Math.Max(MaxMappedGfn, gfn);
        }

        if (old.IsPresent)
        {
            _changed();
        }

        return old;
    }

    /// <summary>Takes a frame out. When this returns no vCPU can reach the page by it.</summary>
    /// <returns>The entry that was there, or absent.</returns>
    public P2mEntry Unmap(ulong gfn)
    {
        P2mEntry old;
        lock (_lock)
        {
            old = this[gfn];
            if (!old.IsPresent)
            {
                return old;
            }

            Store(gfn, default);
        }

        _changed();
        return old;
    }

    /// <summary>Sets the rights of frames. A frame without a page takes none, silently, as on Xen.</summary>
    /// <returns>EINVAL: no such access.</returns>
    public Errno SetAccess(ulong first, uint count, MemoryAccess access)
    {
        if (!Resolve(ref access))
        {
            return Errno.EINVAL;
        }

        var changed = false;
        lock (_lock)
        {
            for (var gfn = first; gfn - first < count && gfn < EntryCount; gfn++)
            {
                changed |= ReplaceAccess(gfn, access);
            }
        }

        Flush(changed);
        return Errno.None;
    }

    /// <summary>Sets rights frame by frame; those before a wrong access stay set.</summary>
    public Errno SetAccess(ReadOnlySpan<ulong> gfns, ReadOnlySpan<byte> accesses)
    {
        var changed = false;
        var result = Errno.None;
        lock (_lock)
        {
            for (var i = 0; i < gfns.Length; i++)
            {
                var access = (MemoryAccess)accesses[i];
                if (!Resolve(ref access))
                {
                    result = Errno.EINVAL;
                    break;
                }

                changed |= ReplaceAccess(gfns[i], access);
            }
        }

        Flush(changed);
        return result;
    }

    /// <summary>Reads the rights of a frame.</summary>
    /// <returns>ESRCH: no page there.</returns>
    public Errno GetAccess(ulong gfn, out MemoryAccess access)
    {
        var entry = this[gfn];
        access = entry.Access;
        return entry.IsPresent ? Errno.None : Errno.ESRCH;
    }

    /// <summary>Sets the rights that pages mapped from now on get.</summary>
    /// <returns>EINVAL: no such access.</returns>
    public Errno SetDefaultAccess(MemoryAccess access)
    {
        if (!Resolve(ref access))
        {
            return Errno.EINVAL;
        }

        DefaultAccess = access;
        return Errno.None;
    }

    /// <summary>
    /// Lifts the rights that change at the first violation: rx2rw becomes rw, n2rwx becomes rwx, and anything else
    /// (a violation that nobody listens to) becomes rwx.
    /// </summary>
    public void LiftAccess(ulong gfn)
    {
        bool changed;
        lock (_lock)
        {
            changed = ReplaceAccess(gfn, this[gfn].Access == MemoryAccess.Rx2Rw ? MemoryAccess.Rw : MemoryAccess.Rwx);
        }

        Flush(changed);
    }

    /// <inheritdoc/>
    public void Dispose() => _entries.Dispose();

    private bool Resolve(ref MemoryAccess access)
    {
        if (access == MemoryAccess.Default)
        {
            access = DefaultAccess;
        }

        return access <= MemoryAccess.N2Rwx || (access == MemoryAccess.RPw && HasPagingWrites);
    }

    private bool ReplaceAccess(ulong gfn, MemoryAccess access)
    {
        var old = this[gfn];
        if (!old.IsPresent || old.Access == access)
        {
            return false;
        }

        var replaced = old.With(access);
        Store(gfn, replaced);

        // A TLB holds what is allowed, so only rights that went away are worth a flush.
        return (old.Raw & ~replaced.Raw & P2mEntry.RightsMask) != 0;
    }

    private void Flush(bool changed)
    {
        if (changed)
        {
            _changed();
        }
    }

    // SAFETY: callers checked that the frame is below EntryCount. One aligned store: the CPU sees the old entry or the new.
    private void Store(ulong gfn, P2mEntry entry) => Volatile.Write(ref Entries[gfn], entry.Raw);
}
