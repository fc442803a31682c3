using System.Linq.Expressions;
using System.Reflection;
using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

/// <summary>What a value is.</summary>
internal enum FieldType : byte
{
    /// <summary>A mistake; told already.</summary>
    Bad,
    Boolean,
    Number,
    Text,
}

/// <summary>How a number is written where nothing else is asked for.</summary>
internal enum NumberStyle : byte
{
    Hexadecimal,
    Decimal,
    Time,
}

/// <summary>
/// How a value is taken from an event: a member of the structure, or a method
/// <c>static T Method(ref VmEvent, ref EvaluationContext)</c>, which can say that there is none.
/// </summary>
internal sealed class FieldReader
{
    private readonly FieldInfo[]? _path;
    private readonly MethodInfo? _method;

    private FieldReader(FieldInfo[]? path, MethodInfo? method, bool canFail) => (_path, _method, CanFail) = (path, method, canFail);

    /// <summary>True when an event of the reason may have no such value.</summary>
    public bool CanFail { get; }

    /// <summary>A member, or a member of a member.</summary>
    public static FieldReader Member(params ReadOnlySpan<string> names)
    {
        var type = typeof(VmEvent);
        var path = new FieldInfo[names.Length];
        for (var i = 0; i < names.Length; i++)
        {
            path[i] = type.GetField(names[i]) ?? throw new MissingFieldException(type.Name, names[i]);
            type = path[i].FieldType;
        }

        return new(path, null, false);
    }

    /// <summary>A method of <see cref="FieldReaders"/>.</summary>
    public static FieldReader Method(string name, bool canFail = false) =>
        new(null, typeof(FieldReaders).GetMethod(name) ?? throw new MissingMethodException(nameof(FieldReaders), name), canFail);

    public Expression Emit(ParameterExpression request, ParameterExpression context, Type type)
    {
        if (_method is not null)
        {
            return Expression.Call(_method, request, context);
        }

        Expression value = request;
        foreach (var member in _path!)
        {
            value = Expression.Field(value, member);
        }

        return value.Type == type ? value : Expression.Convert(value, type);
    }
}

/// <summary>A name that stands for a value of the event.</summary>
internal sealed class Field
{
    private readonly Dictionary<VmEventReason, FieldReader> _readers = [];

    public Field(string name, FieldType type, string description)
    {
        (Name, Type, Description) = (name, type, description);
    }

    public string Name { get; }

    public FieldType Type { get; }

    /// <summary>One line for the reference.</summary>
    public string Description { get; }

    public NumberStyle Style { get; init; }

    /// <summary>Names of its values.</summary>
    public Vocabulary? Vocabulary { get; init; }

    /// <summary>Upper and lower case are the same.</summary>
    public bool IgnoresCase { get; init; }

    /// <summary>What it tells for the narrowing of subscriptions.</summary>
    public FactSubject Subject { get; init; }

    /// <summary>Reasons of events that have it.</summary>
    public VmEventReasonSet Reasons { get; private set; }

    public Field On(VmEventReason reason, FieldReader reader)
    {
        _readers.Add(reason, reader);
        Reasons = Reasons.With(reason);
        return this;
    }

    public Field OnAll(FieldReader reader)
    {
        foreach (var reason in VmEventReasonSet.All.Reasons)
        {
            On(reason, reader);
        }

        return this;
    }

    public FieldReader ReaderFor(VmEventReason reason) => _readers[reason];
}

/// <summary>Fields of which facts are told.</summary>
internal enum FactSubject : byte
{
    None,
    Reason,
    ControlRegister,
    Msr,
    Gfn,
    GuestPhysical,
    Rights,
    PageWalk,
    InstructionPointer,
    Cr3,
    Process,
    Vcpu,
    Domain,
    Old,
    New,
    Changed,
}
