using Introspect.Rules.Names;

namespace Introspect.Rules.Language;

/// <summary>
/// Gives an expression its meaning: names become fields, constants, macros and symbols; types are checked; what is
/// constant is computed; <c>not</c> is brought down to the comparisons.
/// </summary>
internal sealed partial class Binder
{
    /// <summary>Parts that an expression may have when its macros and lists are in their places.</summary>
    public const int MaxParts = 10_000;

    /// <summary>Levels of parts in parts that an expression may have when its macros are in their places.</summary>
    public const int MaxDepth = 400;

    private static readonly ConstantTruth BadTruth = new(false);

    private readonly ExpressionScope _scope;
    private readonly VmEventReasonSet _reasons;
    private readonly DiagnosticBag _diagnostics;

    // Macros and lists whose contents are being bound, and where they are used.
    private readonly List<(string Name, SourceSpan Use)> _uses = [];
    private int _parts;
    private int _depth;
    private bool _exhausted;

    public Binder(ExpressionScope scope, VmEventReasonSet reasons, DiagnosticBag diagnostics)
    {
        _scope = scope;
        _reasons = reasons;
        _diagnostics = diagnostics;
    }

    /// <summary>True when something is wrong, be it told now or before.</summary>
    public bool HasFailed { get; private set; }

    /// <summary>True when there is something in it that others are to fill in: an empty list, a macro as a switch, an unknown symbol.</summary>
    public bool IsWaiting { get; private set; }

    // Counts a part; false when there are too many or they are too deep.
    private bool Enter(Syntax syntax)
    {
        if (_exhausted)
        {
            return false;
        }

        if (++_parts > MaxParts)
        {
            Error(syntax, $"the expression has more than {MaxParts} parts with its macros and lists in their places");
            _exhausted = true;
            return false;
        }

        if (_depth >= MaxDepth)
        {
            Error(syntax, $"the expression is nested deeper than {MaxDepth} levels with its macros in their places");
            _exhausted = true;
            return false;
        }

        return true;
    }

    private void Error(Syntax at, string message, string? suggestion = null) => Error(at.Span, message, suggestion);

    private void Error(SourceSpan at, string message, string? suggestion = null)
    {
        HasFailed = true;
        _diagnostics.Error(at, message + Via(), suggestion);
    }

    private void Warning(Syntax at, string message) => _diagnostics.Warning(at.Span, message + Via());

    // A mistake in a macro may be one only where it is used.
    private string Via() => _uses.Count == 0 ? "" : $" (in '{_uses[^1].Name}', used at {_uses[^1].Use})";

    private static string Quote(Syntax syntax)
    {
        var text = syntax.Span.Characters.ToString();
        return text.Length <= 40 && !text.AsSpan().ContainsAny('\n', '\r') ? $"'{text}'" : "this";
    }

    private bool BeginUse(string name, Syntax at)
    {
        if (_uses.Exists(u => u.Name.Equals(name, StringComparison.OrdinalIgnoreCase)))
        {
            var circle = string.Join(" -> ", _uses.Select(u => u.Name).SkipWhile(n => !n.Equals(name, StringComparison.OrdinalIgnoreCase)).Append(name));
            HasFailed = true;
            _diagnostics.Error(at.Span, $"'{name}' is defined by itself: {circle}");
            return false;
        }

        _uses.Add((name, at.Span));
        return true;
    }

    private void EndUse() => _uses.RemoveAt(_uses.Count - 1);

    // The macro of a name, where it is one and could be read.
    private Macro? MacroOf(Syntax syntax) =>
        syntax is NameSyntax name && _scope.TryGetMacro(name.Name, out var macro) ? macro : null;

    /// <summary>True when the expression is true or false, and no number or text.</summary>
    public bool IsTruth(Syntax syntax)
    {
        // A macro that is the name of a macro, and so on: recursion ends it, and is told where it is bound.
        for (var levels = 0; levels < 32; levels++)
        {
            switch (syntax)
            {
                case TruthSyntax or ChainSyntax or InSyntax or UnarySyntax { Operator: TokenKind.Not }:
                    return true;
                case BinarySyntax binary:
                    return IsComparison(binary.Operator);
                case CallSyntax call:
                    return IsBitFunction(call.Function.Name) || IsKnownFunction(call);
                case NameSyntax when MacroOf(syntax) is { } macro:
                    syntax = macro.Syntax;
                    continue;
                case NameSyntax name:
                    return Candidates(name.Name, out _).Any(f => f.Type == FieldType.Boolean && !(f.Reasons & _reasons).IsEmpty);
                default:
                    return false;
            }
        }

        return false;
    }

    // The fields of a name; one may be told by the reason that has it: mem_access.gfn, registers.rax.
    private static IEnumerable<Field> Candidates(string name, out VmEventReasonSet restriction)
    {
        restriction = VmEventReasonSet.All;
        var fields = FieldCatalog.Find(name);
        var dot = name.IndexOf('.', StringComparison.Ordinal);
        if (fields.Any() || dot < 0)
        {
            return fields;
        }

        var owner = name[..dot];
        if (Vocabulary.Reason.TryGetValue(owner, out var reason))
        {
            restriction = VmEventReasonSet.Of((Hypervisor.Abi.VmEventReason)reason);
            var only = restriction;
            return FieldCatalog.Find(name[(dot + 1)..]).Where(f => !(f.Reasons & only).IsEmpty);
        }

        return owner.Equals("registers", StringComparison.OrdinalIgnoreCase) ? FieldCatalog.Find(name[(dot + 1)..]) : [];
    }

    // The field that a name means; null when it is none (nothing told) or there is a mistake (told).
    private Field? FieldOf(NameSyntax name, out VmEventReasonSet has)
    {
        var fields = Candidates(name.Name, out var restriction).ToList();
        has = default;
        if (fields.Count == 0)
        {
            return null;
        }

        var here = fields.Where(f => !(f.Reasons & _reasons & restriction).IsEmpty).ToList();
        if (here.Count == 0)
        {
            var owners = fields.Aggregate(default(VmEventReasonSet), (all, f) => all | (f.Reasons & restriction));
            Error(name, $"events of {_reasons} have no '{name.Name}'; those of {owners} have");
            return null;
        }

        if (here.Count > 1)
        {
            var ways = string.Join(" or ", here.Select(f => $"{ReasonNames.Of((f.Reasons & _reasons).Reasons.First())}.{f.Name}"));
            Error(name, $"'{name.Name}' means different things in events of {_reasons}; write {ways}");
            return null;
        }

        has = here[0].Reasons & _reasons & restriction;
        return here[0];
    }

    private void UnknownName(NameSyntax name, Vocabulary? hint)
    {
        var known = FieldCatalog.NamesOn(_reasons).Concat(_scope.MacroNames).Concat(hint?.Names ?? []);
        var dot = name.Name.IndexOf('.', StringComparison.Ordinal);
        if (dot >= 0 && RegisterBits.Find(name.Name[..dot]) is { } register)
        {
            var bits = register.Names.Select(n => $"{register.Register}.{n}");
            Error(name, $"{register.Register} has no bit '{name.Name[(dot + 1)..]}'", Suggestion.Nearest(name.Name, bits));
            return;
        }

        if (dot >= 0)
        {
            known = known.Concat(RegisterBits.All.SelectMany(r => r.Names.Select(n => $"{r.Register}.{n}")))
                .Concat(Vocabulary.Msr.Names.Select(n => $"MSR.{n}"));
        }

        var what = hint is null ? "name" : $"name, nor one of {(hint.What is "MSR" ? "an MSR" : $"a value of '{hint.What}'")}";
        Error(name, $"'{name.Name}' is no {what} that is known here", Suggestion.Nearest(name.Name, known));
    }
}
