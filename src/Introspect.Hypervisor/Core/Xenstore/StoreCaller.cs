namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>Who looks at nodes or changes them.</summary>
/// <param name="Domain">By what number permissions know it.</param>
/// <param name="IsToolstack">It may do everything, and has no quota.</param>
internal readonly record struct StoreCaller(ushort Domain, bool IsToolstack)
{
    /// <summary>The toolstack, to which a store's own nodes belong. Guests know it by that number.</summary>
    public static StoreCaller Toolstack { get; } = new(0, IsToolstack: true);
}
