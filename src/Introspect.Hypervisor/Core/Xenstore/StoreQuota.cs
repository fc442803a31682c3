namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>What a guest may have, which are xenstored's defaults. The toolstack has no limits.</summary>
internal static class StoreQuota
{
    /// <summary>Nodes that a domain owns.</summary>
    public const int Nodes = 1000;

    /// <summary>Bytes of a node: permissions, value and names of its children.</summary>
    public const int NodeBytes = 2048;

    /// <summary>Entries in a node's list of permissions.</summary>
    public const int Permissions = 5;

    /// <summary>Watches.</summary>
    public const int Watches = 128;

    /// <summary>Open transactions.</summary>
    public const int Transactions = 10;

    /// <summary>Nodes that a transaction looks at.</summary>
    public const int TransactionNodes = 1024;

    /// <summary>Bytes of answers that a guest does not read before its next request is looked at.</summary>
    public const int UnreadAnswers = 16 * 1024;

    /// <summary>Bytes of answers and events that wait for a guest: more events are lost.</summary>
    public const int Unread = 512 * 1024;
}
