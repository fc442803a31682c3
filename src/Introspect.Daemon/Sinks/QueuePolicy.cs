namespace Introspect.Daemon.Sinks;

/// <summary>What happens to records when a sink does not keep up.</summary>
internal enum QueuePolicy
{
    /// <summary>A record that finds the queue full is lost for the sink, and counted.</summary>
    DropNewest,

    /// <summary>
    /// Whoever has a record waits until there is room, and in the end the guest: nothing is lost but what a receiver will
    /// never take.
    /// </summary>
    Block,

    /// <summary>While more than half of the queue is taken, one record in so many is kept; the others are counted.</summary>
    Sample,
}
