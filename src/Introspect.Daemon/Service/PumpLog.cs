using Introspect.Rules.Pump;
using Microsoft.Extensions.Logging;

namespace Introspect.Daemon.Service;

/// <summary>What a pump tells goes into the log, as loud as it matters.</summary>
internal sealed class PumpLog(Func<string> label, ILogger logger) : IPumpDiagnostics
{
    /// <inheritdoc/>
    public void Report(PumpDiagnostic diagnostic)
    {
        var domain = label();
        switch (diagnostic.Kind)
        {
            case PumpDiagnosticKind.PumpFailed:
                Log.PumpFailed(logger, domain, diagnostic.Message, Told(diagnostic.Exception));
                break;
            case PumpDiagnosticKind.HandlerFailed or PumpDiagnosticKind.HandlerOverran or PumpDiagnosticKind.HandlerDisabled
                or PumpDiagnosticKind.OperationFailed or PumpDiagnosticKind.VerdictIgnored or PumpDiagnosticKind.EventUnsupported:
                Log.PumpWarned(logger, domain, diagnostic.Message, diagnostic.Count, Told(diagnostic.Exception));
                break;
            default:
                Log.PumpTold(logger, domain, diagnostic.Message);
                break;
        }
    }

    private static ToldException? Told(Exception? exception) => exception is null ? null : new(exception);

    /// <summary>An exception as the log may have it: it may be a plugin's own, and say what it likes.</summary>
    private sealed class ToldException(Exception exception) : Exception(PumpReporter.TextOf(exception))
    {
        /// <summary>All about it, with nothing in it that looks like a line of the log.</summary>
        public override string ToString()
        {
            try
            {
                return PrintableText.Indented(exception.ToString());
            }
#pragma warning disable CA1031 // The exception may be a plugin's own.
            catch (Exception)
#pragma warning restore CA1031
            {
                return $"  {exception.GetType()}";
            }
        }
    }
}
