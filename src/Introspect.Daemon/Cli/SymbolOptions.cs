using System.CommandLine;
using Introspect.Daemon.Symbols;

namespace Introspect.Daemon.Cli;

/// <summary>The options that say where symbols come from.</summary>
internal sealed class SymbolOptions
{
    private readonly Option<string?> _symbols = new("--symbols") { Description = "Symbols: a System.map or an ELF image; else those of the image that is booted", HelpName = "FILE" };
    private readonly Option<string?> _offset = new("--symbols-offset") { Description = "Added to each symbol's address: where KASLR moved the kernel; may be negative", HelpName = "OFFSET" };

    /// <summary>Adds the options to a command.</summary>
    public void AddTo(Command command)
    {
        command.Add(_symbols);
        command.Add(_offset);
    }

    /// <summary>What the user asked for; null when nothing.</summary>
    /// <exception cref="UserError">An offset that is no number.</exception>
    public SymbolSpec? Read(ParseResult result)
    {
        var path = result.GetValue(_symbols);
        var offset = ReadOffset(result.GetValue(_offset));
        return path is null && offset is null ? null : new(path, offset ?? 0);
    }

    private static ulong? ReadOffset(string? text)
    {
        if (text is null)
        {
            return null;
        }

        return SymbolSpec.TryOffset(text, out var offset)
            ? offset
            : throw UserError.Usage($"--symbols-offset: '{text}' is no number; write bytes (0x1a000000), with a minus for downwards");
    }
}
