using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Language;
using Introspect.Rules.Names;

namespace Introspect.Rules.Files;

/// <summary>Reads what stands behind <c>on:</c>: a reason, a reason with options, or a list of them.</summary>
internal sealed class OnReader(RuleValues values)
{
    // The hypervisor sends no others to a monitor of this kind.
    private static readonly VmEventReason[] Reasons =
    [
        VmEventReason.MemAccess, VmEventReason.WriteCtrlreg, VmEventReason.MovToMsr, VmEventReason.SoftwareBreakpoint,
        VmEventReason.Singlestep, VmEventReason.GuestRequest, VmEventReason.DebugException, VmEventReason.Cpuid,
        VmEventReason.Interrupt, VmEventReason.DescriptorAccess, VmEventReason.EmulUnimplemented, VmEventReason.VmExit,
        VmEventReason.IoInstruction,
    ];

    private static readonly string[] ReasonNames = Array.ConvertAll(Reasons, Rules.Names.ReasonNames.Of);

    /// <summary>Every name that can stand there.</summary>
    public static IReadOnlyList<string> KnownNames => ReasonNames;

    /// <summary>Events that can be told without the vCPU waiting.</summary>
    public static bool HasChoiceOfSync(VmEventReason reason) =>
        reason is VmEventReason.WriteCtrlreg or VmEventReason.GuestRequest or VmEventReason.DebugException or VmEventReason.VmExit or VmEventReason.IoInstruction;

    /// <summary>The reason of a name.</summary>
    public static bool TryReason(string name, out VmEventReason reason)
    {
        var index = Array.IndexOf(ReasonNames, name);
        reason = index >= 0 ? Reasons[index] : VmEventReason.Unknown;
        return index >= 0;
    }

    /// <summary>Reads it.</summary>
    public IReadOnlyList<OnClause> Read(RuleNode node)
    {
        var clauses = new List<OnClause>();
        foreach (var item in RuleValues.Items(node))
        {
            switch (item)
            {
                case ScalarNode scalar:
                    Add(clauses, scalar, null);
                    break;
                case MappingNode { Entries.Count: 0 } empty:
                    values.Error(empty.Span, $"no event stands here; name one of {string.Join(", ", ReasonNames)}");
                    break;
                case MappingNode mapping:
                    foreach (var (key, options) in mapping.Entries)
                    {
                        Add(clauses, key, options);
                    }

                    break;
                default:
                    values.Error(item.Span, "a list stands here where the reason of an event must be");
                    break;
            }
        }

        if (clauses.Count == 0 && RuleValues.Items(node).Count == 0)
        {
            values.Error(node.Span, $"the rule is on no event; name one of {string.Join(", ", ReasonNames)}");
        }

        return clauses;
    }

    private void Add(List<OnClause> clauses, ScalarNode name, RuleNode? options)
    {
        if (!TryReason(name.Text, out var reason))
        {
            values.Error(name.Span, $"{RuleValues.Shown(name)} is no event; events are {string.Join(", ", ReasonNames)}", Suggestion.Nearest(name.Text, ReasonNames));
            return;
        }

        var clause = new OnClause(reason, name.Span);
        if (clauses.Exists(other => other.Reason == reason))
        {
            values.Error(name.Span, $"'{name.Text}' is there already; remove one");
            return;
        }

        clauses.Add(options is null or ScalarNode { IsEmpty: true } ? clause : ReadOptions(clause, options));
    }

    private OnClause ReadOptions(OnClause clause, RuleNode node)
    {
        var name = Rules.Names.ReasonNames.Of(clause.Reason);
        if (!values.TryMapping(node, "options ('optional: true')", out var options))
        {
            return clause;
        }

        string[] own = clause.Reason switch
        {
            VmEventReason.MemAccess => ["addresses", "pages", "linear", "refresh", "access", "page_table_walks", "written", "optional"],
            VmEventReason.SoftwareBreakpoint => ["at", "optional"],
            VmEventReason.GuestRequest => ["userspace", "sync", "optional"],
            var reason when HasChoiceOfSync(reason) => ["sync", "optional"],
            _ => ["optional"],
        };
        values.RefuseOthers(options, $"of {name}", own);
        foreach (var (key, value) in options.Entries)
        {
            clause = key.Text switch
            {
                "optional" => clause with { Optional = values.Flag(value, false) },
                "sync" when HasChoiceOfSync(clause.Reason) => clause with { Sync = values.Flag(value, true) },
                "userspace" => clause with { Userspace = values.Flag(value, false) },
                "pages" => clause with { Frames = (clause.Frames ?? NumberSet.Empty).Union(ReadRanges(value, 0)) },
                "addresses" => clause with { Frames = (clause.Frames ?? NumberSet.Empty).Union(ReadRanges(value, Gfn.PageShift)) },
                "linear" => clause with { Linear = [.. clause.Linear, .. ReadLinear(value)] },
                "refresh" => clause with { Refresh = ReadRefresh(value, clause.Refresh) },
                "access" => clause with { Access = ReadAccess(value, clause.Access) },
                "page_table_walks" => clause with { PageTableWalks = values.Flag(value, true) },
                "written" => clause with { Written = values.Flag(value, false) },
                "at" => clause with { Places = [.. ReadRanges(value, 0, onlyOne: true).Ranges.Select(range => new GuestPhysical(range.First))] },
                _ => clause,
            };
        }

        if (options["refresh"] is { } refresh && clause.Linear.Count == 0)
        {
            values.Error(refresh.Span, "'refresh' is for linear addresses; write 'linear' beside it, or remove this");
        }

        if (clause.Written && options["access"] is { } access && clause.Access != MemAccessFlags.Execute)
        {
            values.Error(access.Span, "'written: true' is about fetches from pages that were written to; write 'access: x', or remove this");
        }

        return clause.Written ? clause with { Access = MemAccessFlags.Execute } : clause;
    }

    private MemAccessFlags ReadAccess(RuleNode node, MemAccessFlags otherwise)
    {
        var access = MemAccessFlags.None;
        foreach (var letter in (node as ScalarNode)?.Text ?? "?")
        {
            access |= letter switch
            {
                'r' => MemAccessFlags.Read,
                'w' => MemAccessFlags.Write,
                'x' => MemAccessFlags.Execute,
                _ => MemAccessFlags.GlaValid,
            };
        }

        if (access != MemAccessFlags.None && (access & MemAccessFlags.GlaValid) == 0)
        {
            return access;
        }

        values.Error(node.Span, $"{RuleValues.Shown(node)} is no access; write r, w, x, or more than one of them");
        return otherwise;
    }

    private List<LinearRange> ReadLinear(RuleNode node)
    {
        var ranges = new List<LinearRange>();
        foreach (var scalar in values.Scalars(node, "an address, a range or a symbol"))
        {
            var range = new LinearRange(scalar.Text, scalar.Span);
            if (range.IsRange)
            {
                ranges.Add(range);
            }
            else
            {
                values.Error(scalar.Span, $"{RuleValues.Shown(scalar)} is no range of linear addresses; write sym(NAME), '&_stext..&_etext', 0x1000..0x1fff or 0x1000+0x1000");
            }
        }

        return ranges;
    }

    private TimeSpan ReadRefresh(RuleNode node, TimeSpan otherwise)
    {
        var time = values.Duration(node, otherwise);
        if (time >= TimeSpan.FromSeconds(1))
        {
            return time;
        }

        values.Error(node.Span, "pages are looked up at most once a second; write 1s or more");
        return otherwise;
    }

    private NumberSet ReadRanges(RuleNode node, int shift, bool onlyOne = false)
    {
        var ranges = new List<NumberRange>();
        foreach (var scalar in values.Scalars(node, "an address or a range"))
        {
            if (TryRange(scalar.Text, out var range) && (!onlyOne || range.First == range.Last))
            {
                ranges.Add(new(range.First >> shift, range.Last >> shift));
            }
            else
            {
                values.Error(scalar.Span, $"{RuleValues.Shown(scalar)} is no {(onlyOne ? "address; write 0x1000" : "range; write 0x1000..0x1fff, 0x1000+0x1000 or 0x1000")}");
            }
        }

        return NumberSet.Of(ranges);
    }

    private static bool TryRange(string text, out NumberRange range)
    {
        range = default;
        if (text.Split("..") is [var from, var to])
        {
            var both = RuleValues.TryNumber(from.Trim(), out var low) & RuleValues.TryNumber(to.Trim(), out var high);
            range = new(low, high);
            return both && low <= high;
        }

        if (text.Split('+') is [var start, var length])
        {
            var both = RuleValues.TryNumber(start.Trim(), out var low) & RuleValues.TryNumber(length.Trim(), out var count);
            range = new(low, low + count - 1);
            return both && count > 0 && range.Last >= low;
        }

        var isNumber = RuleValues.TryNumber(text, out var number);
        range = new(number, number);
        return isNumber;
    }
}
