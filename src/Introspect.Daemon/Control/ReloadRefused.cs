namespace Introspect.Daemon.Control;

/// <summary>The service did not take the new configuration over.</summary>
internal sealed class ReloadRefused(IReadOnlyList<string> mistakes) : Exception("the configuration was not taken over")
{
    /// <summary>Why, a line each.</summary>
    public IReadOnlyList<string> Mistakes { get; } = mistakes;
}
