using System.Text;

namespace Introspect.Rules.Language;

/// <summary>Cuts an expression into tokens. What is wrong is told, and the rest goes on.</summary>
internal sealed class Lexer
{
    /// <summary>Characters that an expression may have.</summary>
    public const int LongestSource = 64 * 1024;

    private const int LongestName = 128;

    private readonly SourceFragment _source;
    private readonly DiagnosticBag _diagnostics;
    private readonly string _text;
    private int _at;

    public Lexer(SourceFragment source, DiagnosticBag diagnostics, int start = 0)
    {
        _source = source;
        _diagnostics = diagnostics;
        _text = source.Text;
        _at = start;
    }

    /// <summary>The next token; at the end, and from then on, <see cref="TokenKind.End"/>.</summary>
    public Token Next()
    {
        SkipBlank();
        if (_at >= _text.Length)
        {
            return new(TokenKind.End, _text.Length, 0);
        }

        var c = _text[_at];
        return char.IsAsciiDigit(c) ? Number()
            : IsNameStart(c) ? Name()
            : c is '"' or '\'' ? Quoted(c)
            : c == '$' ? ListName()
            : Operator(c);
    }

    internal static bool IsNameStart(char c) => char.IsAsciiLetter(c) || c == '_';

    internal static bool IsNamePart(char c) => char.IsAsciiLetterOrDigit(c) || c == '_';

    private void SkipBlank()
    {
        while (_at < _text.Length)
        {
            if (char.IsWhiteSpace(_text[_at]))
            {
                _at++;
            }
            else if (_text[_at] == '#')
            {
                var end = _text.IndexOf('\n', _at);
                _at = end < 0 ? _text.Length : end;
            }
            else
            {
                return;
            }
        }
    }

    private Token Operator(char c)
    {
        var second = _at + 1 < _text.Length ? _text[_at + 1] : '\0';
        var (kind, length) = (c, second) switch
        {
            ('.', '.') => (TokenKind.DotDot, 2),
            ('=', '=') => (TokenKind.Equal, 2),
            ('!', '=') => (TokenKind.NotEqual, 2),
            ('<', '=') => (TokenKind.LessOrEqual, 2),
            ('>', '=') => (TokenKind.GreaterOrEqual, 2),
            ('<', '<') => (TokenKind.ShiftLeft, 2),
            ('>', '>') => (TokenKind.ShiftRight, 2),
            ('&', '&') => (TokenKind.And, 2),
            ('|', '|') => (TokenKind.Or, 2),
            ('(', _) => (TokenKind.OpenParenthesis, 1),
            (')', _) => (TokenKind.CloseParenthesis, 1),
            ('[', _) => (TokenKind.OpenBracket, 1),
            (']', _) => (TokenKind.CloseBracket, 1),
            (',', _) => (TokenKind.Comma, 1),
            ('.', _) => (TokenKind.Dot, 1),
            ('+', _) => (TokenKind.Plus, 1),
            ('-', _) => (TokenKind.Minus, 1),
            ('*', _) => (TokenKind.Star, 1),
            ('~', _) => (TokenKind.Tilde, 1),
            ('&', _) => (TokenKind.Ampersand, 1),
            ('|', _) => (TokenKind.Bar, 1),
            ('^', _) => (TokenKind.Caret, 1),
            ('<', _) => (TokenKind.Less, 1),
            ('>', _) => (TokenKind.Greater, 1),
            ('!', _) => (TokenKind.Bang, 1),
            (':', _) => (TokenKind.Colon, 1),
            ('}', _) => (TokenKind.CloseBrace, 1),
            _ => (TokenKind.Bad, 1),
        };
        var start = _at;
        _at += length;
        if (kind != TokenKind.Bad)
        {
            return new(kind, start, length);
        }

        if (c == '=')
        {
            Error(start, 1, "'=' is no operator; write == to compare");
            return new(TokenKind.Equal, start, 1);
        }

        _at += char.IsHighSurrogate(c) && char.IsLowSurrogate(second) ? 1 : 0;
        Error(start, _at - start, c is '/' or '%'
            ? $"there is no division; '{c}' is no operator. Use >> and &"
            : "this character has no meaning in an expression");
        return new(TokenKind.Bad, start, _at - start);
    }

    private Token Name()
    {
        var start = _at;
        var name = TakeName();
        return Keywords.All.TryGetValue(name, out var keyword) ? new(keyword, start, name.Length) : new(TokenKind.Name, start, name.Length, 0, name);
    }

    private Token ListName()
    {
        var start = _at++;
        if (_at >= _text.Length || !IsNameStart(_text[_at]))
        {
            Error(start, 1, "a list's name follows the dollar sign");
            return new(TokenKind.Bad, start, 1);
        }

        var name = TakeName();
        return new(TokenKind.ListName, start, name.Length + 1, 0, name);
    }

    private string TakeName()
    {
        var start = _at;
        while (_at < _text.Length && IsNamePart(_text[_at]))
        {
            _at++;
        }

        if (_at - start > LongestName)
        {
            Error(start, _at - start, $"a name has at most {LongestName} characters");
        }

        return _text[start.._at];
    }

    private Token Number()
    {
        var start = _at;
        while (_at < _text.Length && IsNamePart(_text[_at]))
        {
            _at++;
        }

        var length = _at - start;
        if (_at + 1 < _text.Length && _text[_at] == '.' && char.IsAsciiDigit(_text[_at + 1]))
        {
            // 1.5, and not 1..5
            do
            {
                _at++;
            }
            while (_at < _text.Length && IsNamePart(_text[_at]));
            Error(start, _at - start, "numbers are whole");
            return new(TokenKind.Number, start, _at - start);
        }

        if (!NumberText.TryParse(_text.AsSpan(start, length), out var value, out var mistake))
        {
            Error(start, length, mistake);
        }

        return new(TokenKind.Number, start, length, value);
    }

    private Token Quoted(char quote)
    {
        var start = _at++;
        var text = new StringBuilder();
        while (_at < _text.Length && _text[_at] != quote)
        {
            var c = _text[_at++];
            if (c == '\\' && _at < _text.Length)
            {
                c = _text[_at++];
                switch (c)
                {
                    case 'n':
                        c = '\n';
                        break;
                    case 't':
                        c = '\t';
                        break;
                    case '\\' or '"' or '\'':
                        break;
                    default:
                        Error(_at - 2, 2, "an escape is \\\\, \\\", \\', \\n or \\t");
                        break;
                }
            }

            text.Append(c);
        }

        if (_at >= _text.Length)
        {
            Error(start, 1, $"the text that begins here has no end; write {quote} behind it");
        }
        else
        {
            _at++;
        }

        return new(TokenKind.Text, start, _at - start, 0, text.ToString());
    }

    private void Error(int start, int length, string message) => _diagnostics.Error(_source.SpanOf(start, length), message);
}
