namespace Introspect.Rules.Language;

/// <summary>Kinds of the smallest parts of an expression.</summary>
internal enum TokenKind : byte
{
    End,

    /// <summary>What no token begins with, or a broken one; told already.</summary>
    Bad,
    Number,
    Text,
    Name,

    /// <summary><c>$name</c>.</summary>
    ListName,
    OpenParenthesis,
    CloseParenthesis,
    OpenBracket,
    CloseBracket,
    Comma,
    Dot,
    DotDot,
    Plus,
    Minus,
    Star,
    Tilde,
    Ampersand,
    Bar,
    Caret,
    ShiftLeft,
    ShiftRight,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Not,

    /// <summary><c>!</c>, which binds closer than <c>not</c>.</summary>
    Bang,
    In,
    StartsWith,
    EndsWith,
    Contains,
    Matches,
    True,
    False,

    /// <summary><c>:</c> and <c>}</c> end an expression in a template.</summary>
    Colon,
    CloseBrace,
}

/// <summary>One of the smallest parts of an expression.</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Start">Offset in the fragment.</param>
/// <param name="Length">Characters.</param>
/// <param name="Number">Value of a number.</param>
/// <param name="Text">A name as it is written, or a text without its quotes.</param>
internal readonly record struct Token(TokenKind Kind, int Start, int Length, ulong Number = 0, string? Text = null)
{
    public int End => Start + Length;
}

/// <summary>The words that are no names.</summary>
internal static class Keywords
{
    public static IReadOnlyDictionary<string, TokenKind> All { get; } = new Dictionary<string, TokenKind>(StringComparer.OrdinalIgnoreCase)
    {
        ["and"] = TokenKind.And,
        ["or"] = TokenKind.Or,
        ["not"] = TokenKind.Not,
        ["in"] = TokenKind.In,
        ["startswith"] = TokenKind.StartsWith,
        ["endswith"] = TokenKind.EndsWith,
        ["contains"] = TokenKind.Contains,
        ["matches"] = TokenKind.Matches,
        ["true"] = TokenKind.True,
        ["false"] = TokenKind.False,
    };
}
