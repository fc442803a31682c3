using Introspect.Rules.Language;

namespace Introspect.Rules.Files;

/// <summary>A part of a YAML file, with its place in it.</summary>
internal abstract class RuleNode(SourceSpan span)
{
    /// <summary>Where it is. Of a mapping or a list, its first line.</summary>
    public SourceSpan Span { get; } = span;

    /// <summary>What it is, for people.</summary>
    public abstract string Kind { get; }
}

/// <summary>A value.</summary>
internal sealed class ScalarNode(SourceSpan span, SourceFragment fragment, bool isPlain) : RuleNode(span)
{
    /// <summary>The text, with the place of each of its characters.</summary>
    public SourceFragment Fragment { get; } = fragment;

    /// <summary>The text.</summary>
    public string Text => Fragment.Text;

    /// <summary>True when it stands there without quotes.</summary>
    public bool IsPlain { get; } = isPlain;

    /// <summary>Nothing stands behind the key.</summary>
    public bool IsEmpty => IsPlain && Text is "" or "~" or "null" or "Null" or "NULL";

    /// <inheritdoc/>
    public override string Kind => IsEmpty ? "nothing" : "a value";
}

/// <summary>A list.</summary>
internal sealed class SequenceNode(SourceSpan span, IReadOnlyList<RuleNode> items) : RuleNode(span)
{
    /// <summary>What is in it.</summary>
    public IReadOnlyList<RuleNode> Items { get; } = items;

    /// <inheritdoc/>
    public override string Kind => "a list";
}

/// <summary>Keys with what stands behind them, in the order of the file; none twice.</summary>
internal sealed class MappingNode(SourceSpan span, IReadOnlyList<(ScalarNode Key, RuleNode Value)> entries) : RuleNode(span)
{
    /// <summary>The entries.</summary>
    public IReadOnlyList<(ScalarNode Key, RuleNode Value)> Entries { get; } = entries;

    /// <inheritdoc/>
    public override string Kind => "a mapping";

    /// <summary>What stands behind a key; null where it is not there.</summary>
    public RuleNode? this[string key]
    {
        get
        {
            foreach (var (name, value) in Entries)
            {
                if (name.Text == key)
                {
                    return value;
                }
            }

            return null;
        }
    }
}
