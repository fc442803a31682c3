using System.Runtime.InteropServices;
using System.Text;

namespace Introspect.Hypervisor.Xen;

/// <summary>libxenstore: the small database that the domains and the toolstack share.</summary>
internal sealed unsafe class LibXenStore
{
    private readonly delegate* unmanaged<nuint, nint> _open;
    private readonly delegate* unmanaged<nint, void> _close;
    private readonly delegate* unmanaged<nint, int> _descriptor;
    private readonly delegate* unmanaged<nint, uint, byte*, uint*, byte*> _read;
    private readonly delegate* unmanaged<nint, uint, byte*, byte*, uint, byte> _write;
    private readonly delegate* unmanaged<nint, byte*, byte*, byte> _watch;
    private readonly delegate* unmanaged<nint, byte**> _checkWatch;

    /// <summary>Opens the library.</summary>
    public LibXenStore(ILibraryLoader loader)
    {
        var library = SharedLibrary.Open(loader, XenLibraryNames.Store);
        _open = (delegate* unmanaged<nuint, nint>)library.Find("xs_open");
        _close = (delegate* unmanaged<nint, void>)library.Find("xs_close");
        _descriptor = (delegate* unmanaged<nint, int>)library.Find("xs_fileno");
        _read = (delegate* unmanaged<nint, uint, byte*, uint*, byte*>)library.Find("xs_read");
        _write = (delegate* unmanaged<nint, uint, byte*, byte*, uint, byte>)library.Find("xs_write");
        _watch = (delegate* unmanaged<nint, byte*, byte*, byte>)library.Find("xs_watch");
        _checkWatch = (delegate* unmanaged<nint, byte**>)library.Find("xs_check_watch");
    }

    /// <summary>Connects to xenstored.</summary>
    public Connection Open() => _open(0) is var handle and not 0
        ? new(this, handle)
        : throw NativeResult.Failure("connecting to xenstore failed: is xenstored running?");

    /// <summary>A connection to xenstored. Any thread may use it.</summary>
    public sealed class Connection : IDisposable
    {
        private readonly LibXenStore _library;
        private nint _handle;

        internal Connection(LibXenStore library, nint handle) => (_library, _handle) = (library, handle);

        /// <summary>What to poll for watches.</summary>
        public int Descriptor => _library._descriptor(_handle);

        /// <summary>Reads an entry; null when there is none.</summary>
        public string? Read(string path)
        {
            // SAFETY: a terminated path, and a result that is ours to free, of the length that is told.
            fixed (byte* name = Terminated(path))
            {
                uint length;
                var value = _library._read(_handle, 0, name, &length);
                if (value == null)
                {
                    return null;
                }

                var text = Encoding.UTF8.GetString(value, checked((int)length));
                NativeMemory.Free(value);
                return text;
            }
        }

        /// <summary>Writes an entry.</summary>
        /// <returns>0, or a negated errno.</returns>
        public int Write(string path, string value)
        {
            var bytes = Terminated(value);

            // SAFETY: a terminated path, and as many bytes as are said.
            fixed (byte* name = Terminated(path), data = bytes)
            {
                return _library._write(_handle, 0, name, data, (uint)bytes.Length - 1) != 0 ? 0 : NativeResult.LastError();
            }
        }

        /// <summary>Asks to be told of changes at a path. The first telling comes at once.</summary>
        public void Watch(string path)
        {
            // SAFETY: two terminated strings, which the library copies.
            fixed (byte* name = Terminated(path))
            {
                if (_library._watch(_handle, name, name) == 0)
                {
                    throw NativeResult.Failure($"watching {path} in xenstore failed");
                }
            }
        }

        /// <summary>Takes one telling; what of does not matter here.</summary>
        /// <returns>False when there is none.</returns>
        public bool TryTakeWatch()
        {
            // SAFETY: one block of memory with the pointers and the strings, ours to free.
            var told = _library._checkWatch(_handle);
            NativeMemory.Free(told);
            return told != null;
        }

        /// <inheritdoc/>
        public void Dispose()
        {
            var handle = Interlocked.Exchange(ref _handle, 0);
            if (handle != 0)
            {
                _library._close(handle);
            }
        }

        private static byte[] Terminated(string text)
        {
            var bytes = new byte[Encoding.UTF8.GetByteCount(text) + 1];
            Encoding.UTF8.GetBytes(text, bytes);
            return bytes;
        }
    }
}
