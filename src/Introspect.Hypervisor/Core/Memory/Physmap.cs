using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Memory;

/// <summary>A domain's p2m (the host p2m, where there are altp2m views).</summary>
internal sealed partial class Physmap : P2mTable
{
    /// <summary>Guest frames unless asked otherwise: 256 GiB of guest-physical space.</summary>
    public const ulong DefaultEntryCount = 1UL << 26;

    private readonly Action _changed;

    /// <param name="changed">Called after rights were taken or a mapping was changed, outside the physmap's lock: translations must be flushed before it returns.</param>
    /// <param name="entryCount">Guest frames.</param>
    public Physmap(Action changed, ulong entryCount = DefaultEntryCount)
        : base(entryCount) => _changed = changed;

    /// <summary>Held while entries change, those of views too.</summary>
    public Lock Lock { get; } = new();

    /// <summary>Told of each entry that changes (frame, old, new), under the lock. True: a view lost rights by it and must be flushed.</summary>
    public Func<ulong, P2mEntry, P2mEntry, bool>? EntryChanged { get; set; }

    /// <summary>Highest frame that was ever mapped (<c>p2m->max_mapped_pfn</c>).</summary>
    public ulong MaxMappedGfn { get; private set; }

    /// <summary>A violation that no monitor listens to crashes the domain instead of lifting the rights.</summary>
    public bool AccessRequired { get; set; }

    /// <summary>Pages can be read-only to all but page-table walks (<see cref="MemoryAccess.RPw"/>).</summary>
    public bool HasPagingWrites { get; init; }

    /// <summary>Maps a frame with the default rights. Whoever mapped something there before has it back as the result.</summary>
    /// <returns>The entry that was there, or absent.</returns>
    /// <exception cref="HypervisorException">EINVAL: the frame is beyond the end.</exception>
    public P2mEntry Map(ulong gfn, ulong machineAddress, P2mType type)
    {
        P2mEntry old;
        bool viewsChanged;
        lock (Lock)
        {
            if (gfn >= EntryCount)
            {
                throw new HypervisorException(Errno.EINVAL, $"guest frame 0x{gfn:x} is beyond the physmap's 0x{EntryCount:x} frames");
            }

            old = this[gfn];
            viewsChanged = Store(gfn, P2mEntry.Make(machineAddress, type, DefaultAccess));
            NoteMapped(gfn);
        }

        Flush(old.IsPresent || viewsChanged);
        return old;
    }

    /// <summary>Takes a frame out. When this returns no vCPU can reach the page by it.</summary>
    /// <returns>The entry that was there, or absent.</returns>
    public P2mEntry Unmap(ulong gfn)
    {
        P2mEntry old;
        lock (Lock)
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
        lock (Lock)
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
        lock (Lock)
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

    /// <inheritdoc/>
    public override void LiftAccess(ulong gfn)
    {
        bool changed;
        lock (Lock)
        {
            changed = ReplaceAccess(gfn, Lifted(this[gfn].Access));
        }

        Flush(changed);
    }

    /// <summary>Sets whether violations of a frame can be told to the guest itself. A frame without a page takes none. Under the lock.</summary>
    /// <returns>True when a view lost rights by it and must be flushed: views follow whatever is written.</returns>
    public bool SetSuppressVe(ulong gfn, bool suppress)
    {
        var entry = this[gfn];
        return entry.IsPresent && Store(gfn, entry.WithSuppressVe(suppress));
    }

    /// <summary>What a wire's access means, <see cref="MemoryAccess.Default"/> being the default for new pages.</summary>
    /// <returns>False: no such access.</returns>
    public bool Resolve(ref MemoryAccess access)
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
        if (!old.IsPresent)
        {
            return false;
        }

        // Stored even when it changes nothing here: views follow whatever is written.
        var replaced = old.With(access);
        var viewsChanged = Store(gfn, replaced);

        // A TLB holds what is allowed, so only rights that went away are worth a flush.
        return viewsChanged || (old.Raw & ~replaced.Raw & P2mEntry.RightsMask) != 0;
    }

    private void Flush(bool changed)
    {
        if (changed)
        {
            _changed();
        }
    }

    private bool Store(ulong gfn, P2mEntry entry)
    {
        var old = this[gfn];
        Write(gfn, entry);
        return EntryChanged?.Invoke(gfn, old, entry) ?? false;
    }
}
