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
                Log.PumpFailed(logger, domain, diagnostic.Message, diagnostic.Exception);
                break;
            case PumpDiagnosticKind.HandlerFailed or PumpDiagnosticKind.HandlerOverran or PumpDiagnosticKind.HandlerDisabled
                or PumpDiagnosticKind.OperationFailed or PumpDiagnosticKind.VerdictIgnored or PumpDiagnosticKind.EventUnsupported:
                Log.PumpWarned(logger, domain, diagnostic.Message, diagnostic.Count, diagnostic.Exception);
                break;
            default:
                Log.PumpTold(logger, domain, diagnostic.Message);
                break;
        }
    }
}
