using Introspect.Daemon.Cli;
using Introspect.Daemon.Symbols;
using Introspect.Daemon.Tracing;
using Microsoft.Extensions.Configuration;

namespace Introspect.Daemon.Configuration;

/// <content>The symbols of a policy's guests, which its rules use.</content>
internal sealed partial class ConfigurationReader
{
    // Where a kernel begins, by the names that Linux gives the place.
    private static readonly string[] Beginnings = ["_text", "_stext", "startup_64"];

    // A kernel has a hundred thousand symbols: policies that name the same file share them.
    private readonly Dictionary<string, (ISymbolSource Symbols, long Length, DateTime Written)> _symbolFiles = new(StringComparer.Ordinal);

    private (PolicySymbols? About, ISymbolSource? Symbols) ReadSymbols(IConfigurationSection section, bool hasRules)
    {
        if (!section.Exists())
        {
            return default;
        }

        if (!hasRules)
        {
            Mistake(section.Path, null, "are for rules, and the policy has none; name rules, or remove them");
        }

        // 'symbols: FILE' is short for 'symbols: { file: FILE }'.
        var isShort = section.Value is { Length: > 0 };
        if (!isShort)
        {
            RefuseOthers(section, "file", "base", "offset");
        }

        if ((isShort ? section.Value : Text(section, "file")) is not { } named)
        {
            Mistake($"{section.Path}:file", null, "is missing; name a System.map or the kernel's ELF image");
            return default;
        }

        var path = Path.GetFullPath(named, _folderOf(isShort ? section.Path : $"{section.Path}:file"));
        _sources = _sources.With(ConfigurationSources.OfSymbols(path));
        if (SymbolsOf(isShort ? section.Path : $"{section.Path}:file", path) is not { } file || ReadOffset(section, file.Symbols) is not { } offset)
        {
            return default;
        }

        return (new(path, offset, file.Length, file.Written), offset == 0 ? file.Symbols : new ShiftedSymbols(file.Symbols, offset));
    }

    private (ISymbolSource Symbols, long Length, DateTime Written)? SymbolsOf(string key, string path)
    {
        if (_symbolFiles.TryGetValue(path, out var known))
        {
            return known;
        }

        try
        {
            // Looked at before it is read: what is written meanwhile is a change.
            var about = new FileInfo(path);
            var (length, written) = about.Exists ? (about.Length, about.LastWriteTimeUtc) : default;
            return _symbolFiles[path] = (SymbolFile.Read(path), length, written);
        }
        catch (UserError e)
        {
            Mistake(key, null, e.Message);
            return null;
        }
    }

    private ulong? ReadOffset(IConfigurationSection section, ISymbolSource symbols)
    {
        var (textOfBase, textOfOffset) = (Text(section, "base"), Text(section, "offset"));
        if (textOfBase is not null && textOfOffset is not null)
        {
            Mistake($"{section.Path}:offset", textOfOffset, "and base say the same in two ways; remove one");
            return null;
        }

        if (textOfOffset is not null)
        {
            if (SymbolSpec.TryOffset(textOfOffset, out var offset))
            {
                return offset;
            }

            Mistake($"{section.Path}:offset", textOfOffset, "is no number; write bytes (0x1a000000), with a minus for downwards");
            return null;
        }

        if (textOfBase is null)
        {
            return 0;
        }

        if (!SelectionParser.TryNumber(textOfBase, out var address))
        {
            Mistake($"{section.Path}:base", textOfBase, "is no address; write where the guest has _text (0xffffffff9a000000)");
            return null;
        }

        foreach (var name in Beginnings)
        {
            if (symbols.AddressesOf(name) is [var linked, ..])
            {
                return unchecked(address - linked);
            }
        }

        Mistake($"{section.Path}:base", textOfBase, $"cannot be applied: the file has none of {string.Join(", ", Beginnings)}; write offset, which is added to each address");
        return null;
    }
}
