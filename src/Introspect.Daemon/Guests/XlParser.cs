namespace Introspect.Daemon.Guests;

/// <summary>
/// Reads the form of a guest's configuration: <c>key = value</c> and <c>key += value</c>, ended by the line or by <c>;</c>.
/// Whatever the text is, reading it ends, and every mistake is told; what was read right besides is kept.
/// </summary>
internal sealed class XlParser
{
    /// <summary>Lists in lists that there may be.</summary>
    public const int MostDepth = 32;

    /// <summary>Characters of a text, or values of a list, that can be put together.</summary>
    public const int MostSum = 1 << 14;

    private readonly XlLexer _lexer;
    private readonly Dictionary<string, XlSetting> _settings;
    private readonly Action<XlPlace, string> _mistake;
    private bool _failed;

    private XlParser(string file, string text, Dictionary<string, XlSetting> settings, Action<XlPlace, string> mistake)
    {
        (_settings, _mistake) = (settings, mistake);
        _lexer = new XlLexer(file, text, (place, what) => Fail(place, what));
    }

    /// <summary>Reads a text behind what was read before, so that it can add to it.</summary>
    /// <param name="file">What the text is called in mistakes.</param>
    /// <param name="text">The text.</param>
    /// <param name="settings">What was read before; of a key that is set again, the last one counts.</param>
    /// <param name="mistake">Told of each mistake: where and what.</param>
    public static void Read(string file, string text, Dictionary<string, XlSetting> settings, Action<XlPlace, string> mistake) =>
        new XlParser(file, text, settings, mistake).ReadFile();

    private void ReadFile()
    {
        _lexer.Next();
        while (_lexer.Token != XlToken.End)
        {
            if (_lexer.Token is XlToken.NewLine or XlToken.Semicolon)
            {
                _lexer.Next();
                continue;
            }

            _failed = false;
            ReadSetting();
            if (_failed)
            {
                SkipToNextSetting();
            }
        }
    }

    private void ReadSetting()
    {
        if (_lexer.Token != XlToken.Identifier)
        {
            Expect("a key");
            return;
        }

        var (key, place) = (_lexer.Text, _lexer.Place);
        _lexer.Next();
        if (_lexer.Token is not (XlToken.Assign or XlToken.Add))
        {
            Expect("'=' or '+='");
            return;
        }

        var adds = _lexer.Token == XlToken.Add;
        _lexer.Next();
        if (ReadValue(0) is not { } value)
        {
            return;
        }

        if (_lexer.Token is not (XlToken.NewLine or XlToken.Semicolon or XlToken.End))
        {
            Expect("the end of the line or ';'");
            return;
        }

        Store(key, adds, value, place);
    }

    private XlValue? ReadValue(int depth)
    {
        var place = _lexer.Place;
        switch (_lexer.Token)
        {
            case XlToken.String or XlToken.Number:
                var atom = new XlAtom(_lexer.Text, IsSum: false, place);
                _lexer.Next();
                return atom;
            case XlToken.Open when depth < MostDepth:
                _lexer.Next();
                return ReadList(place, depth + 1);
            case XlToken.Open:
                Fail(place, $"lists are {MostDepth} deep here: write them flat");
                return null;
            default:
                Expect("a number, a text in quotes, or a list in brackets");
                return null;
        }
    }

    private XlList? ReadList(XlPlace place, int depth)
    {
        var items = new List<XlValue>();
        while (true)
        {
            if (!SkipLines(place))
            {
                return null;
            }

            if (_lexer.Token == XlToken.Close)
            {
                _lexer.Next();
                return new(items, place);
            }

            if (ReadValue(depth) is not { } value)
            {
                return null;
            }

            items.Add(value);
            if (!SkipLines(place))
            {
                return null;
            }

            if (_lexer.Token == XlToken.Comma)
            {
                _lexer.Next();
            }
            else if (_lexer.Token != XlToken.Close)
            {
                Expect("',' or ']'");
                return null;
            }
        }
    }

    private bool SkipLines(XlPlace open)
    {
        while (_lexer.Token == XlToken.NewLine && !_lexer.IsBeforeSetting())
        {
            _lexer.Next();
        }

        if (_lexer.Token is not (XlToken.NewLine or XlToken.End))
        {
            return true;
        }

        Fail(open, "the list is not closed: end it with ']'");
        return false;
    }

    private void Store(string key, bool adds, XlValue value, XlPlace place)
    {
        if (adds)
        {
            switch (_settings.GetValueOrDefault(key)?.Value, value)
            {
                case (null, XlAtom atom):
                    value = atom with { IsSum = true };
                    break;
                case (XlAtom first, XlAtom second) when first.Text.Length + second.Text.Length <= MostSum:
                    value = new XlAtom(first.Text + second.Text, IsSum: true, second.Place);
                    break;
                case (XlList first, XlList second) when first.Items.Count + second.Items.Count <= MostSum:
                    value = new XlList([.. first.Items, .. second.Items], second.Place);
                    break;
                case (XlAtom, XlAtom) or (XlList, XlList):
                    Fail(value.Place, $"'{key}' becomes too long: leave something out");
                    return;
                case ({ } before, _):
                    Fail(value.Place, $"'{key}' is {(before is XlList ? "a list" : "a text")} from {before.Place} on: add the same to it");
                    return;
            }
        }

        _settings[key] = new(key, value, place);
    }

    private void SkipToNextSetting()
    {
        while (_lexer.Token != XlToken.End && !(_lexer.Token == XlToken.NewLine && _lexer.IsBeforeSetting()))
        {
            var isEnd = _lexer.Token == XlToken.NewLine;

            // What is wrong with the line's first word is a mistake of its own.
            _failed = !isEnd;
            _lexer.Next();
            if (isEnd && _lexer.Token is XlToken.NewLine or XlToken.Identifier or XlToken.Wrong)
            {
                return;
            }

            _failed = true;
        }
    }

    private void Expect(string what)
    {
        if (_lexer.Token == XlToken.Wrong)
        {
            // The lexer told of it.
            _failed = true;
            return;
        }

        Fail(_lexer.Place, $"{_lexer.Shown} stands where {what} is expected");
    }

    // What follows from a mistake is not another one.
    private void Fail(XlPlace place, string what)
    {
        if (!_failed)
        {
            _failed = true;
            _mistake(place, what);
        }
    }
}
