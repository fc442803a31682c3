namespace Introspect.Rules.Handlers;

/// <summary>
/// A handler that may be away for a while, as one is whose process is being started anew: its events are answered by its
/// fail policy meanwhile, and that is no failure of its own.
/// </summary>
internal interface IAbsentHandler
{
    /// <summary>It cannot be asked now.</summary>
    bool IsAway { get; }
}
