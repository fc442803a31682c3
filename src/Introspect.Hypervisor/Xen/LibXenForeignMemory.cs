using Introspect.Hypervisor.Core.Memory;
using Introspect.Hypervisor.Linux;

namespace Introspect.Hypervisor.Xen;

/// <summary>libxenforeignmemory: guests' pages in this process.</summary>
internal sealed unsafe class LibXenForeignMemory : IDisposable
{
    private readonly delegate* unmanaged<nint, int> _close;
    private readonly delegate* unmanaged<nint, uint, int, nuint, ulong*, int*, void*> _map;
    private readonly delegate* unmanaged<nint, void*, nuint, int> _unmap;
    private nint _handle;

    /// <summary>Opens the library and the device behind it.</summary>
    public LibXenForeignMemory(ILibraryLoader loader)
    {
        var library = SharedLibrary.Open(loader, XenLibraryNames.ForeignMemory);
        var open = (delegate* unmanaged<nint, uint, nint>)library.Find("xenforeignmemory_open");
        _close = (delegate* unmanaged<nint, int>)library.Find("xenforeignmemory_close");
        _map = (delegate* unmanaged<nint, uint, int, nuint, ulong*, int*, void*>)library.Find("xenforeignmemory_map");
        _unmap = (delegate* unmanaged<nint, void*, nuint, int>)library.Find("xenforeignmemory_unmap");

        // SAFETY: the signatures are those of xenforeignmemory.h, which only grew since Xen 4.7.
        _handle = open(QuietLogger.Address, 0);
        if (_handle == 0)
        {
            throw NativeResult.Failure("opening /dev/xen/privcmd for guests' memory failed: run as root, on Xen as dom0");
        }
    }

    /// <summary>Maps pages one behind the other.</summary>
    /// <returns>0, or a negated errno; EFAULT where one of them is not there.</returns>
    public int Map(ushort domain, ReadOnlySpan<ulong> gfns, bool writable, out ForeignMapping? mapping)
    {
        mapping = null;
        var errors = gfns.Length <= 64 ? stackalloc int[gfns.Length] : new int[gfns.Length];
        var protection = Libc.ProtRead | (writable ? Libc.ProtWrite : 0);
        void* address;

        // SAFETY: both lists have as many entries as are said, and stay where they are for the call.
        fixed (ulong* frames = gfns)
        fixed (int* failed = errors)
        {
            address = _map(_handle, domain, protection, (nuint)gfns.Length, frames, failed);
            if (address == null)
            {
                return NativeResult.LastError();
            }
        }

        foreach (var error in errors)
        {
            if (error != 0)
            {
                _ = _unmap(_handle, address, (nuint)gfns.Length);

                // A frame without a page is EINVAL to the kernel; one that is paged out is ENOENT.
                return error is -(int)Errno.EINVAL or -(int)Errno.ENOENT ? -(int)Errno.EFAULT : error;
            }
        }

        mapping = new Pages(this, address, gfns.Length);
        return 0;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        var handle = Interlocked.Exchange(ref _handle, 0);
        if (handle != 0)
        {
            _ = _close(handle);
        }
    }

    private sealed class Pages(LibXenForeignMemory library, void* address, int count) : ForeignMapping
    {
        private void* _address = address;

        public override nint Address => (nint)_address;

        public override long Length => (long)count * Gfn.PageSize;

        protected override void Dispose(bool disposing)
        {
            // The library's unmapping does not look at its handle, which may be closed already.
            if (disposing && _address != null)
            {
                _ = library._unmap(library._handle, _address, (nuint)count);
                _address = null;
            }
        }
    }
}
