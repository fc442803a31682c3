using Introspect.Hypervisor.Linux;
using Introspect.Hypervisor.Ring;
using Microsoft.Win32.SafeHandles;

namespace Introspect.Hypervisor.Core.Host;

/// <summary>
/// What the hypervisor must tell beside <see cref="Hypercalls.IToolstack"/> so that another process can share a
/// guest's memory and event channels: the descriptors behind them. The hypervisor in this process implements it.
/// Calls come from several threads.
/// </summary>
internal interface IDescriptorSource
{
    /// <summary>
    /// Tells where guest pages are, with the checks of <c>MapForeign</c>. Until the export is disposed the pages
    /// stay what they are, even when they are taken out of the physmap, as pages do that are mapped on Xen.
    /// </summary>
    /// <returns>0, or a negated errno; a gfn that is not there fails the whole call with EFAULT.</returns>
    int ExportForeign(ushort domain, ReadOnlySpan<ulong> gfns, bool writable, out ForeignExport? export);

    /// <summary>Binds a domain's event channel port, with the checks of <c>BindInterdomain</c>.</summary>
    /// <param name="domain">The domain.</param>
    /// <param name="remotePort">Its port.</param>
    /// <param name="channel">The end bound in this process: its <c>Notify</c> is called when the other process signals; disposing it unbinds.</param>
    /// <param name="fromRemote">What the hypervisor raises for this end; valid until the channel is disposed, and waited for by nobody else.</param>
    /// <returns>0, or a negated errno.</returns>
    int ExportEventChannel(ushort domain, uint remotePort, out EventChannel? channel, out EventFd? fromRemote);
}

/// <summary>Pages that lie together in a file.</summary>
/// <param name="File">The file; stays its owner's.</param>
/// <param name="Offset">Offset of the first page, a multiple of 4096.</param>
/// <param name="Pages">How many.</param>
internal readonly record struct ForeignRun(SafeFileHandle File, long Offset, int Pages);

/// <summary>Guest pages as runs of files, in the order of the gfns that were asked for.</summary>
internal abstract class ForeignExport : IDisposable
{
    /// <summary>The runs; their pages add up to the number of gfns.</summary>
    public abstract IReadOnlyList<ForeignRun> Runs { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Lets go of the pages.</summary>
    protected abstract void Dispose(bool disposing);
}
