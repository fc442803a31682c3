using Introspect.Daemon.Cli;

namespace Introspect.Daemon.Configuration;

/// <summary>
/// The files of a configuration: one that is named, and those of the folder <c>conf.d</c> beside it, in the order of
/// their names.
/// </summary>
internal static class ConfigurationFiles
{
    /// <summary>The folder beside the file.</summary>
    public const string FolderName = "conf.d";

    /// <summary>What the folder's files end in; others are not read.</summary>
    public const string Extension = ".yaml";

    /// <summary>The folder of more files, which need not be there.</summary>
    public static string FolderOf(string path) => Path.Combine(Path.GetDirectoryName(Path.GetFullPath(path)) ?? "/", FolderName);

    /// <summary>The files that are there, in the order in which they are read.</summary>
    /// <exception cref="UserError">The folder cannot be read.</exception>
    public static IReadOnlyList<string> Of(string path)
    {
        var folder = FolderOf(path);
        try
        {
            var more = Directory.Exists(folder) ? Directory.GetFiles(folder) : [];
            return [path, .. more.Where(IsRead).Order(StringComparer.Ordinal)];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw UserError.Failure($"configuration '{folder}': it cannot be read: {e.Message}; let the service read it", e);
        }
    }

    // Hidden files are what editors keep beside the one that they change.
    private static bool IsRead(string file) =>
        file.EndsWith(Extension, StringComparison.Ordinal) && !Path.GetFileName(file).StartsWith('.');
}
