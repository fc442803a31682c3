using System.Globalization;
using Introspect.Daemon.Cli;
using Introspect.Daemon.Output;
using Introspect.Daemon.Tracing;
using Introspect.Rules.Capture;
using Introspect.Rules.Files;
using Introspect.Rules.Handlers;
using Introspect.Rules.Language;
using Introspect.Rules.Pump;
using Introspect.Rules.Running;

namespace Introspect.Daemon.Capturing;

/// <summary>The clock of what is shown: each line has the time that it has in the capture.</summary>
internal sealed class ReplayTime : TimeProvider
{
    /// <summary>The time now.</summary>
    public DateTime Now { get; set; } = DateTime.UnixEpoch;

    /// <inheritdoc/>
    public override DateTimeOffset GetUtcNow() => new(DateTime.SpecifyKind(Now, DateTimeKind.Utc));
}

/// <summary>One replay: shows a capture as the trace would have been shown that it was.</summary>
internal sealed class ReplaySession : ICaptureSink, IPumpDiagnostics
{
    private const string NoEnd = "incomplete";

    private readonly ReplayRequest _request;
    private readonly CaptureReader _capture;
    private readonly ITraceOutput _output;
    private readonly ReplayTime _time;
    private readonly Action<string> _note;
    private readonly ISymbolResolver? _symbols;
    private readonly ReasonCounter _counter;
    private TimeSpan _paused;
    private DateTime _last;

    /// <summary>Makes a replay.</summary>
    /// <param name="request">What of the capture.</param>
    /// <param name="capture">The capture, not read yet.</param>
    /// <param name="output">Where it is shown, at the times of <paramref name="time"/>.</param>
    /// <param name="time">The clock of the output.</param>
    /// <param name="note">Is told, in one line each, what a user should know beside.</param>
    /// <param name="symbols">The guest's symbols, for rules.</param>
    public ReplaySession(ReplayRequest request, CaptureReader capture, ITraceOutput output, ReplayTime time, Action<string> note, ISymbolResolver? symbols = null)
    {
        (_request, _capture, _output, _time, _note, _symbols) = (request, capture, output, time, note, symbols);
        _counter = new(capture.Header.Domain.Vendor);
        _last = capture.Header.Started;
    }

    /// <summary>Runs the replay to its end.</summary>
    /// <exception cref="UserError">
    /// There is no such handler, rules are wrong, or the capture is damaged. What came before was shown.
    /// </exception>
    public int Run(CancellationToken cancellationToken)
    {
        var handlers = _request.Handlers.Select(Make).ToList();
        var options = _request.Options with { Diagnostics = this, Rules = LoadRules(), Symbols = _symbols };
        ReplayResult result;
        try
        {
            result = CaptureReplay.Run(_capture, handlers, this, options, cancellationToken);
        }
        catch (ArgumentException e) when (options.Rules is not null)
        {
            throw UserError.Failure($"--rules: {UserError.OneLine(e.Message)}", e);
        }
        catch (CaptureException e)
        {
            _output.Flush();
            throw CaptureFiles.Damaged(_request.Path, e);
        }
        catch (OperationCanceledException)
        {
            _output.Flush();
            throw;
        }

        _time.Now = _capture.End?.Time ?? _last;
        _output.Summary(Summarise(result));
        _output.Flush();
        Tell(result);
        return ExitCode.Ok;
    }

    /// <inheritdoc/>
    public void Event(in EventRecord record, in CapturedAnswer answered)
    {
        _output.Event(in record, _capture.Header.Domain);
        Unrecorded(in record);
    }

    /// <inheritdoc/>
    public void Unrecorded(in EventRecord record)
    {
        _counter.Count(in record);
        _paused = ReasonCounter.Sum(_paused, record.PausedTime);
        _last = record.Time;
    }

    /// <inheritdoc/>
    public void Alert(AlertRecord alert) => _output.Alert(alert, _capture.Header.Domain);

    /// <inheritdoc/>
    public void Console(DateTime time, string line)
    {
        _time.Now = time;
        _output.Console(_capture.Header.Domain, line);
    }

    /// <inheritdoc/>
    public void Lost(ulong events) => _output.Lost(events);

    /// <inheritdoc/>
    public void Flush() => _output.Flush();

    /// <inheritdoc/>
    public void Report(PumpDiagnostic diagnostic) => _note(diagnostic.Message);

    private static IEventHandler Make(string name) => BuiltInHandlers.TryMake(name, out var handler) ? handler
        : throw UserError.Usage($"--handler: '{name}' is unknown; write {string.Join(" or ", BuiltInHandlers.Names)}");

    private RuleSet? LoadRules()
    {
        if (_request.Rules.Count == 0)
        {
            return null;
        }

        RuleTools.RuleTool.RequirePaths(_request.Rules, "--rules");
        var diagnostics = new DiagnosticBag();
        var rules = RuleFileLoader.Load(_request.Rules, diagnostics);
        foreach (var mistake in diagnostics.All.Where(finding => finding.Severity == DiagnosticSeverity.Error))
        {
            _note(mistake.ToString());
        }

        return diagnostics.HasErrors ? throw UserError.Failure("--rules: nothing is replayed by rules with mistakes; 'introspect rules check' shows them") : rules;
    }

    // As the recording's own summary where all of it was replayed; else of what was shown.
    private TraceSummary Summarise(ReplayResult result)
    {
        var end = _capture.End;
        var isWhole = result.IsWhole && end is not null;
        return new()
        {
            Domain = _capture.Header.Domain.Id,
            End = end?.Reason ?? NoEnd,
            ByReason = _counter.ByReason,
            Reasons = _counter.Reasons,
            Elapsed = isWhole ? end!.Elapsed : result.Last - (_request.Options.From ?? TimeSpan.Zero) is var part && part > TimeSpan.Zero ? part : TimeSpan.Zero,
            VcpuPaused = isWhole ? end!.VcpuPaused : _paused,
            Dropped = (long)Math.Min(result.Lost, long.MaxValue / 2),
            Malformed = end?.Malformed ?? 0,
            Changed = _request.Handlers.Count != 0 || result.Rules is not null ? result.Changed : null,
            Rules = result.Rules,
        };
    }

    private void Tell(ReplayResult result)
    {
        if (_capture.CutOffBytes != 0)
        {
            _note(string.Create(CultureInfo.InvariantCulture, $"capture '{_request.Path}' was cut off: the last {_capture.CutOffBytes} bytes, from offset 0x{_capture.Position:x} on, are no whole block and are left out"));
        }
        else if (_capture.End is null)
        {
            _note($"capture '{_request.Path}' has no end: the recording was cut off behind its last block");
        }

        foreach (var (handler, missing) in result.NotRecorded)
        {
            _note(handler == RuleSetHandler.HandlerName
                ? $"the rules want what was not recorded: {string.Join(", ", missing)}"
                : $"handler {handler} wants what was not recorded: {string.Join(", ", missing)}");
        }

        foreach (var warning in result.RuleWarnings)
        {
            _note(warning.ToString());
        }
    }
}
