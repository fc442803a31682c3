namespace Introspect.Hypervisor.Core.Memory;

/// <summary>What forks do to a physmap: fill it as it is used, and empty it at the cost of what was used.</summary>
internal sealed partial class Physmap
{
    private const int BlockShift = 9;

    // A bit for each 512 frames: one was mapped there some time.
    private ulong[]? _usedBlocks;

    /// <summary>The highest frame of a parent is its fork's, too.</summary>
    public void RaiseMaxMappedGfn(ulong gfn)
    {
        lock (Lock)
        {
            MaxMappedGfn = Math.Max(MaxMappedGfn, gfn);
        }
    }

    /// <summary>
    /// Puts an entry in the place of another one, if that is still there. Translations are not flushed: where the page
    /// or a right goes, that is the caller's, by <see cref="FlushTranslations"/>.
    /// </summary>
    /// <returns>False when the frame has another entry meanwhile, or cannot be.</returns>
    public bool TryReplace(ulong gfn, P2mEntry expected, P2mEntry replacement)
    {
        lock (Lock)
        {
            if (gfn >= EntryCount || this[gfn] != expected)
            {
                return false;
            }

            Store(gfn, replacement);
            if (replacement.IsPresent)
            {
                NoteMapped(gfn);
            }

            return true;
        }
    }

    /// <summary>Returns when no vCPU uses a translation that was made before.</summary>
    public void FlushTranslations() => _changed();

    /// <summary>The next frame with a page, from one on.</summary>
    /// <returns>False: there is none.</returns>
    public bool TryFindMapped(ref ulong gfn)
    {
        while (_usedBlocks is { } used && gfn <= MaxMappedGfn)
        {
            var block = gfn >> BlockShift;
            if ((used[block / 64] & (1UL << (int)(block % 64))) == 0)
            {
                gfn = (block + 1) << BlockShift;
            }
            else if (this[gfn].IsPresent)
            {
                return true;
            }
            else
            {
                gfn++;
            }
        }

        return false;
    }

    // Under the lock.
    private void NoteMapped(ulong gfn)
    {
        MaxMappedGfn = Math.Max(MaxMappedGfn, gfn);
        var block = gfn >> BlockShift;
        _usedBlocks ??= new ulong[(EntryCount >> BlockShift >> 6) + 1];
        _usedBlocks[block / 64] |= 1UL << (int)(block % 64);
    }
}
