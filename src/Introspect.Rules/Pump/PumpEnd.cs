namespace Introspect.Rules.Pump;

/// <summary>How a pump ended.</summary>
public enum PumpEndKind
{
    /// <summary>It was told to.</summary>
    Stopped,

    /// <summary>The domain is gone.</summary>
    DomainGone,

    /// <summary>It could not start or could not go on.</summary>
    Failed,
}

/// <summary>How a pump ended, and why.</summary>
/// <param name="Kind">How.</param>
/// <param name="Exception">Why, where it was not told to.</param>
public sealed record PumpEnd(PumpEndKind Kind, Exception? Exception = null);
