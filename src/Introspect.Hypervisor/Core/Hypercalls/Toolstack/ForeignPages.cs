using Introspect.Hypervisor.Core.Domains;
using Introspect.Hypervisor.Core.Host;
using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Core.Hypercalls.Toolstack;

/// <summary>
/// Pages of a guest that somebody outside maps: each is held by a reference, so that it stays what it is when the
/// guest's physmap changes. While they may be written, and when they are let go of, the guest's decoded code follows.
/// </summary>
internal sealed class ForeignPages : IDisposable
{
    private readonly Domain _domain;
    private readonly ulong[] _pages;
    private readonly MachineExtent[] _extents;
    private readonly bool _writable;
    private int _disposed;

    private ForeignPages(Domain domain, ulong[] pages, MachineExtent[] extents, bool writable)
    {
        _domain = domain;
        _pages = pages;
        _extents = extents;
        _writable = writable;
        if (writable)
        {
            domain.ForeignWriters.Add(pages);
        }

        Runs = MakeRuns(pages, extents);
    }

    /// <summary>Pages that lie together in a file, in the order of the gfns.</summary>
    public IReadOnlyList<ForeignRun> Runs { get; }

    /// <summary>They may be written.</summary>
    public bool IsWritable => _writable;

    /// <summary>Finds and holds the pages of gfns.</summary>
    /// <returns>EFAULT: one of them is not there; EINVAL: no gfns; ENOMEM: a fork has no page for a copy.</returns>
    public static Errno Hold(Domain domain, ReadOnlySpan<ulong> gfns, bool writable, out ForeignPages? held)
    {
        held = null;
        if (gfns.IsEmpty)
        {
            return Errno.EINVAL;
        }

        var pages = new ulong[gfns.Length];
        var extents = new MachineExtent[gfns.Length];
        for (var i = 0; i < gfns.Length; i++)
        {
            var refused = Errno.EFAULT;
            try
            {
                if (domain.Pages.TryHold(gfns[i], out extents[i], out pages[i]))
                {
                    continue;
                }
            }
            catch (HypervisorException failure)
            {
                refused = failure.Error;
            }

            Release(pages.AsSpan(0, i), extents);
            return refused;
        }

        held = new ForeignPages(domain, pages, extents, writable);
        return Errno.None;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        if (_writable)
        {
            _domain.ForeignWriters.Remove(_pages);
        }

        Release(_pages, _extents);
    }

    private static void Release(ReadOnlySpan<ulong> pages, MachineExtent[] extents)
    {
        for (var i = 0; i < pages.Length; i++)
        {
            extents[i].Release(pages[i]);
        }
    }

    private static List<ForeignRun> MakeRuns(ulong[] pages, MachineExtent[] extents)
    {
        var runs = new List<ForeignRun>();
        for (var i = 0; i < pages.Length;)
        {
            var first = i++;
            while (i < pages.Length && extents[i] == extents[first] && pages[i] == pages[i - 1] + MachineMemory.PageSize)
            {
                i++;
            }

            runs.Add(new(extents[first].File.Handle, (long)(pages[first] - extents[first].Address), i - first));
        }

        return runs;
    }
}

/// <summary>Foreign pages mapped into this process, one behind the other.</summary>
internal sealed class LocalForeignMapping : ForeignMapping
{
    private readonly ForeignPages _pages;
    private readonly MappedMemory _memory;

    /// <param name="pages">The pages; owned from now on.</param>
    public LocalForeignMapping(ForeignPages pages)
    {
        _pages = pages;
        _memory = MappedMemory.Reserve(pages.Runs.Sum(static run => (long)run.Pages) * MachineMemory.PageSize);
        try
        {
            long at = 0;
            foreach (var run in pages.Runs)
            {
                var length = (long)run.Pages * MachineMemory.PageSize;
                _memory.Overlay(at, run.File, run.Offset, length, pages.IsWritable);
                at += length;
            }
        }
        catch
        {
            _memory.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public override nint Address => _memory.Address;

    /// <inheritdoc/>
    public override long Length => _memory.Length;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _memory.Dispose();
            _pages.Dispose();
        }
    }
}

/// <summary>Foreign pages as descriptors for another process.</summary>
internal sealed class LocalForeignExport(ForeignPages pages) : ForeignExport
{
    /// <inheritdoc/>
    public override IReadOnlyList<ForeignRun> Runs => pages.Runs;

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            pages.Dispose();
        }
    }
}
