using System.Globalization;

namespace Introspect.Rules.Capture;

/// <summary>A file is no capture, or is damaged. The only exception that reading one's content can end in.</summary>
public sealed class CaptureException : Exception
{
    internal CaptureException(long offset, string message, Exception? inner = null)
        : base(message, inner) => Offset = offset;

    /// <summary>Where in the file it shows, in bytes from the start: the begin of the damaged block.</summary>
    public long Offset { get; }

    internal static CaptureException InBlock(uint ordinal, long offset, string what, Exception? inner = null) =>
        new(offset, string.Create(CultureInfo.InvariantCulture, $"block {ordinal} at offset 0x{offset:x} {what}; copy the file again, or record anew"), inner);
}
