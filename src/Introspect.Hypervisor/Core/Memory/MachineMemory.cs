using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Core.Memory;

/// <summary>
/// The memory of the machine that the core plays: one reserved range of this process's addresses, in which
/// extents (each a memory file of its own) have their places. A machine address is the offset from
/// <see cref="Base"/>, so that the CPU turns one into a native address by one addition.
/// </summary>
internal sealed unsafe class MachineMemory : IDisposable
{
    /// <summary>Bytes in a page.</summary>
    public const int PageSize = 4096;

    /// <summary>Bytes of address space reserved unless asked otherwise: 1 TiB.</summary>
    public const long DefaultReservation = 1L << 40;

    // Machine page 0 is never given out: address 0 stays a mistake that is noticed.
    private const long FirstAddress = 1 << 21;

    private readonly MappedMemory _range;
    private readonly MappedMemory _pageInfo;
    private readonly Lock _lock = new();
    private readonly SortedDictionary<long, MachineExtent> _extents = [];

    // The same in the order of addresses, replaced as a whole: extents are looked up more often than they change.
    private MachineExtent[] _ordered = [];

    public MachineMemory(long reservation = DefaultReservation)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(reservation, 2 * FirstAddress);
        _range = MappedMemory.Reserve(reservation);
        _pageInfo = MappedMemory.AllocatePrivate(reservation / PageSize);
    }

    /// <summary>Native address of machine address 0.</summary>
    public byte* Base => (byte*)_range.Address;

    /// <summary>Bytes reserved: machine addresses are below this.</summary>
    public ulong Bytes => (ulong)_range.Length;

    /// <summary>One byte a machine page, <see cref="PageInfoBits"/>.</summary>
    public byte* PageInfo => (byte*)_pageInfo.Address;

    /// <summary>Extents that are allocated.</summary>
    public int ExtentCount
    {
        get
        {
            lock (_lock)
            {
                return _extents.Count;
            }
        }
    }

    /// <summary>Allocates machine pages, zeroed, taken from the host as they are touched.</summary>
    /// <param name="pages">How many.</param>
    /// <param name="name">Name of the memory file, for people.</param>
    /// <exception cref="HypervisorException">ENOMEM: the address range is used up.</exception>
    public MachineExtent AllocateExtent(long pages, string name)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(pages);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(pages, _range.Length / PageSize);
        lock (_lock)
        {
            var address = FindGap(pages * PageSize);
            var file = MemoryFile.Create(name, pages * PageSize);
            try
            {
                _range.Overlay(address, file.Handle, 0, pages * PageSize, writable: true);
            }
            catch
            {
                file.Dispose();
                throw;
            }

            var extent = new MachineExtent(this, (ulong)address, pages, file);
            _extents.Add(address, extent);
            Volatile.Write(ref _ordered, [.. _extents.Values]);
            return extent;
        }
    }

    /// <summary>Native address of a machine address. The memory behind it is the caller's to know of.</summary>
    public nint ToNative(ulong machineAddress)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(machineAddress, Bytes);
        return (nint)(Base + machineAddress);
    }

    /// <summary>The bytes of one page, from an address in it to its end.</summary>
    public Span<byte> RestOfPage(ulong machineAddress) =>
        // SAFETY: ToNative checks the range; a page never crosses its extent.
        new((void*)ToNative(machineAddress), PageSize - (int)(machineAddress & (PageSize - 1)));

    /// <summary>Code was decoded of the page.</summary>
    public bool HasCode(ulong machineAddress)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(machineAddress, Bytes);
        return (Volatile.Read(ref PageInfo[machineAddress / PageSize]) & (byte)PageInfoBits.HasCode) != 0;
    }

    /// <summary>The extent that a machine address is in, or null.</summary>
    public MachineExtent? FindExtent(ulong machineAddress)
    {
        var ordered = Volatile.Read(ref _ordered);
        var low = 0;
        var high = ordered.Length - 1;
        while (low <= high)
        {
            var middle = (low + high) / 2;
            var extent = ordered[middle];
            if (extent.Contains(machineAddress))
            {
                return extent;
            }

            if (machineAddress < extent.Address)
            {
                high = middle - 1;
            }
            else
            {
                low = middle + 1;
            }
        }

        return null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        lock (_lock)
        {
            foreach (var extent in _extents.Values)
            {
                extent.File.Dispose();
            }

            _extents.Clear();
            Volatile.Write(ref _ordered, []);
        }

        _range.Dispose();
        _pageInfo.Dispose();
    }

    // Called by an extent whose last user let go of it.
    internal void Free(MachineExtent extent)
    {
        lock (_lock)
        {
            if (_extents.Remove((long)extent.Address))
            {
                Volatile.Write(ref _ordered, [.. _extents.Values]);
                _range.Withdraw((long)extent.Address, (long)extent.Bytes);
                new Span<byte>(PageInfo + (extent.Address / PageSize), checked((int)extent.PageCount)).Clear();
                extent.File.Dispose();
            }
        }
    }

    // Extents are few, so that a walk is fine; places of freed ones are used again. Huge host pages want 2 MiB alignment.
    private long FindGap(long bytes)
    {
        var at = FirstAddress;
        foreach (var (start, extent) in _extents)
        {
            if (start - at >= bytes)
            {
                break;
            }

            at = (start + (long)extent.Bytes + FirstAddress - 1) & -FirstAddress;
        }

        return bytes <= _range.Length - at
            ? at
            : throw new HypervisorException(Errno.ENOMEM, $"no {bytes} bytes of machine addresses are left of {_range.Length}");
    }
}
