namespace Introspect.Rules.Pump;

/// <summary>A pump that cannot start, with everything that keeps it from it.</summary>
public sealed class PumpStartException : Exception
{
    /// <summary>Makes the exception of problems that were found before anything was enabled.</summary>
    /// <param name="problems">One line each.</param>
    public PumpStartException(IReadOnlyList<string> problems)
        : base(Join(problems)) => Problems = problems;

    internal PumpStartException(IReadOnlyList<string> problems, IReadOnlyList<string> unsupported)
        : this(problems) => Unsupported = unsupported;

    internal PumpStartException(string problem)
        : this([problem])
    {
    }

    /// <summary>Makes the exception of a refused operation.</summary>
    /// <param name="problem">One line.</param>
    /// <param name="inner">The cause.</param>
    public PumpStartException(string problem, Exception inner)
        : base(problem, inner) => Problems = [problem];

    /// <summary>The problems, one line each.</summary>
    public IReadOnlyList<string> Problems { get; }

    /// <summary>Events that the hypervisor does not offer and a handler cannot do without: <c>vmexits</c>.</summary>
    public IReadOnlyList<string> Unsupported { get; } = [];

    private static string Join(IReadOnlyList<string> problems)
    {
        ArgumentNullException.ThrowIfNull(problems);
        return string.Join("; ", problems);
    }
}
