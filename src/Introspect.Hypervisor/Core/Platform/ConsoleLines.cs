using System.Text;

namespace Introspect.Hypervisor.Core.Platform;

/// <summary>
/// Cuts console output into lines for people: carriage returns and other control characters go, a line that grows
/// past all measure is cut.
/// </summary>
internal sealed class ConsoleLines
{
    /// <summary>Longest line.</summary>
    public const int MaxLine = 4096;

    private readonly List<byte> _partial = [];

    /// <summary>Takes output and calls back for each line that it completes.</summary>
    public void Append(ReadOnlySpan<byte> bytes, Action<string> line)
    {
        foreach (var b in bytes)
        {
            if (b == '\n')
            {
                Emit(line);
            }
            else if (b is (byte)'\t' or (>= 0x20 and not 0x7F))
            {
                _partial.Add(b);
                if (_partial.Count == MaxLine)
                {
                    Emit(line);
                }
            }
        }
    }

    /// <summary>Gives the last line, which nothing ended.</summary>
    public void Flush(Action<string> line)
    {
        if (_partial.Count != 0)
        {
            Emit(line);
        }
    }

    private void Emit(Action<string> line)
    {
        var text = Encoding.UTF8.GetString([.. _partial]);
        _partial.Clear();
        line(text);
    }
}
