using Introspect.Daemon.Sinks;

namespace Introspect.Daemon.Configuration;

/// <summary>What single sinks do that do not keep up. Equal where they say the same.</summary>
internal sealed class QueuePolicies(IReadOnlyDictionary<string, QueuePolicy> policies) : IEquatable<QueuePolicies>
{
    private readonly IReadOnlyDictionary<string, QueuePolicy> _policies = policies;

    /// <summary>Nothing is said of any.</summary>
    public static QueuePolicies None { get; } = new(new Dictionary<string, QueuePolicy>());

    /// <summary>What is said of a sink; null where nothing is.</summary>
    public QueuePolicy? Of(string sink) => _policies.TryGetValue(sink, out var policy) ? policy : null;

    /// <inheritdoc/>
    public bool Equals(QueuePolicies? other) => other is not null && _policies.Count == other._policies.Count && _policies.All(p => other.Of(p.Key) == p.Value);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as QueuePolicies);

    /// <inheritdoc/>
    public override int GetHashCode() => _policies.Count;
}
