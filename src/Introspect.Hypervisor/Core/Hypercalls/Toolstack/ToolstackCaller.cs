namespace Introspect.Hypervisor.Core.Hypercalls.Toolstack;

/// <summary>Who asks: what Xen takes from the calling domain.</summary>
/// <param name="DomainId">Domain number of the caller; 0 for the control domain.</param>
/// <param name="IsControl">May operate other domains (<c>d->is_privileged</c>).</param>
internal readonly record struct ToolstackCaller(ushort DomainId, bool IsControl)
{
    /// <summary>The control domain.</summary>
    public static readonly ToolstackCaller Control = new(0, true);
}
