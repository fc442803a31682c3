using System.Runtime.InteropServices;
using Introspect.Daemon.Hypervisors;
using Introspect.Hypervisor;

namespace Introspect.Daemon.Tracing;

/// <summary>
/// A guest's console, line by line. Bytes that are no text are shown as \xNN, so that a guest cannot play with the
/// reader's terminal.
/// </summary>
internal sealed class ConsoleReader(IConsoleSource source, DomainId domain)
{
    private const int MaxLine = 4096;

    private readonly byte[] _buffer = new byte[4096];
    private readonly List<byte> _line = [];
    private ulong _position;

    /// <summary>Hands over every line that is complete, and at the end also the one that is not.</summary>
    public void Read(Action<string> show, bool toEnd = false)
    {
        int count;
        while ((count = source.Read(domain, ref _position, _buffer)) > 0)
        {
            foreach (var value in _buffer.AsSpan(0, count))
            {
                if (value != '\n')
                {
                    _line.Add(value);
                }

                if (value == '\n' || _line.Count >= MaxLine)
                {
                    Show(show);
                }
            }
        }

        if (toEnd && _line.Count != 0)
        {
            Show(show);
        }
    }

    private void Show(Action<string> show)
    {
        // Without the carriage return of a guest that ends its lines with both.
        show(PrintableText.Of(CollectionsMarshal.AsSpan(_line).TrimEnd((byte)'\r')));
        _line.Clear();
    }
}
