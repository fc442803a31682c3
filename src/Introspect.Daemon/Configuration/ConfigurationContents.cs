using System.Text;
using Introspect.Daemon.Cli;

namespace Introspect.Daemon.Configuration;

/// <summary>
/// What is in the files of a configuration: equal where nothing changed. The bytes themselves, which are few: a digest
/// would come from OpenSSL, which a dom0 need not have.
/// </summary>
internal static class ConfigurationContents
{
    /// <summary>Of the files that a path stands for, and of some more.</summary>
    public static byte[] Of(string path, params IReadOnlyList<string> more)
    {
        using var contents = new MemoryStream();
        using var writer = new BinaryWriter(contents, Encoding.UTF8);
        foreach (var file in Files(path).Union(more))
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

    private static IReadOnlyList<string> Files(string path)
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
