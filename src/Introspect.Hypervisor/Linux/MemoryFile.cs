using Microsoft.Win32.SafeHandles;

namespace Introspect.Hypervisor.Linux;

/// <summary>Anonymous shared memory behind a descriptor (a memfd), which other processes can be handed.</summary>
internal sealed class MemoryFile : IDisposable
{
    private const int SeekEnd = 2;

    private MemoryFile(SafeFileHandle handle, long size) => (Handle, Size) = (handle, size);

    /// <summary>The descriptor.</summary>
    public SafeFileHandle Handle { get; }

    /// <summary>Bytes; holes are taken as they are touched.</summary>
    public long Size { get; private set; }

    /// <summary>Makes a file of zeroes.</summary>
    /// <param name="name">Shown in /proc, for people.</param>
    /// <param name="size">Bytes.</param>
    public static MemoryFile Create(string name, long size)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(size);
        var fd = Libc.MemfdCreate(name, Libc.MfdCloexec);
        if (fd < 0)
        {
            throw Libc.Failure($"creating the memory file '{name}' failed");
        }

        var file = new MemoryFile(new SafeFileHandle(fd, ownsHandle: true), 0);
        try
        {
            file.Resize(size);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Takes over a descriptor that another process passed, whatever it is, and asks its size.</summary>
    public static MemoryFile Adopt(SafeFileHandle handle)
    {
        var size = Libc.Lseek(handle, 0, SeekEnd);
        return size < 0 ? throw Libc.Failure("a passed descriptor is no memory file") : new(handle, size);
    }

    /// <summary>Makes the file longer or shorter. Mapped pages beyond a new end fault when touched.</summary>
    public void Resize(long size)
    {
        if (Libc.Ftruncate(Handle, size) != 0)
        {
            throw Libc.Failure($"sizing a memory file to {size} bytes failed: is there enough memory?");
        }

        Size = size;
    }

    /// <summary>Maps part of the file, shared.</summary>
    public MappedMemory Map(long offset, long length, bool writable)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, Size - offset);
        return MappedMemory.MapShared(Handle, offset, length, writable);
    }

    /// <summary>Maps the whole file to be run as code, not to be written.</summary>
    public MappedMemory MapExecutable() => MappedMemory.MapExecutable(Handle, 0, Size);

    /// <summary>Gives the memory of a range back; it reads as zero afterwards, in every mapping.</summary>
    public void PunchHole(long offset, long length)
    {
        if (Libc.Fallocate(Handle, Libc.FallocPunchHole | Libc.FallocKeepSize, offset, length) != 0)
        {
            throw Libc.Failure($"giving back {length} bytes at offset 0x{offset:x} of a memory file failed");
        }
    }

    /// <summary>Closes the descriptor. Mappings stay.</summary>
    public void Dispose() => Handle.Dispose();
}
