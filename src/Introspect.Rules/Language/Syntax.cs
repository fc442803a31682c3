namespace Introspect.Rules.Language;

/// <summary>A part of an expression as it is written: nothing is known yet of what its names mean.</summary>
internal abstract class Syntax(SourceFragment source, int start, int end, int depth = 1)
{
    public SourceFragment Source { get; } = source;

    public int Start { get; } = start;

    public int End { get; } = end;

    /// <summary>Levels of parts in parts, this one counted.</summary>
    public int Depth { get; } = depth;

    public SourceSpan Span => Source.SpanOf(Start, End - Start);
}

/// <summary>What could not be read; told already.</summary>
internal sealed class BadSyntax(SourceFragment source, int start, int end) : Syntax(source, start, end);

internal sealed class NumberSyntax(SourceFragment source, Token token) : Syntax(source, token.Start, token.End)
{
    public ulong Value { get; } = token.Number;
}

internal sealed class TextSyntax(SourceFragment source, int start, int end, string value) : Syntax(source, start, end)
{
    public string Value { get; } = value;
}

internal sealed class TruthSyntax(SourceFragment source, Token token) : Syntax(source, token.Start, token.End)
{
    public bool Value { get; } = token.Kind == TokenKind.True;
}

/// <summary>A name, with dots in it or without.</summary>
internal sealed class NameSyntax(SourceFragment source, int start, int end, string name) : Syntax(source, start, end)
{
    public string Name { get; } = name;
}

/// <summary><c>$name</c>.</summary>
internal sealed class ListNameSyntax(SourceFragment source, Token token) : Syntax(source, token.Start, token.End)
{
    public string Name { get; } = token.Text!;
}

/// <summary><c>not x</c>, <c>~x</c>, <c>-x</c>.</summary>
internal sealed class UnarySyntax(SourceFragment source, int start, TokenKind op, Syntax operand)
    : Syntax(source, start, operand.End, operand.Depth + 1)
{
    public TokenKind Operator { get; } = op;

    public Syntax Operand { get; } = operand;
}

/// <summary>Two operands: arithmetic, bits, comparisons and those of text.</summary>
internal sealed class BinarySyntax(SourceFragment source, Token op, Syntax left, Syntax right)
    : Syntax(source, left.Start, right.End, Math.Max(left.Depth, right.Depth) + 1)
{
    public TokenKind Operator { get; } = op.Kind;

    public Syntax Left { get; } = left;

    public Syntax Right { get; } = right;
}

/// <summary><c>a and b and c</c>, or the same with <c>or</c>: one level however many there are.</summary>
internal sealed class ChainSyntax(SourceFragment source, bool isAnd, IReadOnlyList<Syntax> items)
    : Syntax(source, items[0].Start, items[^1].End, items.Max(i => i.Depth) + 1)
{
    public bool IsAnd { get; } = isAnd;

    public IReadOnlyList<Syntax> Items { get; } = items;
}

/// <summary><c>x in (…)</c>.</summary>
internal sealed class InSyntax(SourceFragment source, Syntax subject, bool negated, IReadOnlyList<Syntax> items, int end)
    : Syntax(source, subject.Start, end, Math.Max(subject.Depth, items.Count == 0 ? 0 : items.Max(i => i.Depth)) + 1)
{
    public Syntax Subject { get; } = subject;

    public bool IsNegated { get; } = negated;

    public IReadOnlyList<Syntax> Items { get; } = items;
}

/// <summary><c>a..b</c>, both ends in it.</summary>
internal sealed class RangeSyntax(SourceFragment source, Syntax first, Syntax last)
    : Syntax(source, first.Start, last.End, Math.Max(first.Depth, last.Depth) + 1)
{
    public Syntax First { get; } = first;

    public Syntax Last { get; } = last;
}

/// <summary><c>name(a, b)</c>.</summary>
internal sealed class CallSyntax(SourceFragment source, NameSyntax name, IReadOnlyList<Syntax> arguments, int end)
    : Syntax(source, name.Start, end, arguments.Count == 0 ? 1 : arguments.Max(a => a.Depth) + 1)
{
    public NameSyntax Function { get; } = name;

    public IReadOnlyList<Syntax> Arguments { get; } = arguments;
}

/// <summary><c>u64[address]</c>.</summary>
internal sealed class ReadSyntax(SourceFragment source, NameSyntax name, Syntax address, int end)
    : Syntax(source, name.Start, end, address.Depth + 1)
{
    public NameSyntax Kind { get; } = name;

    public Syntax Address { get; } = address;
}

/// <summary><c>&amp;symbol</c>.</summary>
internal sealed class AddressSyntax(SourceFragment source, int start, int end, string symbol) : Syntax(source, start, end)
{
    public string Symbol { get; } = symbol;
}
