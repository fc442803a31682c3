using Introspect.Hypervisor.Core.Saving;

namespace Introspect.Hypervisor.Tests.Saving;

/// <summary>Saved domains whose records were changed and whose checksums are right again: what an attacker makes.</summary>
internal static class ReSealed
{
    /// <summary>Changes records; null leaves one out.</summary>
    public static byte[] Change(byte[] saved, Func<SavedKind, byte[], byte[]?> change)
    {
        using var changed = new MemoryStream();
        var (reader, writer) = (new SavedStreamReader(new MemoryStream(saved), "saved"), new SavedStreamWriter(changed));
        while (reader.Next())
        {
            if (change(reader.Kind, reader.Payload.ToArray()) is { } payload && payload.Length <= SavedFormat.MostBytes(reader.Kind))
            {
                writer.Write(reader.Kind, payload);
            }
        }

        writer.End();
        return changed.ToArray();
    }

    /// <summary>Puts a record of any kind before the end, which knows nothing of it.</summary>
    public static byte[] Append(byte[] saved, SavedKind kind, byte[] payload)
    {
        var prefix = new byte[SavedFormat.PrefixBytes];
        BitConverter.TryWriteBytes(prefix, (uint)kind);
        BitConverter.TryWriteBytes(prefix.AsSpan(4), payload.Length);
        BitConverter.TryWriteBytes(prefix.AsSpan(8), Crc32C.Of(payload));
        BitConverter.TryWriteBytes(prefix.AsSpan(12), Crc32C.Of(prefix.AsSpan(0, 12)));
        var end = saved.Length - SavedFormat.PrefixBytes - SavedFormat.EndBytes;
        return [.. saved[..end], .. prefix, .. payload, .. saved[end..]];
    }
}
