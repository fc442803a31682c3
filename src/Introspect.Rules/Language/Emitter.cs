using System.Linq.Expressions;
using System.Reflection;
using System.Runtime.CompilerServices;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

internal delegate bool TruthBody(ref VmEvent request, ref EvaluationContext context);

internal delegate ulong NumberBody(ref VmEvent request, ref EvaluationContext context);

internal delegate string TextBody(ref VmEvent request, ref EvaluationContext context);

/// <summary>
/// Makes code of a bound expression. A comparison in which something may be missing begins by forgetting what was missing
/// before, and is true only when nothing was missing in the end; nothing is thrown, and nothing is allocated.
/// </summary>
internal sealed class Emitter
{
    /// <summary>Ranges that are compared one after the other; more are searched.</summary>
    private const int FewRanges = 4;

    private static readonly FieldInfo IsUnknown = typeof(EvaluationContext).GetField(nameof(EvaluationContext.IsUnknown), BindingFlags.Instance | BindingFlags.NonPublic)!;
    private static readonly MethodInfo ReadLinear = typeof(GuestReads).GetMethod(nameof(GuestReads.Linear))!;
    private static readonly MethodInfo ReadPhysical = typeof(GuestReads).GetMethod(nameof(GuestReads.Physical))!;
    private static readonly MethodInfo UnknownNumber = typeof(FieldReaders).GetMethod(nameof(FieldReaders.Unknown))!;
    private static readonly MethodInfo UnknownText = typeof(FieldReaders).GetMethod(nameof(FieldReaders.UnknownText))!;
    private static readonly MethodInfo UnknownTruth = typeof(FieldReaders).GetMethod(nameof(FieldReaders.UnknownTruth))!;
    private static readonly MethodInfo Contains = typeof(NumberSet).GetMethod(nameof(NumberSet.Contains))!;
    private static readonly MethodInfo Test = typeof(TextTests).GetMethod(nameof(TextTests.Test))!;
    private static readonly MethodInfo IsOneOf = typeof(TextTests).GetMethod(nameof(TextTests.IsOneOf))!;

    private readonly ParameterExpression _request = Expression.Parameter(typeof(VmEvent).MakeByRefType(), "request");
    private readonly ParameterExpression _context = Expression.Parameter(typeof(EvaluationContext).MakeByRefType(), "context");
    private readonly VmEventReasonSet _reasons;

    private Emitter(VmEventReasonSet reasons) => _reasons = reasons;

    public static TruthBody Compile(TruthNode node, VmEventReasonSet reasons)
    {
        var emitter = new Emitter(reasons);
        return emitter.Finish<TruthBody>(emitter.Truth(node));
    }

    public static NumberBody Compile(NumberNode node, VmEventReasonSet reasons)
    {
        var emitter = new Emitter(reasons);
        return emitter.Finish<NumberBody>(emitter.Number(node));
    }

    public static TextBody Compile(TextNode node, VmEventReasonSet reasons)
    {
        var emitter = new Emitter(reasons);
        return emitter.Finish<TextBody>(emitter.Text(node));
    }

    private T Finish<T>(Expression body)
        where T : Delegate
    {
        var code = Expression.Lambda<T>(body, _request, _context).Compile(preferInterpretation: false);

        // Made machine code now, not while a vCPU waits for the first event.
        RuntimeHelpers.PrepareDelegate(code);
        return code;
    }

    private Expression Truth(TruthNode node) => node switch
    {
        ConstantTruth constant => Expression.Constant(constant.Value),
        ChainNode chain => Chain(chain.Items, 0, chain.Items.Count, chain.IsAnd),
        FieldTruth field => Guard(field, Negate(Field(field.Field, field.Has, typeof(bool), UnknownTruth), field.IsNegated)),
        CompareNode compare => Guard(compare, Compare(compare)),
        KnownNode known => Known(known),
        InNode membership => Guard(membership, In(membership)),
        TextCompareNode compare => Guard(compare, Negate(
            Expression.Call(
                Test,
                Expression.Constant(compare.Comparison),
                Text(compare.Left),
                Text(compare.Right),
                Expression.Constant(compare.Left.IgnoresCase || compare.Right.IgnoresCase)),
            compare.IsNegated)),
        TextInNode membership => Guard(membership, Negate(
            Expression.Call(IsOneOf, Text(membership.Subject), Expression.Constant(membership.Values.ToArray()), Expression.Constant(membership.Subject.IgnoresCase)),
            membership.IsNegated)),
        _ => throw new InvalidOperationException(node.GetType().Name),
    };

    // Halved again and again: the tree is no deeper than it must be, and the order of the items stays.
    private Expression Chain(IReadOnlyList<TruthNode> items, int start, int count, bool isAnd)
    {
        if (count == 1)
        {
            return Truth(items[start]);
        }

        var half = count / 2;
        var (left, right) = (Chain(items, start, half, isAnd), Chain(items, start + half, count - half, isAnd));
        return isAnd ? Expression.AndAlso(left, right) : Expression.OrElse(left, right);
    }

    private Expression Guard(TruthNode node, Expression test)
    {
        if (!node.CanFail)
        {
            return test;
        }

        var unknown = Expression.Field(_context, IsUnknown);
        return Expression.Block(
            Expression.Assign(unknown, Expression.Constant(false)),
            Expression.AndAlso(test, Expression.Not(unknown)));
    }

    private BlockExpression Known(KnownNode node)
    {
        var unknown = Expression.Field(_context, IsUnknown);
        return Expression.Block(
            Expression.Assign(unknown, Expression.Constant(false)),
            node.Value is TextNode text ? Text(text) : Number((NumberNode)node.Value),
            Negate(unknown, !node.IsNegated));
    }

    private static Expression Negate(Expression test, bool negated) => negated ? Expression.Not(test) : test;

    private BinaryExpression Compare(CompareNode node)
    {
        var (left, right) = (Number(node.Left), Number(node.Right));
        return node.Comparison switch
        {
            Comparison.Equal => Expression.Equal(left, right),
            Comparison.NotEqual => Expression.NotEqual(left, right),
            Comparison.Less => Expression.LessThan(left, right),
            Comparison.LessOrEqual => Expression.LessThanOrEqual(left, right),
            Comparison.Greater => Expression.GreaterThan(left, right),
            _ => Expression.GreaterThanOrEqual(left, right),
        };
    }

    private BlockExpression In(InNode node)
    {
        var subject = Expression.Variable(typeof(ulong), "subject");
        Expression? any = null;
        if (node.Constants.Ranges.Count > FewRanges)
        {
            any = Expression.Call(Expression.Constant(node.Constants), Contains, subject);
        }
        else
        {
            foreach (var range in node.Constants.Ranges)
            {
                any = Or(any, range.First == range.Last
                    ? Expression.Equal(subject, Expression.Constant(range.First))
                    : Expression.LessThanOrEqual(
                        Expression.Subtract(subject, Expression.Constant(range.First)),
                        Expression.Constant(range.Last - range.First)));
            }
        }

        // Halved for the same reason as chains; constants are tried first, since they cannot fail.
        if (node.Ranges.Count > 0)
        {
            any = Or(any, Ranges(node, subject, 0, node.Ranges.Count));
        }

        return Expression.Block(
            [subject],
            Expression.Assign(subject, Number(node.Subject)),
            Negate(any ?? Expression.Constant(false), node.IsNegated));
    }

    private static Expression Or(Expression? left, Expression right) => left is null ? right : Expression.OrElse(left, right);

    private BinaryExpression Ranges(InNode node, ParameterExpression subject, int start, int count)
    {
        if (count > 1)
        {
            var half = count / 2;
            return Expression.OrElse(Ranges(node, subject, start, half), Ranges(node, subject, start + half, count - half));
        }

        var (first, last) = node.Ranges[start];
        return last is null
            ? Expression.Equal(subject, Number(first))
            : Expression.AndAlso(Expression.GreaterThanOrEqual(subject, Number(first)), Expression.LessThanOrEqual(subject, Number(last)));
    }

    private Expression Number(NumberNode node) => node switch
    {
        ConstantNumber constant => Expression.Constant(constant.Value),
        FieldNumber field => Field(field.Field, field.Has, typeof(ulong), UnknownNumber),
        ComplementNumber complement => Expression.OnesComplement(Number(complement.Operand)),
        BinaryNumber binary => Arithmetic(binary),
        MemoryNumber { IsPhysical: true } read => Expression.Call(ReadPhysical, _context, Number(read.Address), Expression.Constant(read.Bytes)),
        MemoryNumber read => Expression.Call(ReadLinear, _request, _context, Number(read.Address), Expression.Constant(read.Bytes)),
        Language.UnknownNumber => Expression.Call(UnknownNumber, _context),
        _ => throw new InvalidOperationException(node.GetType().Name),
    };

    private Expression Arithmetic(BinaryNumber node)
    {
        var (left, right) = (Number(node.Left), Number(node.Right));
        return node.Operator switch
        {
            NumberOperator.Or => Expression.Or(left, right),
            NumberOperator.Xor => Expression.ExclusiveOr(left, right),
            NumberOperator.And => Expression.And(left, right),
            NumberOperator.Add => Expression.Add(left, right),
            NumberOperator.Subtract => Expression.Subtract(left, right),
            NumberOperator.Multiply => Expression.Multiply(left, right),
            NumberOperator.ShiftLeft => Shift(left, right, node.Right, Expression.LeftShift),
            _ => Shift(left, right, node.Right, Expression.RightShift),
        };
    }

    // The processor shifts by the count modulo 64; here 64 and more leave nothing.
    private static Expression Shift(Expression left, Expression right, NumberNode count, Func<Expression, Expression, BinaryExpression> shift)
    {
        if (count is ConstantNumber constant)
        {
            return constant.Value < 64
                ? shift(left, Expression.Constant((int)constant.Value))
                : Expression.Multiply(left, Expression.Constant(0UL));
        }

        var value = Expression.Variable(typeof(ulong), "value");
        var by = Expression.Variable(typeof(ulong), "by");
        return Expression.Block(
            [value, by],
            Expression.Assign(value, left),
            Expression.Assign(by, right),
            Expression.Condition(
                Expression.LessThan(by, Expression.Constant(64UL)),
                shift(value, Expression.Convert(by, typeof(int))),
                Expression.Constant(0UL)));
    }

    private Expression Text(TextNode node) => node switch
    {
        ConstantText constant => Expression.Constant(constant.Value),
        FieldText field => Field(field.Field, field.Has, typeof(string), UnknownText),
        _ => throw new InvalidOperationException(node.GetType().Name),
    };

    // Each reason may have the field at a place of its own, or not at all.
    private Expression Field(Field field, VmEventReasonSet has, Type type, MethodInfo unknown)
    {
        var readers = has.Reasons.GroupBy(field.ReaderFor).ToList();
        var result = has == _reasons ? null : (Expression)Expression.Call(unknown, _context);
        var reason = Expression.Field(_request, nameof(VmEvent.Reason));
        foreach (var reader in readers)
        {
            var value = reader.Key.Emit(_request, _context, type);
            if (result is null)
            {
                result = value;
                continue;
            }

            var test = reader.Select(r => (Expression)Expression.Equal(reason, Expression.Constant(r))).Aggregate(Expression.OrElse);
            result = Expression.Condition(test, value, result);
        }

        return result!;
    }
}
