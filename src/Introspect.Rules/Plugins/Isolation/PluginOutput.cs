using System.IO.Pipes;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Linux;
using Introspect.Rules.Names;

namespace Introspect.Rules.Plugins.Isolation;

/// <summary>
/// What a plugin's process writes to its standard output and error: taken as it comes, whatever becomes of it, so that the process
/// never waits for who reads. Each line goes to the plugin's log.
/// </summary>
internal sealed class PluginOutput : IDisposable
{
    // As much as a pipe holds at once, and of a line what is told of it at most.
    private const int PipeBytes = 64 * 1024;
    private const int MostLineBytes = PrintableText.LongestLine + 1;

    private readonly AnonymousPipeClientStream _pipe;
    private readonly PluginLog _log;
    private readonly CancellationTokenSource _over = new();
    private readonly Thread _reader;
    private readonly byte[] _buffer = new byte[PipeBytes];
    private readonly byte[] _line = new byte[MostLineBytes];
    private int _lineBytes;

    /// <summary>Begins to read.</summary>
    /// <param name="pipe">The end that is read, which is closed in the end.</param>
    /// <param name="name">Name of the plugin.</param>
    /// <param name="log">Where the lines go.</param>
    public PluginOutput(AnonymousPipeClientStream pipe, string name, PluginLog log)
    {
        (_pipe, _log) = (pipe, log);
        _reader = new Thread(Read) { IsBackground = true, Name = $"output of {name}" };
        _reader.Start();
    }

    /// <summary>The process has ended: takes what is left, and no more. A process of the plugin's that goes on writes to nobody.</summary>
    public void Dispose()
    {
        _over.Cancel();
        _reader.Join();
        _over.Dispose();
    }

    private void Read()
    {
        try
        {
            using var waiter = new DescriptorWaiter();
            using var descriptor = new BorrowedDescriptor(_pipe.SafePipeHandle);
            while (waiter.Wait(descriptor.Value, DescriptorWaiter.None, Timeout.InfiniteTimeSpan, _over.Token) == WaitResult.Signalled)
            {
                if (Take() == 0)
                {
                    break;
                }
            }

            // Not what is written from now on, which may have no end.
            var left = PipeBytes;
            while (left > 0 && waiter.Wait(descriptor.Value, DescriptorWaiter.None, TimeSpan.Zero, CancellationToken.None) == WaitResult.Signalled
                && Take() is > 0 and var taken)
            {
                left -= taken;
            }
        }
        catch (Exception e) when (e is HypervisorException or IOException)
        {
            _log.Tell(PluginLogLevel.Warning, $"its output cannot be read any more: {e.Message}");
        }

        EndLine();
        _pipe.Dispose();
    }

    private int Take()
    {
        var count = _pipe.Read(_buffer);
        var rest = _buffer.AsSpan(0, count);
        while (rest.IndexOf((byte)'\n') is >= 0 and var end)
        {
            Add(rest[..end]);
            EndLine();
            rest = rest[(end + 1)..];
        }

        Add(rest);
        return count;
    }

    // Of a line that is too long only its beginning is kept.
    private void Add(ReadOnlySpan<byte> part)
    {
        part = part[..Math.Min(part.Length, _line.Length - _lineBytes)];
        part.CopyTo(_line.AsSpan(_lineBytes));
        _lineBytes += part.Length;
    }

    private void EndLine()
    {
        var line = _line.AsSpan(0, _lineBytes).TrimEnd((byte)'\r');
        _lineBytes = 0;
        if (!line.IsEmpty)
        {
            _log.Print(line);
        }
    }
}
