using Introspect.Rules.Names;

namespace Introspect.Rules.Language;

/// <content>What stands behind <c>in</c>.</content>
internal sealed partial class Binder
{
    private TruthNode In(InSyntax syntax, bool negate)
    {
        if (IsTruth(syntax.Subject))
        {
            return BadCondition(syntax.Subject, $"{Quote(syntax.Subject)} is true or false, and in no list");
        }

        negate ^= syntax.IsNegated;
        switch (Value(syntax.Subject))
        {
            case NumberNode number:
                var numbers = new NumberItems(number.Vocabulary);
                foreach (var item in syntax.Items)
                {
                    AddNumber(item, numbers);
                }

                var constants = NumberSet.Of(numbers.Constants);
                return number is ConstantNumber constant && numbers.Ranges.Count == 0
                    ? new ConstantTruth(constants.Contains(constant.Value) != negate)
                    : new InNode(number, constants, numbers.Ranges, negate);
            case TextNode text:
                var texts = new List<string>();
                foreach (var item in syntax.Items)
                {
                    AddText(item, texts);
                }

                return text is ConstantText known
                    ? new ConstantTruth(TextTests.IsOneOf(known.Value, [.. texts], known.IgnoresCase) != negate)
                    : new TextInNode(text, texts, negate);
            default:
                return BadTruth;
        }
    }

    private void AddNumber(Syntax syntax, NumberItems items)
    {
        switch (syntax)
        {
            case ListNameSyntax list:
                AddList(list, item => AddNumber(item.Parse(_diagnostics), items));
                return;
            case CallSyntax call when call.Function.Name.Equals("sym", StringComparison.OrdinalIgnoreCase):
                AddSymbol(call, items);
                return;
            case RangeSyntax range when items.Names is { IsStrict: true }:
                Error(range, $"'{items.Names.What}' has names for values, of which there are no ranges");
                return;
            case RangeSyntax range:
                var (first, last) = (Number(range.First, items.Names), Number(range.Last, items.Names));
                if (first is ConstantNumber a && last is ConstantNumber b)
                {
                    if (a.Value > b.Value)
                    {
                        Error(range, "the range ends before it begins");
                    }

                    items.Constants.Add(new(a.Value, b.Value));
                }
                else if (first is not null && last is not null)
                {
                    items.Ranges.Add((first, last));
                }

                return;
        }

        var value = Value(syntax, items.Names);
        switch (value)
        {
            case null:
                HasFailed = true;
                return;
            case NumberNode when items.Names is { IsStrict: true } names && ((NumberNode)value).Vocabulary != names:
                Error(syntax, $"{Quote(syntax)} is no {names.What}; write one of {string.Join(", ", names.Names.Take(8))}");
                return;
            case NumberNode { Vocabulary: { IsStrict: true } names } when names != items.Names:
                Error(syntax, $"'{names.What}' has names for values, not numbers");
                return;
            case ConstantNumber constant:
                items.Constants.Add(new(constant.Value, constant.Value));
                return;
            case NumberNode number:
                items.Ranges.Add((number, null));
                return;
            default:
                Error(syntax, $"{Quote(syntax)} is a text among numbers");
                return;
        }
    }

    private void AddSymbol(CallSyntax call, NumberItems items)
    {
        var name = call.Arguments is [NameSyntax or TextSyntax] ? call.Arguments[0] switch
        {
            NameSyntax symbol => symbol.Name,
            TextSyntax text => text.Value,
            _ => null,
        }
        : null;
        if (name is null)
        {
            Error(call, "sym(…) takes the name of one symbol: sym(do_idle), sym(\"do_idle.cold\")");
            return;
        }

        if (Symbol(call.Arguments[0], name) is not { } ranges)
        {
            return;
        }

        items.Constants.AddRange(ranges);
        if (ranges.Count == 0)
        {
            items.Ranges.Add((new UnknownNumber(), null));
        }
    }

    private void AddText(Syntax syntax, List<string> items)
    {
        switch (syntax)
        {
            case TextSyntax text:
                items.Add(text.Value);
                return;
            case ListNameSyntax list:
                AddList(list, item => AddText(item, items));
                return;
            case BadSyntax:
                HasFailed = true;
                return;
            case NameSyntax when MacroOf(syntax) is null:
                Error(syntax, $"texts are compared with texts in quotes: \"{syntax.Span.Characters}\"");
                return;
        }

        if (Value(syntax) is not { } value)
        {
            return;
        }

        if (value is ConstantText constant)
        {
            items.Add(constant.Value);
        }
        else
        {
            Error(syntax, $"{Quote(syntax)} is no constant text; write it in quotes");
        }
    }

    // In a list that a text is compared with, what is no name of a list is text as it stands.
    private void AddText(ListItem item, List<string> items)
    {
        var text = item.Source.Text.Trim();
        if (text.Length > 0 && text[0] is '$' or '"' or '\'')
        {
            AddText(item.Parse(_diagnostics), items);
        }
        else
        {
            items.Add(text);
        }
    }

    private void AddList(ListNameSyntax syntax, Action<ListItem> add)
    {
        if (!_scope.TryGetList(syntax.Name, out var list))
        {
            Error(syntax, $"there is no list '{syntax.Name}'", Suggestion.Nearest(syntax.Name, _scope.ListNames) is { } near ? $"${near}" : null);
            return;
        }

        if (!BeginUse($"${syntax.Name}", syntax))
        {
            return;
        }

        IsWaiting |= list.Length == 0;
        foreach (var item in list)
        {
            if (!Enter(syntax))
            {
                break;
            }

            add(item);
        }

        EndUse();
    }

    private sealed class NumberItems(Vocabulary? names)
    {
        public Vocabulary? Names { get; } = names;

        public List<NumberRange> Constants { get; } = [];

        public List<(NumberNode First, NumberNode? Last)> Ranges { get; } = [];
    }
}
