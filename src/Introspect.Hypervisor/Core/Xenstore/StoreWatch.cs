namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>What somebody wants to be told of.</summary>
/// <param name="Path">Changes there or below.</param>
/// <param name="Token">What the watcher calls it, one byte a character.</param>
/// <param name="HomeLength">Characters that paths in events lack at their beginning: it was set with a relative path.</param>
/// <param name="Depth">How many levels below count; -1: all.</param>
internal sealed record StoreWatch(string Path, string Token, int HomeLength, int Depth)
{
    /// <summary>A change is one to be told of.</summary>
    public bool Covers(string path, bool isExact)
    {
        var levels = StorePath.LevelsBelow(path, Path);
        return isExact ? levels == 0 : levels >= 0 && (Depth < 0 || levels <= Depth);
    }

    /// <summary>How its watcher knows a path.</summary>
    public string Tell(string path) => path[HomeLength..];
}
