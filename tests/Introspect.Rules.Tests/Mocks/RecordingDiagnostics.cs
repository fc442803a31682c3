using Introspect.Rules.Pump;

namespace Introspect.Rules.Tests.Mocks;

/// <summary>Keeps what a pump told.</summary>
public sealed class RecordingDiagnostics : IPumpDiagnostics
{
    private readonly List<PumpDiagnostic> _told = [];

    public IReadOnlyList<PumpDiagnostic> All
    {
        get
        {
            lock (_told)
            {
                return [.. _told];
            }
        }
    }

    public IEnumerable<PumpDiagnostic> Of(PumpDiagnosticKind kind) => All.Where(diagnostic => diagnostic.Kind == kind);

    public void Report(PumpDiagnostic diagnostic)
    {
        lock (_told)
        {
            _told.Add(diagnostic);
        }
    }
}
