using System.Buffers;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Language;

namespace Introspect.Rules.Tests.Language;

/// <summary>Short ways to compile and to ask.</summary>
internal static class Compile
{
    public static readonly VmEventReasonSet Writes = VmEventReasonSet.Of(VmEventReason.WriteCtrlreg);

    public static readonly VmEventReasonSet Msrs = VmEventReasonSet.Of(VmEventReason.MovToMsr);

    public static readonly VmEventReasonSet Accesses = VmEventReasonSet.Of(VmEventReason.MemAccess);

    public static RuleDomain Domain { get; } = new(new(
        new(7), "web-1", Guid.Parse("6f9619ff-8b86-d011-b42d-00c04fc964ff"), CpuVendor.Vmx, 2, new(0xfff), 1 << 24, DomainState.Running, 0));

    public static CompiledCondition Condition(string text, VmEventReasonSet reasons, ExpressionScope? scope = null)
    {
        var diagnostics = new DiagnosticBag();
        var condition = ConditionCompiler.Compile(SourceFragment.Of("test.yaml", text), reasons, scope ?? new(), diagnostics);
        Assert.True(condition is not null, string.Join("\n", diagnostics.All.Select(d => d.Render())));
        return condition;
    }

    /// <summary>The mistakes of a condition, of which there is at least one error.</summary>
    public static IReadOnlyList<RuleDiagnostic> Mistakes(string text, VmEventReasonSet reasons, ExpressionScope? scope = null)
    {
        var diagnostics = new DiagnosticBag();
        Assert.Null(ConditionCompiler.Compile(SourceFragment.Of("test.yaml", text), reasons, scope ?? new(), diagnostics));
        Assert.True(diagnostics.HasErrors);
        return diagnostics.All;
    }

    public static bool IsTrue(string text, VmEvent e, IGuestMemory? memory = null, ExpressionScope? scope = null)
    {
        var context = Context(memory);
        return Condition(text, VmEventReasonSet.Of(e.Reason), scope).Evaluate(in e, ref context);
    }

    public static EvaluationContext Context(IGuestMemory? memory = null) =>
        new(Domain, memory, new DateTime(2026, 1, 2, 13, 4, 5, DateTimeKind.Utc));

    public static string Text(string template, VmEvent e, IGuestMemory? memory = null, ExpressionScope? scope = null)
    {
        var diagnostics = new DiagnosticBag();
        var compiled = OutputTemplate.Compile(SourceFragment.Of("test.yaml", template), VmEventReasonSet.Of(e.Reason), scope ?? new(), diagnostics);
        Assert.True(compiled is not null, string.Join("\n", diagnostics.All.Select(d => d.Render())));
        var output = new ArrayBufferWriter<char>();
        var context = Context(memory);
        compiled.Format(in e, ref context, output);
        return output.WrittenSpan.ToString();
    }

    public static VmEvent Write(ControlRegisterIndex register, ulong old, ulong @new) => new()
    {
        Reason = VmEventReason.WriteCtrlreg,
        WriteCtrlreg = { Index = register, OldValue = old, NewValue = @new },
    };

    public static VmEvent MsrWrite(uint msr, ulong old, ulong @new) => new()
    {
        Reason = VmEventReason.MovToMsr,
        MovToMsr = { Msr = msr, OldValue = old, NewValue = @new },
    };

    public static VmEvent Access(ulong gfn, ulong offset, MemAccessFlags flags, ulong gla = 0) => new()
    {
        Reason = VmEventReason.MemAccess,
        MemAccess = { Gfn = gfn, Offset = offset, Flags = flags, Gla = gla },
    };

    /// <summary>Adds macros, and lists of <c>name = item; item</c>.</summary>
    public static ExpressionScope Scope(IEnumerable<(string Name, string Body)>? macros = null, IEnumerable<(string Name, string[] Items)>? lists = null, ISymbolResolver? symbols = null)
    {
        var diagnostics = new DiagnosticBag();
        var scope = new ExpressionScope { Symbols = symbols };
        foreach (var (name, body) in macros ?? [])
        {
            scope.AddMacro(name, default, SourceFragment.Of($"{name}.yaml", body), diagnostics);
        }

        foreach (var (name, items) in lists ?? [])
        {
            scope.AddList(name, default, [.. items.Select(i => SourceFragment.Of($"{name}.yaml", i))], diagnostics);
        }

        return scope;
    }
}
