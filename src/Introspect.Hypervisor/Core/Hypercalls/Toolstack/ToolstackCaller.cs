using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Core.Hypercalls.Toolstack;

/// <summary>Who asks: what Xen takes from the calling domain. What it may do is said by <see cref="CallerRights"/> alone.</summary>
/// <param name="DomainId">Domain number of the caller.</param>
/// <param name="IsControl">It is a control domain (<c>d->is_privileged</c>).</param>
internal readonly record struct ToolstackCaller(ushort DomainId, bool IsControl)
{
    /// <summary>What is outside of all guests: the boot domain, which has control rights for good.</summary>
    public static readonly ToolstackCaller Control = new(BootDomain.Number, IsControl: true);

    /// <summary>It is the domain with xenstore in it.</summary>
    public bool IsXenstore { get; init; }

    /// <summary>A guest as a caller.</summary>
    public static ToolstackCaller Of(Domain domain) => new(domain.Id.Value, domain.IsControlDomain)
    {
        IsXenstore = (domain.Config.Flags & CreateDomainFlags.XsDomain) != 0,
    };
}
