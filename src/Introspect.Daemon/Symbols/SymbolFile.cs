using Introspect.Daemon.Cli;
using Introspect.Daemon.Hypervisors;
using Introspect.Hypervisor.Core.Building;

namespace Introspect.Daemon.Symbols;

/// <summary>Where a user says that symbols are.</summary>
/// <param name="Path">A System.map or an ELF image; null: those of the image that is booted.</param>
/// <param name="Offset">What to add to each address, modulo 2^64: where KASLR moved the kernel.</param>
internal sealed record SymbolSpec(string? Path, ulong Offset)
{
    /// <summary>Reads an offset: a number, with a minus for downwards.</summary>
    public static bool TryOffset(string text, out ulong offset)
    {
        var isNegative = text.StartsWith('-');
        var isNumber = Tracing.SelectionParser.TryNumber(isNegative ? text[1..] : text, out var value);
        offset = isNegative ? unchecked(0 - value) : value;
        return isNumber;
    }
}

/// <summary>Reads files with symbols.</summary>
internal static class SymbolFile
{
    /// <summary>The symbols that a user asked for.</summary>
    /// <param name="spec">What was asked for; null: nothing.</param>
    /// <param name="ofImage">The symbols of the image that was booted, if one was.</param>
    /// <exception cref="UserError">A file that is not there, or has no symbols.</exception>
    public static ISymbolSource? Choose(SymbolSpec? spec, ISymbolSource? ofImage)
    {
        if (spec is null)
        {
            return ofImage;
        }

        var symbols = spec.Path is { } path ? Read(path)
            : ofImage ?? throw UserError.Failure("--symbols-offset: there are no symbols to move; give --symbols FILE (a System.map or an ELF image), too");
        return spec.Offset == 0 ? symbols : new ShiftedSymbols(symbols, spec.Offset);
    }

    /// <summary>The symbols of a file, where it has them.</summary>
    /// <exception cref="UserError">It is not there, or has none.</exception>
    public static ISymbolSource Read(string path)
    {
        var bytes = InputFile.Read(path, "symbols");
        if (!bytes.AsSpan().StartsWith("\x7f\u0045LF"u8))
        {
            return SystemMap.TryParse(Lines(bytes), out var map, out var mistake) ? map : throw UserError.Failure($"symbols '{path}': {mistake}");
        }

        if (!ElfImage.TryParse(bytes, out var image, out var error) || !SymbolTable.TryRead(image, out var table, out error))
        {
            throw UserError.Failure($"symbols '{path}': {error.Message}");
        }

        return table.Count != 0 ? new ElfSymbols(table)
            : throw UserError.Failure($"symbols '{path}': the image is stripped; give its System.map or the image with its symbol table");
    }

    private static IEnumerable<string> Lines(byte[] bytes)
    {
        using var reader = new StreamReader(new MemoryStream(bytes));
        while (reader.ReadLine() is { } line)
        {
            yield return line;
        }
    }
}
