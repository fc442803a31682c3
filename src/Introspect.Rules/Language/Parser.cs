namespace Introspect.Rules.Language;

/// <summary>
/// Reads an expression by the binding powers of its operators. What is wrong is told, and reading goes on behind it, so
/// that all mistakes are told at once; a mistake that only follows from the one before it is not.
/// </summary>
internal sealed class Parser
{
    /// <summary>Levels of parts in parts that an expression may have.</summary>
    public const int MaxDepth = 100;

    private const int OrPower = 1;
    private const int AndPower = 2;
    private const int NotPower = 3;
    private const int ComparisonPower = 4;
    private const int BarPower = 5;
    private const int UnaryPower = 11;

    private readonly SourceFragment _source;
    private readonly DiagnosticBag _diagnostics;
    private readonly List<Token> _tokens = [];
    private int _at;
    private int _depth;
    private int _lastMistake = -2;

    private Parser(SourceFragment source, DiagnosticBag diagnostics, int start, bool inTemplate)
    {
        _source = source;
        _diagnostics = diagnostics;
        var lexer = new Lexer(source, diagnostics, start);
        Token token;
        do
        {
            token = lexer.Next();
            if (inTemplate && token.Kind is TokenKind.Colon or TokenKind.CloseBrace)
            {
                EndOfPlace = token.Start;
                token = new(TokenKind.End, token.Start, 0);
            }

            _tokens.Add(token);
        }
        while (token.Kind != TokenKind.End);
    }

    private int EndOfPlace { get; } = -1;

    private Token Current => _tokens[_at];

    /// <summary>Reads a whole expression.</summary>
    public static Syntax Parse(SourceFragment source, DiagnosticBag diagnostics)
    {
        if (!HasBearableLength(source, diagnostics))
        {
            return new BadSyntax(source, 0, 0);
        }

        return new Parser(source, diagnostics, 0, inTemplate: false).All(static p => p.Expression(0));
    }

    /// <summary>Reads what may stand in a list: an expression, a range, another list.</summary>
    public static Syntax ParseItem(SourceFragment source, DiagnosticBag diagnostics)
    {
        if (!HasBearableLength(source, diagnostics))
        {
            return new BadSyntax(source, 0, 0);
        }

        return new Parser(source, diagnostics, 0, inTemplate: false).All(static p => p.Item());
    }

    /// <summary>Reads an expression in a template, up to the colon or brace that ends it.</summary>
    /// <returns>Where it ends; -1 when nothing ends it.</returns>
    public static int ParsePlace(SourceFragment source, int start, DiagnosticBag diagnostics, out Syntax syntax)
    {
        var parser = new Parser(source, diagnostics, start, inTemplate: true);
        syntax = parser.All(static p => p.Expression(0));
        return parser.EndOfPlace;
    }

    /// <summary>Tells when a text is too long for a hostile file to be read in bearable time.</summary>
    public static bool HasBearableLength(SourceFragment source, DiagnosticBag diagnostics)
    {
        if (source.Text.Length <= Lexer.LongestSource)
        {
            return true;
        }

        diagnostics.Error(source.SpanOf(0, 1), $"the text that begins here has {source.Text.Length} characters; {Lexer.LongestSource} are the most");
        return false;
    }

    private Syntax All(Func<Parser, Syntax> read)
    {
        var syntax = read(this);
        var whole = true;
        while (Current.Kind != TokenKind.End)
        {
            // What follows is read for its own mistakes.
            whole = false;
            Mistake(Current.Kind is TokenKind.CloseParenthesis or TokenKind.CloseBracket
                ? $"there is no open one for this '{TextOf(Current)}'"
                : Current.Kind == TokenKind.DotDot ? "a range stands behind 'in'"
                : $"'{TextOf(Current)}' cannot follow here; is an operator missing?");
            var before = _at;
            if (!StartsOperand(Current.Kind))
            {
                _at++;
            }

            if (Current.Kind != TokenKind.End)
            {
                read(this);
            }

            if (_at == before)
            {
                _at++;
            }
        }

        return whole ? syntax : new BadSyntax(_source, syntax.Start, Current.Start);
    }

    private Syntax Expression(int power)
    {
        if (++_depth > MaxDepth)
        {
            _depth--;
            return TooDeep(Current.Start);
        }

        var left = Prefix();
        while (true)
        {
            var op = Current;
            var negated = op.Kind == TokenKind.Not && _tokens[_at + 1].Kind == TokenKind.In;
            var opPower = negated ? ComparisonPower : PowerOf(op.Kind);
            if (opPower <= power || opPower == 0)
            {
                _depth--;
                return left;
            }

            if (op.Kind is TokenKind.And or TokenKind.Or)
            {
                left = Chain(left, op.Kind, opPower);
                continue;
            }

            _at += negated ? 2 : 1;
            left = opPower != ComparisonPower ? new BinarySyntax(_source, op, left, Expression(opPower))
                : negated || op.Kind == TokenKind.In ? In(left, negated)
                : new BinarySyntax(_source, op, left, Expression(opPower));
            if (left.Depth > MaxDepth)
            {
                _depth--;
                return TooDeep(op.Start);
            }

            if (opPower == ComparisonPower && PowerOf(Current.Kind) == ComparisonPower)
            {
                Mistake("comparisons do not chain; write a < b and b < c");
            }
        }
    }

    private ChainSyntax Chain(Syntax first, TokenKind op, int power)
    {
        var items = new List<Syntax> { first };
        while (Current.Kind == op)
        {
            _at++;
            items.Add(Expression(power));
        }

        return new(_source, op == TokenKind.And, items);
    }

    private InSyntax In(Syntax subject, bool negated)
    {
        if (Current.Kind != TokenKind.OpenParenthesis)
        {
            var item = Item();
            return new(_source, subject, negated, [item], item.End);
        }

        var items = ListInParentheses(static p => p.Item());
        if (items.Count == 0)
        {
            Mistake("nothing is in an empty list", _at - 1);
        }

        return new(_source, subject, negated, items, _tokens[_at - 1].End);
    }

    private Syntax Item()
    {
        var first = Expression(ComparisonPower);
        if (Current.Kind != TokenKind.DotDot)
        {
            return first;
        }

        _at++;
        return new RangeSyntax(_source, first, Expression(ComparisonPower));
    }

    private Syntax Prefix()
    {
        var token = Current;
        switch (token.Kind)
        {
            case TokenKind.Not:
                _at++;
                return new UnarySyntax(_source, token.Start, TokenKind.Not, Expression(NotPower));
            case TokenKind.Bang or TokenKind.Tilde or TokenKind.Minus:
                _at++;
                return new UnarySyntax(_source, token.Start, token.Kind == TokenKind.Bang ? TokenKind.Not : token.Kind, Expression(UnaryPower));
            case TokenKind.Ampersand:
                _at++;
                return Address(token);
            case TokenKind.Number:
                _at++;
                return new NumberSyntax(_source, token);
            case TokenKind.Text:
                _at++;
                return new TextSyntax(_source, token.Start, token.End, token.Text!);
            case TokenKind.True or TokenKind.False:
                _at++;
                return new TruthSyntax(_source, token);
            case TokenKind.ListName:
                _at++;
                return new ListNameSyntax(_source, token);
            case TokenKind.Name:
                return Name();
            case TokenKind.In when _at > 0 && _tokens[_at - 1].Kind is TokenKind.Equal or TokenKind.NotEqual:
                // The direction of a port access has this name.
                _at++;
                return new NameSyntax(_source, token.Start, token.End, "in");
            case TokenKind.OpenParenthesis:
                return Parenthesised();
            default:
                Mistake(token.Kind == TokenKind.End ? "something is missing at the end of the expression" : $"a value is missing before '{TextOf(token)}'");
                if (token.Kind == TokenKind.Bad)
                {
                    _at++;
                }

                return new BadSyntax(_source, token.Start, token.End);
        }
    }

    private Syntax Parenthesised()
    {
        var open = _at++;
        var inner = Expression(0);
        if (Current.Kind == TokenKind.CloseParenthesis)
        {
            _at++;
            return inner;
        }

        if (Current.Kind is TokenKind.Comma or TokenKind.DotDot)
        {
            Mistake("a list or a range stands behind 'in'");
            SkipPast(TokenKind.CloseParenthesis);
            return new BadSyntax(_source, _tokens[open].Start, Current.Start);
        }

        Unclosed(open);
        return inner;
    }

    private Syntax Name()
    {
        var first = _at++;
        var text = _tokens[first].Text!;
        while (Current.Kind == TokenKind.Dot)
        {
            // Behind a dot every word is a name: io_instruction.string, EFER.NXE.
            var part = _tokens[_at + 1];
            var word = part.Text ?? (Lexer.IsNameStart(CharacterAt(part)) ? TextOf(part) : null);
            if (word is null || part.Kind is TokenKind.Text or TokenKind.ListName)
            {
                Mistake("a name follows a dot", _at);
                _at++;
                return new BadSyntax(_source, _tokens[first].Start, Current.Start);
            }

            text = $"{text}.{word}";
            _at += 2;
        }

        var name = new NameSyntax(_source, _tokens[first].Start, _tokens[_at - 1].End, text);
        if (Current.Kind == TokenKind.OpenParenthesis)
        {
            var arguments = ListInParentheses(static p => p.Expression(0));
            return new CallSyntax(_source, name, arguments, _tokens[_at - 1].End);
        }

        if (Current.Kind != TokenKind.OpenBracket)
        {
            return name;
        }

        var open = _at++;
        var address = Expression(0);
        if (Current.Kind == TokenKind.CloseBracket)
        {
            _at++;
        }
        else
        {
            Unclosed(open);
        }

        return new ReadSyntax(_source, name, address, _tokens[_at - 1].End);
    }

    private Syntax Address(Token ampersand)
    {
        var token = Current;
        if (token.Kind is not (TokenKind.Name or TokenKind.Text))
        {
            Mistake("the name of a symbol follows '&'; between two numbers '&' needs one on its left");
            return new BadSyntax(_source, ampersand.Start, ampersand.End);
        }

        _at++;
        return new AddressSyntax(_source, ampersand.Start, token.End, token.Text!);
    }

    private List<Syntax> ListInParentheses(Func<Parser, Syntax> read)
    {
        var open = _at++;
        var items = new List<Syntax>();
        while (Current.Kind is not (TokenKind.CloseParenthesis or TokenKind.End))
        {
            var before = _at;
            items.Add(read(this));
            if (Current.Kind == TokenKind.Comma)
            {
                _at++;
            }
            else if (Current.Kind != TokenKind.CloseParenthesis)
            {
                if (Current.Kind == TokenKind.End || !StartsOperand(Current.Kind))
                {
                    break;
                }

                Mistake($"a comma is missing before '{TextOf(Current)}'");
                _at += _at == before ? 1 : 0;
            }
        }

        if (Current.Kind == TokenKind.CloseParenthesis)
        {
            _at++;
        }
        else
        {
            Unclosed(open);
        }

        return items;
    }

    private void Unclosed(int open)
    {
        var token = _tokens[open];
        if (_at > _lastMistake + 1)
        {
            _lastMistake = _at;
            _diagnostics.Error(_source.SpanOf(token.Start, token.Length), $"this '{TextOf(token)}' is not closed");
        }
    }

    private BadSyntax TooDeep(int start)
    {
        _diagnostics.Error(_source.SpanOf(start, 1), $"the expression is nested deeper than {MaxDepth} levels here; make macros of its parts, or use 'in'");
        _at = _tokens.Count - 1;
        _lastMistake = _at;
        return new(_source, start, start);
    }

    private void SkipPast(TokenKind kind)
    {
        while (Current.Kind is var now && now != TokenKind.End)
        {
            _at++;
            if (now == kind)
            {
                return;
            }
        }
    }

    private void Mistake(string message, int? at = null)
    {
        var token = _tokens[at ?? _at];
        var follows = _at <= _lastMistake + 1 || token.Kind == TokenKind.Bad || (_at > 0 && _tokens[_at - 1].Kind == TokenKind.Bad);
        _lastMistake = _at;
        if (!follows)
        {
            _diagnostics.Error(_source.SpanOf(token.Start, token.Length), message);
        }
    }

    private string TextOf(Token token) => _source.Text.Substring(token.Start, Math.Min(token.Length, 40));

    private char CharacterAt(Token token) => token.Start < _source.Text.Length ? _source.Text[token.Start] : '\0';

    private static bool StartsOperand(TokenKind kind) => kind is TokenKind.Number or TokenKind.Text or TokenKind.Name or TokenKind.ListName
        or TokenKind.OpenParenthesis or TokenKind.Not or TokenKind.Bang or TokenKind.Tilde or TokenKind.True or TokenKind.False;

    private static int PowerOf(TokenKind kind) => kind switch
    {
        TokenKind.Or => OrPower,
        TokenKind.And => AndPower,
        TokenKind.Equal or TokenKind.NotEqual or TokenKind.Less or TokenKind.LessOrEqual or TokenKind.Greater or TokenKind.GreaterOrEqual
            or TokenKind.In or TokenKind.StartsWith or TokenKind.EndsWith or TokenKind.Contains or TokenKind.Matches => ComparisonPower,
        TokenKind.Bar => BarPower,
        TokenKind.Caret => BarPower + 1,
        TokenKind.Ampersand => BarPower + 2,
        TokenKind.ShiftLeft or TokenKind.ShiftRight => BarPower + 3,
        TokenKind.Plus or TokenKind.Minus => BarPower + 4,
        TokenKind.Star => BarPower + 5,
        _ => 0,
    };
}
