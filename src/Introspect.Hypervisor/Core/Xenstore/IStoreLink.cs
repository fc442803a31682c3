namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>The guest's end of a connection.</summary>
internal interface IStoreLink
{
    /// <summary>The page with the ring. It stays where it is as long as the connection is known to the store.</summary>
    Span<byte> Page { get; }

    /// <summary>The page is not to be touched for now: the domain is being saved, or forks look at it.</summary>
    bool IsStill { get; }

    /// <summary>Tells the guest that the ring changed.</summary>
    void Signal();
}
