using Introspect.Rules.Language;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlParser = YamlDotNet.Core.Parser;

namespace Introspect.Rules.Files;

/// <summary>
/// Reads a YAML file into nodes that know where they stand. Anchors and aliases are refused: lists and macros do what they
/// would be for, and a small file stays small.
/// </summary>
internal sealed class YamlTreeReader
{
    private const int MaxDepth = 16;
    private const int MaxNodes = 200_000;

    private readonly SourceText _text;
    private readonly string _characters;
    private readonly YamlParser _parser;
    private readonly DiagnosticBag _diagnostics;
    private int _nodes;

    private YamlTreeReader(SourceText text, DiagnosticBag diagnostics)
    {
        _text = text;
        _diagnostics = diagnostics;
        _characters = text.Slice(0, text.Length).ToString();
        _parser = new(new StringReader(_characters));
    }

    /// <summary>Reads a file.</summary>
    /// <returns>Its root; null when it is empty, or no YAML, which is told.</returns>
    public static RuleNode? Read(SourceText text, DiagnosticBag diagnostics)
    {
        var reader = new YamlTreeReader(text, diagnostics);
        try
        {
            return reader.ReadDocument();
        }
        catch (YamlException broken)
        {
            var start = (int)Math.Clamp(broken.Start.Index, 0, text.Length);
            var why = broken.InnerException?.Message ?? broken.Message;
            diagnostics.Error(text.Span(start, start < text.Length ? 1 : 0), $"this is no YAML: {Lower(why.Trim().TrimEnd('.'))}; mend the line");
            return null;
        }
        catch (Exception e) when (e is InvalidOperationException or ArgumentException)
        {
            // What the library throws on some texts where it means that they are no YAML.
            var after = (int)Math.Clamp(reader._parser.Current?.End.Index ?? 0, 0, text.Length);
            diagnostics.Error(text.Span(after, after < text.Length ? 1 : 0), "this is no YAML: what follows here cannot be read; mend the line");
            return null;
        }
        catch (TooMuch)
        {
            diagnostics.Error(text.Span(0, 0), $"the file is nested deeper than {MaxDepth} levels or has more than {MaxNodes} values; make several files of it");
            return null;
        }
    }

    private RuleNode? ReadDocument()
    {
        _parser.Consume<StreamStart>();
        if (_parser.Accept<StreamEnd>(out _))
        {
            return null;
        }

        _parser.Consume<DocumentStart>();
        var root = ReadNode(0);
        _parser.Consume<DocumentEnd>();
        if (_parser.Accept<DocumentStart>(out var second))
        {
            _diagnostics.Error(SpanOf(second), "a second document begins here; a rule file is one, so put it into a file of its own");
        }

        return root is ScalarNode { IsEmpty: true } ? null : root;
    }

    private RuleNode ReadNode(int depth)
    {
        if (depth > MaxDepth || ++_nodes > MaxNodes)
        {
            throw new TooMuch();
        }

        var next = _parser.Consume<ParsingEvent>();
        switch (next)
        {
            case AnchorAlias alias:
                _diagnostics.Error(SpanOf(alias), "an alias means nothing in a rule file; name a list ($name) or a macro instead");
                return new ScalarNode(SpanOf(alias), new SourceFragment(SpanOf(alias)), isPlain: true);
            case NodeEvent { Anchor.IsEmpty: false } anchored:
                _diagnostics.Error(SpanOf(anchored, anchored.Anchor.Value.Length + 1), "an anchor means nothing in a rule file; write a list or a macro instead");
                break;
        }

        return next switch
        {
            Scalar scalar => new ScalarNode(SpanOf(scalar), ScalarText.Fragment(_text, _characters, scalar), scalar.Style == ScalarStyle.Plain),
            SequenceStart start => ReadSequence(start, depth),
            MappingStart start => ReadMapping(start, depth),
            _ => throw new YamlException(next.Start, next.End, "a value is missing"),
        };
    }

    private SequenceNode ReadSequence(SequenceStart start, int depth)
    {
        var items = new List<RuleNode>();
        while (!_parser.TryConsume<SequenceEnd>(out _))
        {
            items.Add(ReadNode(depth + 1));
        }

        return new(SpanOf(start), items);
    }

    private MappingNode ReadMapping(MappingStart start, int depth)
    {
        var entries = new List<(ScalarNode Key, RuleNode Value)>();
        var names = new Dictionary<string, SourceSpan>(StringComparer.Ordinal);
        while (!_parser.TryConsume<MappingEnd>(out _))
        {
            var key = ReadNode(depth + 1);
            var value = ReadNode(depth + 1);
            if (key is not ScalarNode { Text.Length: > 0 } name)
            {
                _diagnostics.Error(key.Span, "this is no key; write a word and a colon");
            }
            else if (names.TryAdd(name.Text, name.Span))
            {
                entries.Add((name, value));
            }
            else
            {
                _diagnostics.Error(name.Span, $"'{name.Text}' is there already, in line {names[name.Text].Text.PositionOf(names[name.Text].Start).Line}; remove one");
            }
        }

        // A block mapping begins at its first key.
        return new(entries.Count > 0 && start.Style == MappingStyle.Block ? entries[0].Key.Span : SpanOf(start), entries);
    }

    private SourceSpan SpanOf(ParsingEvent part, int length = -1)
    {
        var start = (int)Math.Clamp(part.Start.Index, 0, _text.Length);
        var end = length >= 0 ? Math.Min(_text.Length, start + length) : (int)Math.Clamp(part.End.Index, start, _text.Length);
        if (part is not Scalar)
        {
            // A list or a mapping is marked where it begins.
            var line = _characters.IndexOf('\n', start);
            end = Math.Min(end, line < 0 ? _text.Length : line);
        }

        return _text.Span(start, end - start);
    }

    private static string Lower(string sentence) => sentence.Length == 0 ? "it cannot be read" : char.ToLowerInvariant(sentence[0]) + sentence[1..];

    private sealed class TooMuch : Exception;
}
