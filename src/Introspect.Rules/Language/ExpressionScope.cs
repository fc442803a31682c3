using System.Diagnostics.CodeAnalysis;

namespace Introspect.Rules.Language;

/// <summary>What names an expression may use besides those of the language: macros, lists, and the symbols of a guest.</summary>
public sealed class ExpressionScope
{
    private readonly Dictionary<string, Macro> _macros;
    private readonly Dictionary<string, ListItem[]> _lists;

    /// <summary>Makes a scope without macros and lists.</summary>
    public ExpressionScope()
        : this(new(StringComparer.OrdinalIgnoreCase), new(StringComparer.OrdinalIgnoreCase))
    {
    }

    private ExpressionScope(Dictionary<string, Macro> macros, Dictionary<string, ListItem[]> lists) => (_macros, _lists) = (macros, lists);

    /// <summary>
    /// The symbols of the guest. Where they are not known (when a file is checked without a guest), comparisons with symbols
    /// are never true, with a warning.
    /// </summary>
    public ISymbolResolver? Symbols { get; init; }

    /// <summary>The domain, where the expression is for one only: what it says of the domain is then decided before any event.</summary>
    public RuleDomain? Domain { get; init; }

    internal IEnumerable<string> MacroNames => _macros.Keys;

    internal IEnumerable<string> ListNames => _lists.Keys;

    /// <summary>The same macros and lists, for one domain and its symbols.</summary>
    public ExpressionScope For(RuleDomain domain, ISymbolResolver? symbols)
    {
        ArgumentNullException.ThrowIfNull(domain);
        return new(_macros, _lists) { Domain = domain, Symbols = symbols };
    }

    /// <summary>Adds a macro, or replaces it; mistakes in its grammar are told at once.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="nameSpan">Where the name is.</param>
    /// <param name="body">The expression that it stands for.</param>
    /// <param name="diagnostics">Takes the mistakes.</param>
    public void AddMacro(string name, SourceSpan nameSpan, SourceFragment body, DiagnosticBag diagnostics)
    {
        ArgumentNullException.ThrowIfNull(body);
        ArgumentNullException.ThrowIfNull(diagnostics);
        var isGood = IsGoodName(name, "macro", nameSpan, diagnostics);
        if (isGood && FieldCatalog.Find(name).Any())
        {
            diagnostics.Error(nameSpan, $"'{name}' is a field of events, and cannot be the name of a macro");
            isGood = false;
        }

        // What stands behind a bad name is read for its own mistakes.
        var mistakes = new DiagnosticBag();
        var syntax = Parser.Parse(body, mistakes);
        mistakes.CopyTo(diagnostics);
        if (isGood)
        {
            _macros[name] = new(name, syntax, mistakes.HasErrors);
        }
    }

    /// <summary>Adds a list, or replaces it.</summary>
    /// <param name="name">Its name, without the dollar sign.</param>
    /// <param name="nameSpan">Where the name is.</param>
    /// <param name="items">
    /// What is in it: expressions where it is compared with numbers (<c>0x10..0x1f</c>, <c>LSTAR</c>), plain text where it is
    /// compared with text, and other lists (<c>$other</c>).
    /// </param>
    /// <param name="diagnostics">Takes the mistakes.</param>
    public void AddList(string name, SourceSpan nameSpan, IReadOnlyList<SourceFragment> items, DiagnosticBag diagnostics)
    {
        ArgumentNullException.ThrowIfNull(items);
        ArgumentNullException.ThrowIfNull(diagnostics);
        if (IsGoodName(name, "list", nameSpan, diagnostics))
        {
            _lists[name] = [.. items.Select(i => new ListItem(i))];
        }
    }

    internal bool TryGetMacro(string name, [NotNullWhen(true)] out Macro? macro) => _macros.TryGetValue(name, out macro);

    internal bool TryGetList(string name, [NotNullWhen(true)] out ListItem[]? items) => _lists.TryGetValue(name, out items);

    private static bool IsGoodName(string name, string what, SourceSpan span, DiagnosticBag diagnostics)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (name.Length is 0 or > 128 || !Lexer.IsNameStart(name[0]) || !name.All(Lexer.IsNamePart))
        {
            diagnostics.Error(span, $"the name of a {what} has letters, digits and _, and begins with a letter");
            return false;
        }

        if (Keywords.All.ContainsKey(name))
        {
            diagnostics.Error(span, $"'{name}' is a word of the language, and cannot be the name of a {what}");
            return false;
        }

        return true;
    }
}

/// <summary>A name for an expression.</summary>
/// <param name="Name">The name.</param>
/// <param name="Syntax">What it stands for.</param>
/// <param name="IsBroken">True when it could not be read; told already.</param>
internal sealed record Macro(string Name, Syntax Syntax, bool IsBroken);

/// <summary>One thing in a list: whether it is text or an expression depends on what it is compared with.</summary>
internal sealed class ListItem(SourceFragment source)
{
    private Syntax? _syntax;
    private DiagnosticBag? _mistakes;

    public SourceFragment Source { get; } = source;

    /// <summary>Reads it as an expression; the mistakes are told every time.</summary>
    public Syntax Parse(DiagnosticBag diagnostics)
    {
        if (_syntax is null)
        {
            _mistakes = new();
            _syntax = Parser.ParseItem(Source, _mistakes);
        }

        _mistakes!.CopyTo(diagnostics);
        return _syntax;
    }
}
