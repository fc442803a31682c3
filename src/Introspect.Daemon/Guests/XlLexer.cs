using System.Globalization;
using System.Text;

namespace Introspect.Daemon.Guests;

/// <summary>What a word of a configuration is.</summary>
internal enum XlToken
{
    /// <summary>A key.</summary>
    Identifier,

    /// <summary>Digits, and what may follow them.</summary>
    Number,

    /// <summary>A text in quotes.</summary>
    String,

    /// <summary><c>,</c>.</summary>
    Comma,

    /// <summary><c>[</c>.</summary>
    Open,

    /// <summary><c>]</c>.</summary>
    Close,

    /// <summary><c>=</c>.</summary>
    Assign,

    /// <summary><c>+=</c>.</summary>
    Add,

    /// <summary><c>;</c>.</summary>
    Semicolon,

    /// <summary>The end of a line.</summary>
    NewLine,

    /// <summary>Nothing that belongs into a configuration; it is told already.</summary>
    Wrong,

    /// <summary>The end of the text.</summary>
    End,
}

/// <summary>The words of a configuration, as xl has them.</summary>
/// <param name="file">What the text is called.</param>
/// <param name="text">The text.</param>
/// <param name="mistake">Told where something is wrong, and what.</param>
internal sealed class XlLexer(string file, string text, Action<XlPlace, string> mistake)
{
    private int _at;
    private int _line = 1;
    private int _lineStart;

    /// <summary>The word that was read last.</summary>
    public XlToken Token { get; private set; }

    /// <summary>What it says: a key, the digits of a number, a text without its quotes.</summary>
    public string Text { get; private set; } = "";

    /// <summary>Where it begins.</summary>
    public XlPlace Place { get; private set; }

    /// <summary>The word as somebody would point at it.</summary>
    public string Shown => Token switch
    {
        XlToken.NewLine => "the end of the line",
        XlToken.End => "the end of the file",
        XlToken.Identifier or XlToken.Number => $"'{Text}'",
        XlToken.String => "a string",
        XlToken.Comma => "','",
        XlToken.Open => "'['",
        XlToken.Close => "']'",
        XlToken.Assign => "'='",
        XlToken.Add => "'+='",
        XlToken.Semicolon => "';'",
        _ => "this",
    };

    private XlPlace Here => new(file, _line, _at - _lineStart + 1);

    /// <summary>Reads the next word.</summary>
    public void Next()
    {
        SkipBlanks();
        Place = Here;
        Token = Read();
    }

    /// <summary>
    /// True where the word behind this end of a line begins another setting. A list may go over the ends of lines; one that
    /// was not closed does not take the rest of the file with it.
    /// </summary>
    public bool IsBeforeSetting()
    {
        var at = _at;
        while (at < text.Length && text[at] is ' ' or '\t')
        {
            at++;
        }

        var start = at;
        while (at < text.Length && IsOfIdentifier(text[at]))
        {
            at++;
        }

        if (at == start || !char.IsAsciiLetterLower(text[start]))
        {
            return false;
        }

        while (at < text.Length && text[at] is ' ' or '\t')
        {
            at++;
        }

        return at < text.Length && (text[at] == '=' || (text[at] == '+' && at + 1 < text.Length && text[at + 1] == '='));
    }

    private static bool IsOfIdentifier(char c) => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '_' or '.';

    private static bool IsOfNumber(char c) => char.IsAsciiDigit(c) || c is (>= 'a' and <= 'f') or 'x';

    private void SkipBlanks()
    {
        while (_at < text.Length)
        {
            switch (text[_at])
            {
                case ' ' or '\t':
                    _at++;
                    break;
                case '\r' when _at + 1 == text.Length || text[_at + 1] == '\n':
                    _at++;
                    break;
                case '#':
                    while (_at < text.Length && text[_at] != '\n')
                    {
                        _at++;
                    }

                    break;
                default:
                    return;
            }
        }
    }

    private XlToken Read()
    {
        if (_at == text.Length)
        {
            return XlToken.End;
        }

        var c = text[_at];
        if (char.IsAsciiLetterLower(c))
        {
            Text = Take(IsOfIdentifier);
            return XlToken.Identifier;
        }

        if (char.IsAsciiDigit(c))
        {
            Text = Take(IsOfNumber);
            return XlToken.Number;
        }

        _at++;
        switch (c)
        {
            case '\n':
                (_line, _lineStart) = (_line + 1, _at);
                return XlToken.NewLine;
            case ',':
                return XlToken.Comma;
            case '[':
                return XlToken.Open;
            case ']':
                return XlToken.Close;
            case '=':
                return XlToken.Assign;
            case ';':
                return XlToken.Semicolon;
            case '+' when _at < text.Length && text[_at] == '=':
                _at++;
                return XlToken.Add;
            case '"' or '\'':
                return ReadString(c);
            default:
                mistake(Place, $"{Printable(c)} does not belong here: write key = value, with texts in quotes and keys in small letters");
                return XlToken.Wrong;
        }
    }

    private string Take(Func<char, bool> belongs)
    {
        var start = _at;
        while (_at < text.Length && belongs(text[_at]))
        {
            _at++;
        }

        return text[start.._at];
    }

    private XlToken ReadString(char quote)
    {
        var content = new StringBuilder();
        var isRight = true;
        while (_at < text.Length && text[_at] != '\n')
        {
            var place = Here;
            var c = text[_at++];
            if (c == quote)
            {
                Text = content.ToString();
                return isRight ? XlToken.String : XlToken.Wrong;
            }

            if (c == '\\' && _at < text.Length && text[_at] != '\n')
            {
                isRight &= ReadEscape(content, place);
            }
            else if (char.IsControl(c) && c != '\t')
            {
                mistake(place, $"{Printable(c)} does not belong into a text: write it as an escape");
                isRight = false;
            }
            else
            {
                content.Append(c);
            }
        }

        mistake(Place, $"the text is not closed on its line: end it with {quote}");
        return XlToken.Wrong;
    }

    private bool ReadEscape(StringBuilder content, XlPlace place)
    {
        var c = text[_at++];
        switch (c)
        {
            case '"' or '\'' or '\\':
                content.Append(c);
                return true;
            case 'x':
                return ReadCode(content, place, 16, 2, 2, "two hexadecimal digits");
            case >= '0' and <= '7':
                _at--;
                return ReadCode(content, place, 8, 1, 3, "octal digits up to 377");
        }

        const string Letters = "abfnrtv";
        const string Meanings = "\a\b\f\n\r\t\v";
        if (Letters.IndexOf(c) is var index and >= 0)
        {
            content.Append(Meanings[index]);
            return true;
        }

        mistake(place, $"there is no escape \\{(char.IsControl(c) ? "" : c)}: write \\\\ for a backslash");
        return false;
    }

    private bool ReadCode(StringBuilder content, XlPlace place, int numberBase, int least, int most, string expected)
    {
        var start = _at;
        while (_at < text.Length && _at - start < most && IsDigit(text[_at], numberBase))
        {
            _at++;
        }

        var code = _at - start < least ? 0 : Convert.ToInt32(text[start.._at], numberBase);

        // A byte, as in xl; those beyond ASCII would be half a character.
        if (code is > 0 and < 0x80)
        {
            content.Append((char)code);
            return true;
        }

        mistake(place, $"a \\ with a number needs {expected}, for a character from 1 to 0x7f: write others as they are");
        return false;
    }

    private static bool IsDigit(char c, int numberBase) => numberBase == 16 ? char.IsAsciiHexDigit(c) : c is >= '0' and <= '7';

    private static string Printable(char c) =>
        char.IsControl(c) || char.IsSurrogate(c) ? string.Create(CultureInfo.InvariantCulture, $"character 0x{(int)c:x}") : $"'{c}'";
}
