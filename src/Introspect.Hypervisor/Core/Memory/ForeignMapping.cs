namespace Introspect.Hypervisor.Core.Memory;

/// <summary>Guest pages mapped contiguously into this process. Disposing unmaps them.</summary>
internal abstract class ForeignMapping : IDisposable
{
    /// <summary>Native address of the first page.</summary>
    public abstract nint Address { get; }

    /// <summary>Bytes mapped.</summary>
    public abstract long Length { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Unmaps the pages.</summary>
    protected abstract void Dispose(bool disposing);
}
