using System.Text;

namespace Introspect.Hypervisor.Core.Xenstore;

/// <summary>Names of nodes: as a guest says them, and as they are.</summary>
internal static class StorePath
{
    /// <summary>Most characters of an absolute path (<c>XENSTORE_ABS_PATH_MAX</c>).</summary>
    public const int MostAbsolute = 3072;

    /// <summary>Most characters of a path, counted from a domain's own where it is below one (<c>XENSTORE_REL_PATH_MAX</c>).</summary>
    public const int MostRelative = 2048;

    private const string Domains = "/local/domain/";

    /// <summary>Where a domain's nodes are.</summary>
    public static string Of(ushort domain) => $"{Domains}{domain}";

    /// <summary>What follows in messages behind a path is no part of it: the text is ended by the payload or by a NUL before.</summary>
    /// <param name="text">What was said.</param>
    /// <param name="home">Where relative paths begin.</param>
    /// <param name="path">The absolute path.</param>
    /// <returns>False: it is none.</returns>
    public static bool TryResolve(ReadOnlySpan<byte> text, string home, out string path)
    {
        path = "";
        if (text.IsEmpty || text.Length > MostAbsolute || !HasOnlyAllowed(text) || text[0] == (byte)'@')
        {
            return false;
        }

        var said = Encoding.ASCII.GetString(text);
        var whole = said[0] == '/' ? said : $"{home}/{said}";
        if (whole.Length > MostAbsolute || whole.Length - LengthOfHome(whole) > MostRelative
            || (whole.Length > 1 && whole[^1] == '/') || whole.Contains("//", StringComparison.Ordinal))
        {
            return false;
        }

        path = whole;
        return true;
    }

    /// <summary>
    /// What a guest may watch: a node, or what begins with <c>@</c>, as <c>@releaseDomain</c>. Of such a name nothing matters
    /// but its length: the guest is told of none of them, as it may read none.
    /// </summary>
    /// <param name="text">What was said.</param>
    /// <param name="home">Where relative paths begin.</param>
    /// <param name="path">The absolute path, or the name as it was said, one byte a character.</param>
    /// <returns>False: it is neither.</returns>
    public static bool TryResolveWatched(ReadOnlySpan<byte> text, string home, out string path)
    {
        if (text is not [(byte)'@', ..])
        {
            return TryResolve(text, home, out path);
        }

        path = Encoding.Latin1.GetString(text);
        return text.Length <= MostRelative;
    }

    /// <summary>What is watched is no node.</summary>
    public static bool IsSpecial(string path) => path is ['@', ..];

    /// <summary>A path is another one or below it.</summary>
    public static bool IsAtOrBelow(string path, string ancestor) => LevelsBelow(path, ancestor) >= 0;

    /// <summary>How many levels a path is below another one; 0: it is the same; -1: it is not below it.</summary>
    public static int LevelsBelow(string path, string ancestor)
    {
        if (ancestor is "/")
        {
            return path.Length == 1 ? 0 : path.AsSpan().Count('/');
        }

        if (!path.StartsWith(ancestor, StringComparison.Ordinal) || (path.Length > ancestor.Length && path[ancestor.Length] != '/'))
        {
            return -1;
        }

        return path.AsSpan(ancestor.Length).Count('/');
    }

    /// <summary>The path above; the root's is itself.</summary>
    public static string ParentOf(string path) => path.LastIndexOf('/') is var slash and > 0 ? path[..slash] : "/";

    /// <summary>The last part of a path.</summary>
    public static string NameOf(string path) => path[(path.LastIndexOf('/') + 1)..];

    /// <summary>A child's path.</summary>
    public static string Below(string path, string name) => path.Length == 1 ? $"/{name}" : $"{path}/{name}";

    private static bool HasOnlyAllowed(ReadOnlySpan<byte> text)
    {
        foreach (var c in text)
        {
            if (!char.IsAsciiLetterOrDigit((char)c) && c is not ((byte)'-' or (byte)'/' or (byte)'_' or (byte)'@'))
            {
                return false;
            }
        }

        return true;
    }

    // The characters of "/local/domain/N/", where a path begins so.
    private static int LengthOfHome(string path)
    {
        const int MostDigits = 5;
        if (!path.StartsWith(Domains, StringComparison.Ordinal))
        {
            return 0;
        }

        var end = path.IndexOf('/', Domains.Length);
        var digits = end < 0 ? 0 : end - Domains.Length;
        return digits is > 0 and <= MostDigits && !path.AsSpan(Domains.Length, digits).ContainsAnyExceptInRange('0', '9') ? end + 1 : 0;
    }
}
