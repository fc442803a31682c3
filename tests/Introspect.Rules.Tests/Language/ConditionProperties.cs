using FsCheck;
using FsCheck.Fluent;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Rules.Language;

namespace Introspect.Rules.Tests.Language;

/// <summary>Random conditions on random events: what they are worth, and what follows when they are true.</summary>
public sealed class ConditionProperties
{
    private const int Conditions = 400;
    private const int EventsEach = 60;

    // One run is as good as another, and the same every time.
    private static readonly Config Settings = Config.QuickThrowOnFailure.WithMaxTest(Conditions).WithReplay(20_260_102, 297);

    [Fact]
    public void a_condition_is_true_exactly_when_its_model_is() => ForAll((compiled, truth, s) =>
    {
        var context = Compile.Context(new ModelMemory(s.Memory));
        var e = s.Event;
        return compiled.Evaluate(in e, ref context) == (truth.Of(s) == true);
    });

    [Fact]
    public void what_is_told_of_a_condition_holds_whenever_it_is_true()
    {
        var hits = 0;
        var narrowed = 0;
        ForAll((compiled, _, s) =>
        {
            var context = Compile.Context(new ModelMemory(s.Memory));
            var e = s.Event;
            if (!compiled.Evaluate(in e, ref context))
            {
                return true;
            }

            hits++;
            var facts = compiled.Facts.For(e.Reason);
            narrowed += facts is null || facts == EventFacts.Nothing ? 0 : 1;
            return compiled.Facts.Reasons.Contains(e.Reason) && Holds(facts, e)
                && (e.Reason != VmEventReason.WriteCtrlreg || Holds(compiled.Facts.For(e.WriteCtrlreg.Index), e));
        });

        // The test says something only where conditions come true, and where something is told of them.
        Assert.InRange(hits, Conditions * EventsEach / 20, Conditions * EventsEach);
        Assert.InRange(narrowed, hits / 20, hits);
    }

    [Fact]
    public void what_is_told_of_two_conditions_together_holds_where_both_are_true()
    {
        var hits = 0;
        CompiledCondition? now = null, before = null;
        ForAll((compiled, _, s) =>
        {
            (now, before) = now == compiled ? (now, before) : (compiled, now);
            var context = Compile.Context(new ModelMemory(s.Memory));
            var e = s.Event;
            if (before is null || !compiled.Evaluate(in e, ref context) || !before.Evaluate(in e, ref context))
            {
                return true;
            }

            hits++;
            var both = compiled.Facts.And(before.Facts);
            return Holds(both.For(e.Reason), e) && (e.Reason != VmEventReason.WriteCtrlreg || Holds(both.For(e.WriteCtrlreg.Index), e));
        });
        Assert.InRange(hits, Conditions * EventsEach / 100, Conditions * EventsEach);
    }

    private static bool Holds(EventFacts? facts, VmEvent e)
    {
        if (facts is null)
        {
            return false;
        }

        var space = AddressSpace.FromControlRegisters(e.Registers.Cr0, e.Registers.Cr3, e.Registers.Cr4, e.Registers.MsrEfer);
        return facts.InstructionPointers.Contains(e.Registers.Rip)
            && facts.Processes.Contains(space.Root & space.RootMask)
            && facts.Vcpus.Contains(e.VcpuId)
            && facts.Domains.Contains(Compile.Domain.Id.Value)
            && e.Reason switch
            {
                VmEventReason.WriteCtrlreg => facts.ChangedBits is not { } bits || ((e.WriteCtrlreg.OldValue ^ e.WriteCtrlreg.NewValue) & bits) != 0,
                VmEventReason.MovToMsr => facts.Msrs.Contains(e.MovToMsr.Msr)
                    && (facts.ChangedBits is not { } bits || ((e.MovToMsr.OldValue ^ e.MovToMsr.NewValue) & bits) != 0),
                _ => facts.Gfns.Contains(e.MemAccess.Gfn)
                    && (e.MemAccess.Flags & facts.AccessKinds) != 0
                    && (facts.PageTableWalks || (e.MemAccess.Flags & MemAccessFlags.FaultInGpt) == 0),
            };
    }

    private static void ForAll(Func<CompiledCondition, Model.Truth, Situation, bool> holds) => Check.One(
        Settings,
        Prop.ForAll(Generators.Conditions, Arb.From(Gen.ArrayOf(Generators.Situations, EventsEach)), (truth, situations) =>
        {
            var compiled = Compile.Condition(truth.ToString(), Generators.Reasons);
            return situations.All(s => holds(compiled, truth, s));
        }));

    /// <summary>The bytes of a situation, at linear addresses as at physical ones.</summary>
    private sealed class ModelMemory(IReadOnlyDictionary<ulong, byte> bytes) : IGuestMemory
    {
        public bool TryReadPhysical(GuestPhysical address, Span<byte> destination)
        {
            for (var i = 0; i < destination.Length; i++)
            {
                if (!bytes.TryGetValue(unchecked(address.Value + (ulong)i), out destination[i]))
                {
                    return false;
                }
            }

            return true;
        }

        public bool TryTranslate(in AddressSpace space, GuestVirtual address, out GuestPhysical physical)
        {
            physical = new(address.Value);
            return true;
        }

        public void ReadPhysical(GuestPhysical address, Span<byte> destination) => throw new NotSupportedException();

        public void WritePhysical(GuestPhysical address, ReadOnlySpan<byte> source) => throw new NotSupportedException();

        public void ReadVirtual(in AddressSpace space, GuestVirtual address, Span<byte> destination) => throw new NotSupportedException();

        public void WriteVirtual(in AddressSpace space, GuestVirtual address, ReadOnlySpan<byte> source) => throw new NotSupportedException();
    }
}
