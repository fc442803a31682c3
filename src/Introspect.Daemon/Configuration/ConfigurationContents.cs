using System.Text;
using Introspect.Daemon.Cli;

namespace Introspect.Daemon.Configuration;

/// <summary>
/// What is in files: equal where nothing changed. The bytes themselves, which are few: a digest would come from OpenSSL,
/// which a dom0 need not have.
/// </summary>
internal static class ConfigurationContents
{
    /// <summary>Of files.</summary>
    public static byte[] Of(IEnumerable<string> files)
    {
        using var contents = new MemoryStream();
        using var writer = new BinaryWriter(contents, Encoding.UTF8);
        foreach (var file in files)
        {
            writer.Write(file);
            try
            {
                var bytes = File.ReadAllBytes(file);
                writer.Write(bytes.Length);
                writer.Write(bytes);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Gone, or out of reach: that is a state, too.
                writer.Write(-1);
            }
        }

        return contents.ToArray();
    }

    /// <summary>Of a file that may be large, as a kernel's image: its length, and when it was written.</summary>
    public static byte[] OfLarge(string file)
    {
        var about = new FileInfo(file);
        return about.Exists ? [.. BitConverter.GetBytes(about.Length), .. BitConverter.GetBytes(about.LastWriteTimeUtc.Ticks)] : [];
    }

    /// <summary>The files of a configuration, as far as they can be found.</summary>
    public static IReadOnlyList<string> FilesOf(string path)
    {
        try
        {
            return ConfigurationFiles.Of(path);
        }
        catch (UserError)
        {
            return [path];
        }
    }
}
