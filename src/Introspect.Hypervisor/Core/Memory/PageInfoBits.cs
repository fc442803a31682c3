namespace Introspect.Hypervisor.Core.Memory;

/// <summary>What is known of a machine page, one byte each.</summary>
[Flags]
internal enum PageInfoBits : byte
{
    None = 0,

    /// <summary>Instructions of the page are in a decode cache: a store must tell it.</summary>
    HasCode = 1,

    /// <summary>Somebody may be storing to the page without a look at these notes: by a TLB entry, or in this moment.</summary>
    Stored = 2,
}
