namespace Introspect.Hypervisor.Core.Memory;

/// <summary>Maps pages of one guest; every implementation of the seam has a way to.</summary>
internal interface IForeignMapper
{
    /// <summary>Maps one page.</summary>
    /// <returns>Null when there is no page at the gfn.</returns>
    /// <exception cref="HypervisorException">The mapping failed for another reason.</exception>
    ForeignMapping? TryMap(ulong gfn, bool writable);
}

/// <summary>
/// A guest's memory through foreign mappings. Pages that are read stay mapped for a short time, since page tables
/// and monitored structures are read over and over; a page that is written is mapped for the write alone, so that
/// the hypervisor knows when it was written.
/// </summary>
internal sealed unsafe class GuestMemory : IGuestMemory, IPhysicalReader, IDisposable
{
    /// <summary>Pages kept mapped unless asked otherwise.</summary>
    public const int DefaultCapacity = 512;

    /// <summary>
    /// How long a page stays mapped unless asked otherwise. A guest can put another page at a frame, and nobody tells
    /// those who map the old one.
    /// </summary>
    public static readonly TimeSpan DefaultLifetime = TimeSpan.FromMilliseconds(100);

    private const int PageSize = Gfn.PageSize;

    private readonly IForeignMapper _mapper;
    private readonly TimeProvider _time;
    private readonly TimeSpan _lifetime;
    private readonly int _capacity;
    private readonly Lock _lock = new();
    private readonly Dictionary<ulong, CachedPage> _pages = [];
    private readonly Queue<ulong> _order = new();

    public GuestMemory(IForeignMapper mapper, int capacity = DefaultCapacity, TimeSpan? lifetime = null, TimeProvider? time = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(capacity);
        _mapper = mapper;
        _capacity = capacity;
        _lifetime = lifetime ?? DefaultLifetime;
        _time = time ?? TimeProvider.System;
    }

    /// <summary>Pages mapped now.</summary>
    public int CachedPages
    {
        get
        {
            lock (_lock)
            {
                return _pages.Count;
            }
        }
    }

    /// <inheritdoc/>
    public void ReadPhysical(GuestPhysical address, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            var length = Math.Min(destination.Length, PageSize - address.PageOffset);
            if (!TryRead(address.Value, destination[..length]))
            {
                throw Absent(address);
            }

            destination = destination[length..];
            address += (ulong)length;
        }
    }

    /// <inheritdoc/>
    public bool TryReadPhysical(GuestPhysical address, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            var length = Math.Min(destination.Length, PageSize - address.PageOffset);
            if (!TryRead(address.Value, destination[..length]))
            {
                return false;
            }

            destination = destination[length..];
            address += (ulong)length;
        }

        return true;
    }

    /// <inheritdoc/>
    public void WritePhysical(GuestPhysical address, ReadOnlySpan<byte> source)
    {
        while (!source.IsEmpty)
        {
            var length = Math.Min(source.Length, PageSize - address.PageOffset);
            using var page = _mapper.TryMap(address.Gfn.Value, writable: true) ?? throw Absent(address);

            // SAFETY: one page is mapped there until the end of the scope, and the range ends in it.
            source[..length].CopyTo(new((byte*)page.Address + address.PageOffset, length));
            source = source[length..];
            address += (ulong)length;
        }
    }

    /// <inheritdoc/>
    public bool TryTranslate(in AddressSpace space, GuestVirtual address, out GuestPhysical physical)
    {
        var found = PageTableWalker.TryTranslate(this, space, address.Value, out var value);
        physical = new(value);
        return found;
    }

    /// <inheritdoc/>
    public void ReadVirtual(in AddressSpace space, GuestVirtual address, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            var length = Math.Min(destination.Length, PageSize - (int)(address.Value & (PageSize - 1)));
            ReadPhysical(Translate(space, address), destination[..length]);
            destination = destination[length..];
            address = new(unchecked(address.Value + (ulong)length));
        }
    }

    /// <inheritdoc/>
    public void WriteVirtual(in AddressSpace space, GuestVirtual address, ReadOnlySpan<byte> source)
    {
        while (!source.IsEmpty)
        {
            var length = Math.Min(source.Length, PageSize - (int)(address.Value & (PageSize - 1)));
            WritePhysical(Translate(space, address), source[..length]);
            source = source[length..];
            address = new(unchecked(address.Value + (ulong)length));
        }
    }

    /// <inheritdoc/>
    public bool TryRead(ulong address, Span<byte> destination)
    {
        var gfn = address >> Gfn.PageShift;
        var offset = (int)(address & (PageSize - 1));
        lock (_lock)
        {
            if (!TryGetPage(gfn, out var page))
            {
                return false;
            }

            // SAFETY: under the lock nobody unmaps the page; Slice refuses what does not end in it.
            new ReadOnlySpan<byte>((byte*)page, PageSize).Slice(offset, destination.Length).CopyTo(destination);
            return true;
        }
    }

    /// <summary>Lets go of every page: what is read from now on is mapped anew.</summary>
    public void Invalidate()
    {
        lock (_lock)
        {
            foreach (var page in _pages.Values)
            {
                page.Mapping.Dispose();
            }

            _pages.Clear();
            _order.Clear();
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Invalidate();

    private static HypervisorException Absent(GuestPhysical address) =>
        new(Errno.EFAULT, $"guest-physical address {address} is not in the guest's memory");

    private GuestPhysical Translate(in AddressSpace space, GuestVirtual address) =>
        TryTranslate(space, address, out var physical)
            ? physical
            : throw new HypervisorException(Errno.EFAULT, $"guest-virtual address {address} is not mapped in the address space of CR3 0x{space.Root:x}");

    private bool TryGetPage(ulong gfn, out nint address)
    {
        if (_pages.TryGetValue(gfn, out var cached))
        {
            if (_time.GetElapsedTime(cached.MappedAt) < _lifetime)
            {
                address = cached.Mapping.Address;
                return true;
            }

            _pages.Remove(gfn);
            cached.Mapping.Dispose();
        }

        address = 0;
        var mapping = _mapper.TryMap(gfn, writable: false);
        if (mapping is null)
        {
            return false;
        }

        // The order may name pages that are gone already, or that came back; taking one of those out early is harmless.
        while (_pages.Count >= _capacity || _order.Count >= 2 * _capacity)
        {
            if (_pages.Remove(_order.Dequeue(), out var oldest))
            {
                oldest.Mapping.Dispose();
            }
        }

        _pages.Add(gfn, new(mapping, _time.GetTimestamp()));
        _order.Enqueue(gfn);
        address = mapping.Address;
        return true;
    }

    private readonly record struct CachedPage(ForeignMapping Mapping, long MappedAt);
}
