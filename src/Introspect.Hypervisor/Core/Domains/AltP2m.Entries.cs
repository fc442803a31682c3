using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Domains;

/// <summary>What is done to single frames of views. View 0 stands for the host table where Xen says so.</summary>
internal sealed partial class AltP2m
{
    // What Xen's four-level tables can map; in the host table a frame beyond is EINVAL.
    private const ulong MappableFrames = 1UL << 36;

    /// <summary>
    /// Sets rights frame by frame; view 0 means the host table. A frame without RAM takes none, silently. Those before
    /// a wrong access stay set. Frame ~0 alone stands for the default of new pages, which is the host's whatever the view.
    /// </summary>
    /// <returns>EINVAL: no such view or access.</returns>
    public Errno SetAccess(ushort index, ReadOnlySpan<ulong> gfns, ReadOnlySpan<byte> accesses)
    {
        if (index == 0)
        {
            return SetHostAccess(gfns, accesses);
        }

        TakeOwn(gfns);
        var flush = false;
        var result = Errno.None;
        lock (_host.Lock)
        {
            if (Find(index) is not { } view)
            {
                return Errno.EINVAL;
            }

            for (var n = 0; n < gfns.Length && result == Errno.None; n++)
            {
                var access = (MemoryAccess)accesses[n];
                result = !_host.Resolve(ref access) ? Errno.EINVAL
                    : view.SetAccess(gfns[n], access, ref flush) is Errno.ESRCH or Errno.None ? Errno.None : Errno.EINVAL;
            }
        }

        Flush(flush);
        return result;
    }

    /// <summary>Reads the rights of a frame, or of frame ~0 the default.</summary>
    /// <returns>EINVAL: no such view; ESRCH: the view has no entry for it.</returns>
    public Errno GetAccess(ushort index, ulong gfn, out MemoryAccess access)
    {
        lock (_host.Lock)
        {
            access = default;
            P2mTable? table = index == 0 ? _host : Find(index);
            if (table is null)
            {
                return Errno.EINVAL;
            }

            if (gfn != ulong.MaxValue)
            {
                return table.GetAccess(gfn, out access);
            }

            access = table.DefaultAccess;
            return Errno.None;
        }
    }

    /// <summary>Makes a frame of a view lead to the page of another, or with null to its own again.</summary>
    /// <returns>EINVAL: no such view; ESRCH: a frame without RAM.</returns>
    public Errno Remap(ushort index, ulong gfn, ulong? target, bool suppressVe)
    {
        TakeOwn([gfn, target ?? gfn]);
        var flush = false;
        Errno result;
        lock (_host.Lock)
        {
            if (Find(index) is not { } view)
            {
                return Errno.EINVAL;
            }

            result = view.Remap(gfn, target, suppressVe, ref flush);
        }

        Flush(flush);
        return result;
    }

    /// <summary>Sets whether #VE is suppressed for frames, some of them at a time; view 0 means the host table.</summary>
    /// <param name="range">First frame, which moves on; last frame, not before it; the first error and its frame.</param>
    /// <param name="most">Frames at most, this time.</param>
    /// <returns>EINVAL: no such view; ERESTART: there is more to do.</returns>
    public Errno SetSuppressVe(ref AltP2mSuppressVeMulti range, ulong most)
    {
        var flush = false;
        var result = Errno.None;
        lock (_host.Lock)
        {
            var view = range.View == 0 ? null : Find(range.View);
            if (range.View != 0 && view is null)
            {
                return Errno.EINVAL;
            }

            var gfn = range.FirstGfn;
            for (var isLast = false; !isLast;)
            {
                var error = SetSuppressVe(view, gfn, range.SuppressVe != 0, ref flush);
                if (error != Errno.None && range.FirstError == 0)
                {
                    range.FirstErrorGfn = gfn;
                    range.FirstError = -(int)error;
                }

                gfn = NextToSuppress(view, gfn, range.LastGfn, out isLast);
                if (!isLast && --most == 0)
                {
                    result = Errno.ERESTART;
                    break;
                }
            }

            range.FirstGfn = gfn;
        }

        Flush(flush);
        return result;
    }

    /// <summary>Reads whether #VE is suppressed for a frame; view 0 means the host table.</summary>
    /// <returns>EINVAL: no such view; ESRCH: the view has no entry for it.</returns>
    public Errno GetSuppressVe(ushort index, ulong gfn, out bool suppress)
    {
        lock (_host.Lock)
        {
            P2mTable? table = index == 0 ? _host : Find(index);
            var entry = table?[gfn] ?? default;
            suppress = entry.SuppressesVe;
            return table is null ? Errno.EINVAL : entry.IsPresent ? Errno.None : Errno.ESRCH;
        }
    }

    // A fork's page is its own before a view says anything of it (P2M_UNSHARE).
    private void TakeOwn(ReadOnlySpan<ulong> gfns)
    {
        if (_active)
        {
            foreach (var gfn in gfns)
            {
                _domain.Pages.Find(gfn, write: true);
            }
        }
    }

    private Errno SetHostAccess(ReadOnlySpan<ulong> gfns, ReadOnlySpan<byte> accesses)
    {
        _domain.Pages.Populate(gfns);
        for (var n = 0; n < gfns.Length; n++)
        {
            if (gfns[n] >= MappableFrames)
            {
                var before = _host.SetAccess(gfns[..n], accesses[..n]);
                return before == Errno.None ? Errno.EINVAL : before;
            }
        }

        return _host.SetAccess(gfns, accesses);
    }

    private Errno SetSuppressVe(P2mView? view, ulong gfn, bool suppress, ref bool flush)
    {
        if (view is not null)
        {
            return view.SetSuppressVe(gfn, suppress, ref flush);
        }

        flush |= _host.SetSuppressVe(gfn, suppress);
        return gfn < MappableFrames ? Errno.None : Errno.EINVAL;
    }

    // Frames beyond the table are alike, up to where Xen's tables end: one stands for all of them.
    private ulong NextToSuppress(P2mView? view, ulong gfn, ulong last, out bool isLast)
    {
        var next = gfn < _host.EntryCount ? gfn
            : view is null && gfn < MappableFrames && last >= MappableFrames ? MappableFrames - 1
            : last;
        isLast = next == last;
        return next + 1;
    }
}
