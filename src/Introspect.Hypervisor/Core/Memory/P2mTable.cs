using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Core.Memory;

/// <summary>
/// A second-level table: one <see cref="P2mEntry"/> a guest frame, in a native array which the CPU reads without a
/// lock. The array is reserved for the whole guest-physical space and takes host memory where it is written.
/// </summary>
internal abstract unsafe class P2mTable : IDisposable
{
    private readonly MappedMemory _entries;

    protected P2mTable(ulong entryCount)
    {
        _entries = MappedMemory.AllocatePrivate((long)entryCount * sizeof(ulong));
        EntryCount = entryCount;
    }

    /// <summary>The entries.</summary>
    public ulong* Entries => (ulong*)_entries.Address;

    /// <summary>Entries in <see cref="Entries"/>: frames beyond do not exist.</summary>
    public ulong EntryCount { get; }

    /// <summary>Rights that pages get unless told otherwise.</summary>
    public MemoryAccess DefaultAccess { get; protected set; } = MemoryAccess.Rwx;

    /// <summary>The entry of a frame; absent beyond the end.</summary>
    public P2mEntry this[ulong gfn] => gfn < EntryCount ? new(Volatile.Read(ref Entries[gfn])) : default;

    /// <summary>
    /// Lifts the rights that change at the first violation: rx2rw becomes rw, n2rwx becomes rwx, and anything else
    /// (a violation that nobody listens to) becomes rwx.
    /// </summary>
    public abstract void LiftAccess(ulong gfn);

    /// <summary>Reads the rights of a frame.</summary>
    /// <returns>ESRCH: no page there.</returns>
    public Errno GetAccess(ulong gfn, out MemoryAccess access)
    {
        var entry = this[gfn];
        access = entry.Access;
        return entry.IsPresent ? Errno.None : Errno.ESRCH;
    }

    /// <inheritdoc/>
    public void Dispose() => _entries.Dispose();

    /// <summary>The rights that a first violation leaves.</summary>
    protected static MemoryAccess Lifted(MemoryAccess access) => access == MemoryAccess.Rx2Rw ? MemoryAccess.Rw : MemoryAccess.Rwx;

    // SAFETY: callers checked that the frame is below EntryCount. One aligned store: the CPU sees the old entry or the new.
    protected void Write(ulong gfn, P2mEntry entry) => Volatile.Write(ref Entries[gfn], entry.Raw);

    /// <summary>Makes every entry absent, and gives the host its memory back.</summary>
    protected void Forget() => _entries.Discard(0, _entries.Length);
}
