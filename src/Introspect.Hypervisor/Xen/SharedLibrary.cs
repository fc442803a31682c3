using System.Runtime.InteropServices;

namespace Introspect.Hypervisor.Xen;

/// <summary>Where shared libraries come from.</summary>
internal interface ILibraryLoader
{
    /// <summary>Opens a library.</summary>
    bool TryLoad(string soname, out nint library);

    /// <summary>Finds a function of a library.</summary>
    bool TryFind(nint library, string symbol, out nint address);
}

/// <summary>The system's dynamic linker. What it opened stays open: another user of the library would have it again.</summary>
internal sealed class SystemLibraryLoader : ILibraryLoader
{
    /// <inheritdoc/>
    public bool TryLoad(string soname, out nint library) => NativeLibrary.TryLoad(soname, out library);

    /// <inheritdoc/>
    public bool TryFind(nint library, string symbol, out nint address) => NativeLibrary.TryGetExport(library, symbol, out address);
}

/// <summary>One of Xen's libraries, opened by the first of its names that is there.</summary>
internal sealed class SharedLibrary
{
    private readonly ILibraryLoader _loader;
    private readonly nint _handle;
    private readonly string _package;

    private SharedLibrary(ILibraryLoader loader, nint handle, string soname, string package) =>
        (_loader, _handle, Soname, _package) = (loader, handle, soname, package);

    /// <summary>The name under which it was found.</summary>
    public string Soname { get; }

    /// <summary>Opens a library.</summary>
    /// <param name="loader">Where from.</param>
    /// <param name="names">Its names, the best first.</param>
    /// <exception cref="HypervisorException">ENOENT: none of them is there.</exception>
    public static SharedLibrary Open(ILibraryLoader loader, XenLibraryNames names)
    {
        foreach (var soname in names.Sonames)
        {
            if (loader.TryLoad(soname, out var handle))
            {
                return new(loader, handle, soname, names.Package);
            }
        }

        throw new HypervisorException(Errno.ENOENT, $"{names.Sonames[0]} is missing: install the package {names.Package} (Debian's name)");
    }

    /// <summary>The address of a function.</summary>
    /// <exception cref="HypervisorException">ENOENT: there is none of that name.</exception>
    public nint Find(string symbol) => TryFind(symbol) is var address and not 0
        ? address
        : throw new HypervisorException(Errno.ENOENT, $"{Soname} has no function '{symbol}': install the package {_package} (Debian's name) anew");

    /// <summary>The address of a function, or 0 for one that this release of the library does not have.</summary>
    public nint TryFind(string symbol) => _loader.TryFind(_handle, symbol, out var address) ? address : 0;
}
