using System.Numerics;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Names;

namespace Introspect.Rules.Pump;

/// <summary>
/// Gives diagnostics to the listener without ever failing, and thins out repetition: the 1st, 2nd, 4th, 8th… of a
/// kind for each handler is told. The texts are made only for those.
/// </summary>
internal sealed class PumpReporter(IPumpDiagnostics? listener, int handlers)
{
    private static readonly int KindCount = Enum.GetValues<PumpDiagnosticKind>().Length;

    private long[] _counts = new long[KindCount * (handlers + 1)];

    /// <summary>An exception's text in one line that a terminal may see, also of one that throws when asked for it.</summary>
    public static string TextOf(Exception exception)
    {
        try
        {
            return PrintableText.Line(exception.Message);
        }
#pragma warning disable CA1031 // The exception may be a plugin's own.
        catch (Exception)
#pragma warning restore CA1031
        {
            return "(no text)";
        }
    }

    /// <summary>Other handlers: what is counted of them begins anew. By the thread that counts.</summary>
    public void UseHandlers(int count)
    {
        var counts = new long[KindCount * (count + 1)];
        _counts.AsSpan(0, KindCount).CopyTo(counts);
        _counts = counts;
    }

    /// <summary>Tells something that is not repeated.</summary>
    public void Tell(PumpDiagnosticKind kind, string message, Exception? exception = null, string? handler = null, VmEventReason? reason = null, long count = 1)
    {
        try
        {
            listener?.Report(new(kind, message, handler, reason, exception, count));
        }
#pragma warning disable CA1031 // A listener's mistake must not reach the guest.
        catch (Exception)
#pragma warning restore CA1031
        {
            // Nobody is left to tell.
        }
    }

    /// <summary>Counts one more of a kind.</summary>
    /// <param name="kind">The kind.</param>
    /// <param name="handler">Position of the handler, or -1 for none.</param>
    /// <param name="count">How many there were up to now.</param>
    /// <returns>True when this one should be told.</returns>
    public bool ShouldTell(PumpDiagnosticKind kind, int handler, out long count)
    {
        count = ++_counts[((handler + 1) * KindCount) + (int)kind];
        return listener is not null && BitOperations.IsPow2(count);
    }
}
