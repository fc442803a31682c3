using System.Security.Cryptography;
using System.Text;
using Introspect.Daemon.Cli;

namespace Introspect.Daemon.Configuration;

/// <summary>What is in the files of a configuration, in short: equal where nothing changed.</summary>
internal static class ConfigurationFingerprint
{
    /// <summary>Of the files that a path stands for, and of some more.</summary>
    public static byte[] Of(string path, params IReadOnlyList<string> more)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (var file in Files(path).Union(more))
        {
            hash.AppendData(Encoding.UTF8.GetBytes(file + "\n"));
            try
            {
                hash.AppendData(SHA256.HashData(File.ReadAllBytes(file)));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Gone, or out of reach: that is a state, too.
                hash.AppendData([0]);
            }
        }

        return hash.GetHashAndReset();
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
