using Introspect.Rules.Names;

namespace Introspect.Rules.Language;

/// <summary>A part of an expression whose meaning and type are known.</summary>
internal abstract class Node
{
    /// <summary>True when an event, or its domain's memory, may have no such value.</summary>
    public virtual bool CanFail => false;

    /// <summary>True when it may read the guest's memory.</summary>
    public virtual bool ReadsMemory => false;
}

internal abstract class NumberNode : Node
{
    /// <summary>How it is written where nothing else is asked for.</summary>
    public virtual NumberStyle Style => NumberStyle.Hexadecimal;

    /// <summary>Names of its values.</summary>
    public virtual Vocabulary? Vocabulary => null;
}

/// <summary>A number, and of which register's bits its names were.</summary>
internal sealed class ConstantNumber(ulong value, RegisterBits? bits = null, Vocabulary? vocabulary = null) : NumberNode
{
    public ulong Value { get; } = value;

    public RegisterBits? Bits { get; } = bits;

    /// <summary>Where the first of these names is.</summary>
    public SourceSpan Origin { get; init; }

    public override Vocabulary? Vocabulary { get; } = vocabulary;
}

/// <summary>A field of the event.</summary>
/// <param name="field">The field.</param>
/// <param name="has">Reasons of the rule whose events have it.</param>
/// <param name="all">All reasons of the rule.</param>
internal sealed class FieldNumber(Field field, VmEventReasonSet has, VmEventReasonSet all) : NumberNode
{
    public Field Field { get; } = field;

    public VmEventReasonSet Has { get; } = has;

    public override bool CanFail { get; } = has != all || has.Reasons.Any(r => field.ReaderFor(r).CanFail);

    public override NumberStyle Style => Field.Style;

    public override Vocabulary? Vocabulary => Field.Vocabulary;
}

internal enum NumberOperator : byte
{
    Or,
    Xor,
    And,
    ShiftLeft,
    ShiftRight,
    Add,
    Subtract,
    Multiply,
}

internal sealed class BinaryNumber(NumberOperator op, NumberNode left, NumberNode right) : NumberNode
{
    public NumberOperator Operator { get; } = op;

    public NumberNode Left { get; } = left;

    public NumberNode Right { get; } = right;

    public override bool CanFail => Left.CanFail || Right.CanFail;

    public override bool ReadsMemory => Left.ReadsMemory || Right.ReadsMemory;
}

internal sealed class ComplementNumber(NumberNode operand) : NumberNode
{
    public NumberNode Operand { get; } = operand;

    public override bool CanFail => Operand.CanFail;

    public override bool ReadsMemory => Operand.ReadsMemory;
}

/// <summary>A number in the guest's memory, of 1, 2, 4 or 8 bytes.</summary>
internal sealed class MemoryNumber(int bytes, bool isPhysical, NumberNode address) : NumberNode
{
    public int Bytes { get; } = bytes;

    public bool IsPhysical { get; } = isPhysical;

    public NumberNode Address { get; } = address;

    public override bool CanFail => true;

    public override bool ReadsMemory => true;
}

/// <summary>Something that is not known before there is a guest: the address of a symbol.</summary>
internal sealed class UnknownNumber : NumberNode
{
    public override bool CanFail => true;
}

internal abstract class TextNode : Node
{
    /// <summary>Upper and lower case are the same.</summary>
    public virtual bool IgnoresCase => false;
}

internal sealed class ConstantText(string value, bool ignoresCase = false) : TextNode
{
    public string Value { get; } = value;

    public override bool IgnoresCase { get; } = ignoresCase;
}

internal sealed class FieldText(Field field, VmEventReasonSet has, VmEventReasonSet all) : TextNode
{
    public Field Field { get; } = field;

    public VmEventReasonSet Has { get; } = has;

    public override bool CanFail { get; } = has != all || has.Reasons.Any(r => field.ReaderFor(r).CanFail);

    public override bool IgnoresCase => Field.IgnoresCase;
}

/// <summary>
/// A truth. There is no negation: <c>not</c> is brought down to the comparisons, so that a comparison of something unknown
/// is not true whether it is negated or not.
/// </summary>
internal abstract class TruthNode : Node;

internal sealed class ConstantTruth(bool value) : TruthNode
{
    public bool Value { get; } = value;
}

internal sealed class ChainNode(bool isAnd, IReadOnlyList<TruthNode> items) : TruthNode
{
    public bool IsAnd { get; } = isAnd;

    public IReadOnlyList<TruthNode> Items { get; } = items;

    public override bool CanFail => Items.Any(i => i.CanFail);

    public override bool ReadsMemory => Items.Any(i => i.ReadsMemory);
}

internal sealed class FieldTruth(Field field, VmEventReasonSet has, VmEventReasonSet all, bool negated) : TruthNode
{
    public Field Field { get; } = field;

    public VmEventReasonSet Has { get; } = has;

    public bool IsNegated { get; } = negated;

    public override bool CanFail { get; } = has != all;
}

internal enum Comparison : byte
{
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

internal sealed class CompareNode(Comparison comparison, NumberNode left, NumberNode right) : TruthNode
{
    public Comparison Comparison { get; } = comparison;

    public NumberNode Left { get; } = left;

    public NumberNode Right { get; } = right;

    public override bool CanFail => Left.CanFail || Right.CanFail;

    public override bool ReadsMemory => Left.ReadsMemory || Right.ReadsMemory;
}

/// <summary>Whether something has a value at all: the one question whose answer is always known.</summary>
internal sealed class KnownNode(Node value, bool negated) : TruthNode
{
    public Node Value { get; } = value;

    public bool IsNegated { get; } = negated;

    public override bool ReadsMemory => Value.ReadsMemory;
}

/// <summary>A number among constant ones, or in ranges whose ends are asked for at the event.</summary>
internal sealed class InNode(NumberNode subject, NumberSet constants, IReadOnlyList<(NumberNode First, NumberNode? Last)> ranges, bool negated) : TruthNode
{
    public NumberNode Subject { get; } = subject;

    public NumberSet Constants { get; } = constants;

    /// <summary>Ranges; without a last number, the first alone.</summary>
    public IReadOnlyList<(NumberNode First, NumberNode? Last)> Ranges { get; } = ranges;

    public bool IsNegated { get; } = negated;

    public override bool CanFail => Subject.CanFail || Ranges.Any(r => r.First.CanFail || r.Last is { CanFail: true });

    public override bool ReadsMemory => Subject.ReadsMemory || Ranges.Any(r => r.First.ReadsMemory || r.Last is { ReadsMemory: true });
}

internal enum TextComparison : byte
{
    Equal,
    StartsWith,
    EndsWith,
    Contains,
    Matches,
}

internal sealed class TextCompareNode(TextComparison comparison, TextNode left, TextNode right, bool negated) : TruthNode
{
    public TextComparison Comparison { get; } = comparison;

    public TextNode Left { get; } = left;

    public TextNode Right { get; } = right;

    public bool IsNegated { get; } = negated;

    public override bool CanFail => Left.CanFail || Right.CanFail;
}

/// <summary>A text among constant ones.</summary>
internal sealed class TextInNode(TextNode subject, IReadOnlyList<string> values, bool negated) : TruthNode
{
    public TextNode Subject { get; } = subject;

    public IReadOnlyList<string> Values { get; } = values;

    public bool IsNegated { get; } = negated;

    public override bool CanFail => Subject.CanFail;
}
