namespace Introspect.Hypervisor;

/// <summary>An operation that the hypervisor refused, with its error number.</summary>
public sealed class HypervisorException : Exception
{
    /// <summary>Makes the exception of a refused operation.</summary>
    /// <param name="error">Error number that the hypervisor gave.</param>
    /// <param name="message">One line: what was asked of what, and the remedy where one is known.</param>
    public HypervisorException(Errno error, string message)
        : base($"{message} ({error})") => Error = error;

    /// <summary>Makes the exception of a refused operation that another exception caused.</summary>
    /// <param name="error">Error number that the hypervisor gave.</param>
    /// <param name="message">One line: what was asked of what, and the remedy where one is known.</param>
    /// <param name="inner">The cause.</param>
    public HypervisorException(Errno error, string message, Exception inner)
        : base($"{message} ({error})", inner) => Error = error;

    /// <summary>Error number that the hypervisor gave.</summary>
    public Errno Error { get; }
}
