using System.Text;
using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Xen;

/// <summary>Xen's libraries, opened for the release that runs.</summary>
internal sealed class XenLibraries : IDisposable
{
    private XenLibraries(LibXenCall call, XenRelease release, string version, ILibraryLoader loader)
    {
        Call = call;
        Release = release;
        Version = version;
        Control = new LibXenCtrl(loader, release);
        try
        {
            ForeignMemory = new LibXenForeignMemory(loader);
            EventChannels = new LibXenEvtchn(loader);
            Store = new LibXenStore(loader);
        }
        catch
        {
            ForeignMemory?.Dispose();
            Control.Dispose();
            throw;
        }
    }

    /// <summary>The release that runs.</summary>
    public XenRelease Release { get; }

    /// <summary>Its version in full: <c>4.17.5</c>.</summary>
    public string Version { get; }

    /// <summary>libxencall.</summary>
    public LibXenCall Call { get; }

    /// <summary>libxenctrl.</summary>
    public LibXenCtrl Control { get; }

    /// <summary>libxenforeignmemory.</summary>
    public LibXenForeignMemory ForeignMemory { get; }

    /// <summary>libxenevtchn.</summary>
    public LibXenEvtchn EventChannels { get; }

    /// <summary>libxenstore.</summary>
    public LibXenStore Store { get; }

    /// <summary>Opens them all: libxencall first, which is the same for all releases, to ask which one runs.</summary>
    /// <exception cref="HypervisorException">One line that names what is missing, and its remedy.</exception>
    public static XenLibraries Open(ILibraryLoader loader)
    {
        var call = new LibXenCall(loader);
        try
        {
            var running = call.Call(HypercallNumber.XenVersion, XenVersionOp.Version);
            if (running < 0)
            {
                throw new HypervisorException((Errno)(-running), "asking Xen for its version failed: run as root, on Xen as dom0");
            }

            var (major, minor) = (running >> 16, running & 0xffff);
            return new(call, XenRelease.For(major, minor), $"{major}.{minor}{ReadExtraVersion(call)}", loader);
        }
        catch
        {
            call.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        ForeignMemory.Dispose();
        Control.Dispose();
        Call.Dispose();
    }

    private static string ReadExtraVersion(LibXenCall call)
    {
        Span<byte> text = stackalloc byte[XenVersionOp.ExtraVersionBytes];
        text.Clear();
        if (call.Call(HypercallNumber.XenVersion, XenVersionOp.ExtraVersion, text) < 0)
        {
            return "";
        }

        var end = text.IndexOf((byte)0);
        return Encoding.ASCII.GetString(end < 0 ? text : text[..end]);
    }
}
