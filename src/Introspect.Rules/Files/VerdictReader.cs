using System.Globalization;
using Introspect.Hypervisor;
using Introspect.Rules.Language;
using Introspect.Rules.Names;

namespace Introspect.Rules.Files;

/// <summary>Reads what stands behind <c>do:</c>: one verdict, or a list of them.</summary>
internal sealed class VerdictReader(RuleValues values)
{
    private const ulong MostSteps = 1_000_000;
    private const ulong MostViews = 511;
    private const byte HardwareException = 3;

    // Of these an event can have one.
    private static readonly VerdictKind[] Decisions = [VerdictKind.Allow, VerdictKind.Deny, VerdictKind.Emulate, VerdictKind.Skip];

    private static readonly string[] Names = Array.ConvertAll(Enum.GetValues<VerdictKind>(), RuleValues.NameOf);

    private readonly List<(VerdictKind Kind, SourceSpan Span)> _items = [];
    private VerdictPlan _plan = new();

    /// <summary>Reads it.</summary>
    public VerdictPlan Read(RuleNode node)
    {
        foreach (var item in RuleValues.Items(node))
        {
            switch (item)
            {
                case ScalarNode scalar when TryKind(scalar, out var kind):
                    if (kind is VerdictKind.Set or VerdictKind.Inject or VerdictKind.Step or VerdictKind.View or VerdictKind.Tag)
                    {
                        values.Error(scalar.Span, $"'{scalar.Text}' needs to know more; write '{Example(kind)}'");
                        continue;
                    }

                    Add(kind, scalar.Span);
                    break;
                case MappingNode { Entries: [var (key, argument)] } when TryKind(key, out var kind):
                    Add(kind, key.Span);
                    ReadArgument(kind, key, argument);
                    break;
                case MappingNode { Entries.Count: not 1 } many:
                    values.Error(many.Span, "each verdict is an item of the list; write a dash before each");
                    break;
                case SequenceNode:
                    values.Error(item.Span, "a list stands here where a verdict must be");
                    break;
            }
        }

        RefuseContradictions();
        return _plan with { Items = _items };
    }

    private bool TryKind(ScalarNode scalar, out VerdictKind kind)
    {
        var index = Array.IndexOf(Names, scalar.Text);
        kind = (VerdictKind)Math.Max(0, index);
        if (index < 0)
        {
            values.Error(scalar.Span, $"{RuleValues.Shown(scalar)} is no verdict; verdicts are {string.Join(", ", Names)}", Suggestion.Nearest(scalar.Text, Names));
        }

        return index >= 0;
    }

    private void Add(VerdictKind kind, SourceSpan span)
    {
        if (_items.Exists(item => item.Kind == kind))
        {
            values.Error(span, $"'{RuleValues.NameOf(kind)}' is there already; remove one");
            return;
        }

        _items.Add((kind, span));
    }

    private void ReadArgument(VerdictKind kind, ScalarNode key, RuleNode argument)
    {
        switch (kind)
        {
            case VerdictKind.Set:
                ReadRegisters(argument);
                break;
            case VerdictKind.Inject:
                ReadTrap(argument);
                break;
            case VerdictKind.Step when values.TryNumber(argument, "number of instructions", 1, MostSteps, out var steps):
                _plan = _plan with { Steps = (int)steps };
                break;
            case VerdictKind.View when values.TryNumber(argument, "number of a view", 0, MostViews, out var view):
                _plan = _plan with { View = (ushort)view };
                break;
            case VerdictKind.Tag:
                _plan = _plan with { Tags = [.. values.Scalars(argument, "a tag").Where(tag => values.TryName(tag, "a tag", out _)).Select(tag => tag.Text).Distinct()] };
                break;
            case VerdictKind.Emulate when values.TryMapping(argument, "'discard_writes: true'", out var options):
                values.RefuseOthers(options, "of emulate", "discard_writes");
                _plan = _plan with { DiscardsWrites = options["discard_writes"] is { } discards && values.Flag(discards, false) };
                break;
            case VerdictKind.Step or VerdictKind.View or VerdictKind.Emulate:
                break;
            default:
                values.Error(key.Span, $"'{key.Text}' takes nothing behind it; write '- {key.Text}'");
                break;
        }
    }

    private void ReadRegisters(RuleNode argument)
    {
        if (!values.TryMapping(argument, "registers with their values ('rax: 0')", out var registers))
        {
            return;
        }

        var assignments = new List<RegisterAssignment>();
        foreach (var (key, value) in registers.Entries)
        {
            if (!GuestRegisters.TryParse(key.Text, out var target))
            {
                values.Error(key.Span, $"'{key.Text}' is no register that can be set; those are {string.Join(", ", GuestRegisters.Names)}", Suggestion.Nearest(key.Text, GuestRegisters.Names));
            }
            else if (values.TryScalar(value, "a number or a register", out var scalar))
            {
                if (TryValue(scalar.Text, out var number))
                {
                    assignments.Add(new(target, null, number));
                }
                else if (GuestRegisters.TryParse(scalar.Text, out var source))
                {
                    assignments.Add(new(target, source, 0));
                }
                else
                {
                    values.Error(scalar.Span, $"{RuleValues.Shown(scalar)} is neither a number nor a register", Suggestion.Nearest(scalar.Text, GuestRegisters.Names));
                }
            }
        }

        if (registers.Entries.Count == 0)
        {
            values.Error(registers.Span, "no register is set; write 'rax: 0'");
        }

        _plan = _plan with { Registers = [.. assignments] };
    }

    private static bool TryValue(string text, out ulong value)
    {
        if (text.StartsWith('-') && long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var negative))
        {
            value = (ulong)negative;
            return true;
        }

        return RuleValues.TryNumber(text, out value);
    }

    private void ReadTrap(RuleNode argument)
    {
        if (argument is not MappingNode mapping)
        {
            if (values.TryNumber(argument, "vector", 0, 31, out var bare))
            {
                _plan = _plan with { Trap = new((byte)bare, HardwareException, 0, TrapInjection.NoErrorCode, 0) };
            }

            return;
        }

        values.RefuseOthers(mapping, "of inject", "vector", "error_code", "cr2");
        if (mapping["vector"] is not { } vector)
        {
            values.Error(mapping.Span, "the vector is missing; write 'vector: 13'");
            return;
        }

        values.TryNumber(vector, "vector", 0, 31, out var number);
        ulong error = TrapInjection.NoErrorCode, cr2 = 0;
        if (mapping["error_code"] is { } code)
        {
            values.TryNumber(code, "error code", 0, ushort.MaxValue, out error);
        }

        if (mapping["cr2"] is { } address)
        {
            values.TryNumber(address, "address", 0, ulong.MaxValue, out cr2);
        }

        _plan = _plan with { Trap = new((byte)number, HardwareException, 0, (uint)error, cr2) };
    }

    private void RefuseContradictions()
    {
        var decisions = _items.Where(item => Decisions.Contains(item.Kind)).ToList();
        foreach (var (kind, span) in decisions.Skip(1))
        {
            values.Error(span, $"'{RuleValues.NameOf(kind)}' and '{RuleValues.NameOf(decisions[0].Kind)}' contradict each other; keep one");
        }

        Contradict(VerdictKind.Count, VerdictKind.Alert, "a match is counted in any case");
        Contradict(VerdictKind.Inject, VerdictKind.Reinject, "a vCPU takes one exception at a time");
        Contradict(VerdictKind.Reinject, VerdictKind.Deny, "the guest gets its exception or does not");
        Contradict(VerdictKind.Reinject, VerdictKind.Skip, "the guest gets its exception or does not");
        Contradict(VerdictKind.Set, VerdictKind.Emulate, "what emulation does to the registers would be lost");
        if (_items.Exists(item => item.Kind == VerdictKind.Skip) && _plan.Registers.Any(assignment => assignment.Target == GuestRegister.Rip))
        {
            values.Error(_items.First(item => item.Kind == VerdictKind.Skip).Span, "'skip' sets RIP behind the instruction, and 'set' sets it elsewhere; keep one");
        }
    }

    private void Contradict(VerdictKind one, VerdictKind other, string why)
    {
        if (_items.Exists(item => item.Kind == other) && _items.Find(item => item.Kind == one) is { Span.Text: not null } item)
        {
            values.Error(item.Span, $"'{RuleValues.NameOf(one)}' and '{RuleValues.NameOf(other)}' cannot both be: {why}; keep one");
        }
    }

    private static string Example(VerdictKind kind) => kind switch
    {
        VerdictKind.Set => "- set: { rax: 0 }",
        VerdictKind.Inject => "- inject: { vector: 13, error_code: 0 }",
        VerdictKind.Step => "- step: 16",
        VerdictKind.View => "- view: 1",
        _ => "- tag: suspicious",
    };
}
