namespace Introspect.Hypervisor.Core.Saving;

/// <summary>Looks at a saved domain without a place to restore it to: reading it is checking it.</summary>
internal sealed class SavedDomainInspector : ISavedDomainSink
{
    private readonly List<SavedExtra> _extras = [];

    /// <summary>What it is.</summary>
    public SavedDomainInfo Info { get; private set; } = null!;

    /// <summary>What CPUID told it.</summary>
    public SavedCpuPolicy Policy { get; private set; } = null!;

    /// <summary>What was kept with it.</summary>
    public IReadOnlyList<SavedExtra> Extras => _extras;

    /// <summary>Pages that it has.</summary>
    public long Pages { get; private set; }

    /// <inheritdoc/>
    public void Begin(SavedDomainInfo info, SavedCpuPolicy policy, SavedStreamReader reader) => (Info, Policy) = (info, policy);

    /// <inheritdoc/>
    public void Extra(string name, ReadOnlySpan<byte> value, SavedStreamReader reader) => _extras.Add(new(name, value.ToArray()));

    /// <inheritdoc/>
    public void Frames(in SavedFrames frames, SavedStreamReader reader) => Pages += frames.Count;
}
