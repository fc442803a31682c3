using System.Diagnostics.CodeAnalysis;

namespace Introspect.Rules.Handlers;

/// <summary>The handlers that come with the program, by name.</summary>
public static class BuiltInHandlers
{
    /// <summary>Their names.</summary>
    public static IReadOnlyList<string> Names { get; } = ["log", "protect-cr4"];

    /// <summary>Makes a handler.</summary>
    /// <returns>False when there is none of that name.</returns>
    public static bool TryMake(string name, [NotNullWhen(true)] out IEventHandler? handler)
    {
        handler = name switch
        {
            "log" => new LogHandler(),
            "protect-cr4" => new ProtectCr4Handler(),
            _ => null,
        };
        return handler is not null;
    }
}
