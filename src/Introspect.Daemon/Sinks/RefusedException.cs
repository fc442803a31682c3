namespace Introspect.Daemon.Sinks;

/// <summary>A receiver will never take records: they are lost whatever the policy, and to send them again is of no use.</summary>
internal sealed class RefusedException(string message, Exception? inner = null) : IOException(message, inner)
{
    /// <summary>
    /// The record that was to be written is the one that is refused. Otherwise it was not looked at: the sink had taken the
    /// refused ones before, has counted them as lost, and has room again.
    /// </summary>
    public bool IsOfThisRecord { get; init; }
}
