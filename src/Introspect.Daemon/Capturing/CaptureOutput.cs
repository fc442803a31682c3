using System.Globalization;
using System.Text;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Output;
using Introspect.Daemon.Symbols;
using Introspect.Daemon.Tracing;
using Introspect.Hypervisor;
using Introspect.Rules.Capture;
using Introspect.Rules.Pump;

namespace Introspect.Daemon.Capturing;

/// <summary>A trace that goes into a capture file. What the disk refuses ends it with one line that names the file.</summary>
internal sealed class CaptureOutput(RecordRequest request, Stream file, ISymbolSource? symbols, MemoryRecorder? memory, TimeProvider time) : ITraceOutput
{
    // What events that wait may take of memory, and each of them besides.
    private const int MemoryBudget = 16 << 20;
    private const int SnapshotOverhead = 512;
    private const int LeastSnapshots = 256;

    // Places whose names are written down; a guest has many more.
    private const int MaxSymbols = 1 << 16;

    private readonly HashSet<ulong> _named = [];
    private CaptureWriter? _writer;
    private TraceSummary? _result;

    private long Events => _writer?.Events ?? 0;

    private long Bytes => _writer?.BytesWritten ?? 0;

    /// <summary>How many events' memory may wait to be written.</summary>
    public static int MemoryCapacity(IReadOnlyList<MemoryWindow> windows) =>
        Math.Max(LeastSnapshots, MemoryBudget / (SnapshotOverhead + windows.Sum(window => window.Length)));

    /// <summary>What the recording came to, in one line.</summary>
    public string Describe()
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"recorded {Events} events of domain {_result!.Domain} in {_result.Elapsed.TotalSeconds:0.000} s to {request.Path} ({Bytes} bytes), ended by {_result.End}");
        if (_result.Dropped != 0)
        {
            text.Append(CultureInfo.InvariantCulture, $"; {_result.Dropped} events were dropped");
        }

        if (memory is { Missed: > 0 })
        {
            text.Append(CultureInfo.InvariantCulture, $"; {memory.Missed} events have no memory, since the disk was too slow");
        }

        return text.ToString();
    }

    /// <inheritdoc/>
    public bool IsFull => _writer?.IsFull ?? false;

    /// <inheritdoc/>
    public void Begin(TraceStart start) => Attempt(() =>
    {
        if (file.CanSeek && file.Length != 0)
        {
            file.SetLength(0);
        }

        _writer = new(
            file,
            new()
            {
                Recorder = $"introspect {ProgramInfo.Version}",
                HypervisorName = start.Hypervisor.Name,
                HypervisorVersion = start.Hypervisor.Version,
                Domain = start.Domain,
                Started = start.Time,
                Watched = start.Watched,
                Windows = memory?.Windows ?? [],
                MayDrop = !request.Trace.Lossless,
            },
            new() { MaxBytes = request.MaxBytes, Clock = time });
    });

    /// <inheritdoc/>
    public void Event(in EventRecord record, DomainInfo domain)
    {
        try
        {
            if (symbols is not null && _named.Count < MaxSymbols && _named.Add(record.Event.Registers.Rip)
                && symbols.TryFind(record.Event.Registers.Rip, out var name, out var offset))
            {
                _writer!.TryWriteSymbol(record.Event.Registers.Rip, name, offset);
            }

            _writer!.TryWrite(in record, memory);
        }
        catch (IOException e)
        {
            throw Failed(e);
        }
    }

    /// <inheritdoc/>
    public void Console(DomainInfo domain, string line) => Attempt(() => _writer!.TryWriteConsole(time.GetUtcNow().UtcDateTime, line));

    /// <inheritdoc/>
    public void Summary(TraceSummary summary)
    {
        _result = summary;
        Attempt(() => _writer!.Complete(new(time.GetUtcNow().UtcDateTime, summary.End, summary.Elapsed, summary.VcpuPaused, summary.Dropped, summary.Malformed)));
    }

    /// <inheritdoc/>
    public void Flush()
    {
        try
        {
            _writer?.FlushIfDue();
        }
        catch (IOException e)
        {
            throw Failed(e);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        try
        {
            // Without an end, as it is after an error: what was taken is there.
            _writer?.Dispose();
        }
        catch (IOException)
        {
            // The error that ended the recording is the one to tell.
        }
        finally
        {
            file.Dispose();
        }
    }

    private void Attempt(Action write)
    {
        try
        {
            write();
        }
        catch (IOException e)
        {
            throw Failed(e);
        }
    }

    private UserError Failed(IOException e) => UserError.Failure(
        $"--output '{request.Path}': {e.Message.TrimEnd('.')}; the recording ends after {Events} events, of which {Bytes} bytes are in the file and can be replayed", e);
}
