namespace Introspect.Hypervisor.Xen;

/// <summary>libxencall: hypercalls as they are, with memory that the hypervisor may touch.</summary>
internal sealed unsafe class LibXenCall : IDisposable
{
    private readonly delegate* unmanaged<nint, int> _close;
    private readonly delegate* unmanaged<nint, uint, ulong, int> _call1;
    private readonly delegate* unmanaged<nint, uint, ulong, ulong, int> _call2;
    private readonly delegate* unmanaged<nint, nuint, void*> _allocate;
    private readonly delegate* unmanaged<nint, void*, void> _free;
    private nint _handle;

    /// <summary>Opens the library and the device behind it.</summary>
    public LibXenCall(ILibraryLoader loader)
    {
        var library = SharedLibrary.Open(loader, XenLibraryNames.Call);
        var open = (delegate* unmanaged<nint, uint, nint>)library.Find("xencall_open");
        _close = (delegate* unmanaged<nint, int>)library.Find("xencall_close");
        _call1 = (delegate* unmanaged<nint, uint, ulong, int>)library.Find("xencall1");
        _call2 = (delegate* unmanaged<nint, uint, ulong, ulong, int>)library.Find("xencall2");
        _allocate = (delegate* unmanaged<nint, nuint, void*>)library.Find("xencall_alloc_buffer");
        _free = (delegate* unmanaged<nint, void*, void>)library.Find("xencall_free_buffer");

        // SAFETY: the signatures here and below are those of xencall.h, which has not changed since Xen 4.7.
        _handle = open(QuietLogger.Address, 0);
        if (_handle == 0)
        {
            throw NativeResult.Failure("opening /dev/xen/privcmd for hypercalls failed: run as root, on Xen as dom0, with the module xen-privcmd loaded");
        }
    }

    /// <summary>A hypercall whose only argument is a structure, in and out.</summary>
    public int Call(uint number, Span<byte> structure)
    {
        using var memory = Allocate(structure);
        var result = NativeResult.Of(_call1(_handle, number, memory.Address));
        memory.CopyTo(structure);
        return result;
    }

    /// <summary>A hypercall with a command and a structure, in and out.</summary>
    public int Call(uint number, ulong command, Span<byte> structure)
    {
        using var memory = Allocate(structure);
        var result = NativeResult.Of(_call2(_handle, number, command, memory.Address));
        memory.CopyTo(structure);
        return result;
    }

    /// <summary>A hypercall with a command alone.</summary>
    public int Call(uint number, ulong command) => NativeResult.Of(_call2(_handle, number, command, 0));

    /// <summary>Memory that the hypervisor may touch, with these contents; none for an empty span.</summary>
    public HypercallMemory Allocate(ReadOnlySpan<byte> contents)
    {
        if (contents.IsEmpty)
        {
            return default;
        }

        var address = _allocate(_handle, (nuint)contents.Length);
        if (address == null)
        {
            throw NativeResult.Failure($"taking {contents.Length} bytes for a hypercall failed");
        }

        contents.CopyTo(new Span<byte>(address, contents.Length));
        return new(this, address);
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

    /// <summary>Memory for a hypercall, given back when it is disposed of.</summary>
    public readonly ref struct HypercallMemory
    {
        private readonly LibXenCall? _owner;
        private readonly void* _address;

        internal HypercallMemory(LibXenCall owner, void* address)
        {
            _owner = owner;
            _address = address;
        }

        /// <summary>Its address, as a guest handle holds it.</summary>
        public ulong Address => (ulong)_address;

        /// <summary>Copies out what the hypervisor left there.</summary>
        public void CopyTo(Span<byte> destination)
        {
            if (_owner is not null)
            {
                // SAFETY: as many bytes were allocated as the span had that they were allocated for.
                new ReadOnlySpan<byte>(_address, destination.Length).CopyTo(destination);
            }
        }

        public void Dispose() => _owner?.Free(_address);
    }

    private void Free(void* address) => _free(_handle, address);
}
