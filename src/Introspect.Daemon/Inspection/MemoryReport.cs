using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Introspect.Daemon.Symbols;

namespace Introspect.Daemon.Inspection;

/// <summary>Memory as lines: 16 bytes each, an address before them.</summary>
internal static class MemoryReport
{
    private const int Line = 16;

    /// <summary>Appends the lines of some bytes.</summary>
    public static void Append(StringBuilder text, ulong address, ReadOnlySpan<byte> bytes, MemoryFormat format, ISymbolSource? symbols)
    {
        for (var at = 0; at < bytes.Length; at += Line)
        {
            var line = bytes.Slice(at, Math.Min(Line, bytes.Length - at));
            text.Append(CultureInfo.InvariantCulture, $"{address + (ulong)at:x16} ");
            if (format == MemoryFormat.U64)
            {
                AppendNumbers(text, line, symbols);
            }
            else
            {
                AppendBytes(text, line);
            }

            text.Append('\n');
        }
    }

    private static void AppendBytes(StringBuilder text, ReadOnlySpan<byte> line)
    {
        for (var i = 0; i < Line; i++)
        {
            text.Append(i == Line / 2 ? "  " : " ");
            if (i < line.Length)
            {
                text.Append(CultureInfo.InvariantCulture, $"{line[i]:x2}");
            }
            else
            {
                text.Append("  ");
            }
        }

        text.Append("  |");
        foreach (var value in line)
        {
            text.Append(value is >= 0x20 and < 0x7f ? (char)value : '.');
        }

        text.Append('|');
    }

    private static void AppendNumbers(StringBuilder text, ReadOnlySpan<byte> line, ISymbolSource? symbols)
    {
        var names = new List<string>();
        for (var i = 0; i + 8 <= line.Length; i += 8)
        {
            var value = BinaryPrimitives.ReadUInt64LittleEndian(line[i..]);
            text.Append(CultureInfo.InvariantCulture, $" {value:x16}");
            if (symbols?.Describe(value) is { } name)
            {
                names.Add(name);
            }
        }

        if (names.Count != 0)
        {
            text.Append(line.Length < Line ? new string(' ', 17) : "").Append("  ").AppendJoin(", ", names);
        }
    }
}
