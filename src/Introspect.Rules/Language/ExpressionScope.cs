namespace Introspect.Rules.Language;

/// <summary>What names an expression may use besides those of the language: macros, lists, and the symbols of a guest.</summary>
public sealed class ExpressionScope
{
    /// <summary>
    /// The symbols of the guest. Where they are not known (when a file is checked without a guest), comparisons with symbols
    /// are never true, with a warning.
    /// </summary>
    public ISymbolResolver? Symbols { get; init; }

    /// <summary>The domain, where the expression is for one only: what it says of the domain is then decided before any event.</summary>
    public RuleDomain? Domain { get; init; }

    /// <summary>The same macros and lists, for one domain and its symbols.</summary>
    public ExpressionScope For(RuleDomain domain, ISymbolResolver? symbols) => throw new NotImplementedException();

    /// <summary>Adds a macro, or replaces it; mistakes in its grammar are told at once.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="nameSpan">Where the name is.</param>
    /// <param name="body">The expression that it stands for.</param>
    /// <param name="diagnostics">Takes the mistakes.</param>
    public void AddMacro(string name, SourceSpan nameSpan, SourceFragment body, DiagnosticBag diagnostics) => throw new NotImplementedException();

    /// <summary>Adds a list, or replaces it.</summary>
    /// <param name="name">Its name, without the dollar sign.</param>
    /// <param name="nameSpan">Where the name is.</param>
    /// <param name="items">
    /// What is in it: expressions where it is compared with numbers (<c>0x10..0x1f</c>, <c>LSTAR</c>), plain text where it is
    /// compared with text, and other lists (<c>$other</c>).
    /// </param>
    /// <param name="diagnostics">Takes the mistakes.</param>
    public void AddList(string name, SourceSpan nameSpan, IReadOnlyList<SourceFragment> items, DiagnosticBag diagnostics) => throw new NotImplementedException();
}
