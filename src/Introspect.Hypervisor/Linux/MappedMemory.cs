using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Linux;

/// <summary>A range of this process's address space. Disposing unmaps all of it.</summary>
internal sealed class MappedMemory : IDisposable
{
    private nint _address;

    private MappedMemory(nint address, long length) => (_address, Length) = (address, length);

    ~MappedMemory() => Unmap();

    /// <summary>Address of the first byte, page-aligned; 0 after disposal.</summary>
    public nint Address => _address;

    /// <summary>Bytes.</summary>
    public long Length { get; }

    /// <summary>The bytes, for ranges that fit a span.</summary>
    public unsafe Span<byte> Span
    {
        get
        {
            ObjectDisposedException.ThrowIf(_address == 0, this);

            // SAFETY: the range is mapped until Dispose, and checked() refuses one too long for a span.
            return new((void*)_address, checked((int)Length));
        }
    }

    /// <summary>Maps part of a file, shared.</summary>
    public static MappedMemory MapShared(SafeHandle file, long offset, long length, bool writable)
    {
        var address = Libc.Mmap(0, checked((nuint)length), Protection(writable), Libc.MapShared, file, offset);
        return address == -1
            ? throw Libc.Failure($"mapping {length} bytes at offset 0x{offset:x} of a memory file failed")
            : new(address, length);
    }

    /// <summary>Maps part of a file, shared, to be run: what is written through another mapping of it is the code.</summary>
    public static MappedMemory MapExecutable(SafeHandle file, long offset, long length)
    {
        var address = Libc.Mmap(0, checked((nuint)length), Libc.ProtRead | Libc.ProtExec, Libc.MapShared, file, offset);
        return address == -1
            ? throw Libc.Failure($"mapping {length} bytes of a memory file as code failed: is executable shared memory allowed?")
            : new(address, length);
    }

    /// <summary>Zeroed private memory whose pages are taken as they are touched.</summary>
    public static MappedMemory AllocatePrivate(long length) => Anonymous(length, Libc.ProtRead | Libc.ProtWrite);

    /// <summary>Address space without memory behind it, to be filled by <see cref="Overlay"/>; touching it faults.</summary>
    public static MappedMemory Reserve(long length) => Anonymous(length, Libc.ProtNone);

    /// <summary>Puts part of a file in the place of part of this range.</summary>
    public void Overlay(long at, SafeHandle file, long fileOffset, long length, bool writable)
    {
        CheckRange(at, length);

        // MAP_FIXED replaces what is there at once: no other thread can take the addresses in between.
        if (Libc.Mmap(_address + (nint)at, (nuint)length, Protection(writable), Libc.MapShared | Libc.MapFixed, file, fileOffset) == -1)
        {
            throw Libc.Failure($"mapping {length} bytes at offset 0x{fileOffset:x} of a memory file into a reservation failed");
        }
    }

    /// <summary>Takes what was put into the reservation out of it again: touching it faults, as before.</summary>
    public void Withdraw(long at, long length)
    {
        CheckRange(at, length);
        var flags = Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve | Libc.MapFixed;
        if (Libc.MmapAnonymous(_address + (nint)at, (nuint)length, Libc.ProtNone, flags, -1, 0) == -1)
        {
            throw Libc.Failure($"taking {length} bytes out of a reservation failed");
        }
    }

    /// <summary>Changes what may be done with part of the range.</summary>
    public void Protect(long at, long length, bool readable, bool writable)
    {
        CheckRange(at, length);
        var protection = (readable ? Libc.ProtRead : 0) | (writable ? Libc.ProtWrite : 0);
        if (Libc.Mprotect(_address + (nint)at, (nuint)length, protection) != 0)
        {
            throw Libc.Failure($"changing the protection of {length} bytes failed");
        }
    }

    /// <summary>Turns part of the range from writable data into code that can run and no longer be written.</summary>
    public void MakeExecutable(long at, long length)
    {
        CheckRange(at, length);
        if (Libc.Mprotect(_address + (nint)at, (nuint)length, Libc.ProtRead | Libc.ProtExec) != 0)
        {
            throw Libc.Failure($"making {length} bytes executable failed");
        }
    }

    /// <summary>Asks for huge pages. Only advice: a kernel without them goes on with small ones.</summary>
    public void AdviseHugePages() => _ = Libc.Madvise(_address, (nuint)Length, Libc.MadvHugePage);

    /// <summary>Gives the pages of part of a private range back; they read as zero afterwards.</summary>
    public void Discard(long at, long length)
    {
        CheckRange(at, length);
        if (Libc.Madvise(_address + (nint)at, (nuint)length, Libc.MadvDontNeed) != 0)
        {
            throw Libc.Failure($"discarding {length} bytes failed");
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Unmap();
        GC.SuppressFinalize(this);
    }

    private static int Protection(bool writable) => writable ? Libc.ProtRead | Libc.ProtWrite : Libc.ProtRead;

    private static MappedMemory Anonymous(long length, int protection)
    {
        var flags = Libc.MapPrivate | Libc.MapAnonymous | Libc.MapNoReserve;
        var address = Libc.MmapAnonymous(0, checked((nuint)length), protection, flags, -1, 0);
        return address == -1 ? throw Libc.Failure($"reserving {length} bytes of address space failed") : new(address, length);
    }

    private void CheckRange(long at, long length)
    {
        ObjectDisposedException.ThrowIf(_address == 0, this);
        ArgumentOutOfRangeException.ThrowIfNegative(at);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Length - at);
    }

    private void Unmap()
    {
        var address = Interlocked.Exchange(ref _address, 0);
        if (address != 0)
        {
            _ = Libc.Munmap(address, (nuint)Length);
        }
    }
}
