namespace Introspect.Daemon.Cli;

/// <summary>What the process tells its caller.</summary>
internal static class ExitCode
{
    /// <summary>Everything was done.</summary>
    public const int Ok = 0;

    /// <summary>The request was understood and could not be done.</summary>
    public const int Failure = 1;

    /// <summary>The request was not understood.</summary>
    public const int Usage = 2;
}

/// <summary>
/// A mistake that its maker can put right: printed as one line which names the thing, the value and the remedy.
/// </summary>
internal sealed class UserError : Exception
{
    private UserError(int exitCode, string message, Exception? inner)
        : base(OneLine(message), inner) => ExitCode = exitCode;

    /// <summary>With which code the program ends.</summary>
    public int ExitCode { get; }

    /// <summary>The command line or the configuration is wrong.</summary>
    public static UserError Usage(string message, Exception? inner = null) => new(Cli.ExitCode.Usage, message, inner);

    /// <summary>The request is right and what it needs is not there.</summary>
    public static UserError Failure(string message, Exception? inner = null) => new(Cli.ExitCode.Failure, message, inner);

    /// <summary>Folds a text into one line, so that no message of a library can break the promise.</summary>
    public static string OneLine(string text) =>
        string.Join(' ', text.Split(['\r', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
}
