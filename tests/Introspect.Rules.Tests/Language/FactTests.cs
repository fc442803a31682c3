using Introspect.Hypervisor.Abi;
using Introspect.Rules.Language;

namespace Introspect.Rules.Tests.Language;

/// <summary>What is told of a condition is not only right but narrow.</summary>
public sealed class FactTests
{
    private const ulong Smep = 1 << 20;
    private const ulong Smap = 1 << 21;
    private const ulong Wp = 1 << 16;

    [Theory]
    [InlineData("cleared(CR4.SMEP)", Smep)]
    [InlineData("cleared(CR4.SMEP) or set(CR4.SMAP)", Smep | Smap)]
    [InlineData("cleared(CR4.SMEP | CR4.SMAP)", Smep | Smap)]
    [InlineData("changed(CR4.SMEP) and cpl == 0", Smep)]
    [InlineData("register == cr4 and changed & CR4.SMEP != 0", Smep)]
    [InlineData("register == cr4 and (old ^ new) & CR4.SMEP != 0", Smep)]
    [InlineData("register == cr4 and changed contains CR4.SMEP", Smep)]
    [InlineData("register == cr4 and old & CR4.SMEP != 0 and new & CR4.SMEP == 0", Smep)]
    [InlineData("register == cr4 and old contains CR4.SMEP and not new contains CR4.SMEP", Smep)]
    [InlineData("register == cr4 and old & CR4.SMEP != new & CR4.SMEP", Smep)]
    [InlineData("not (register != cr4 or not cleared(CR4.SMEP))", Smep)]
    [InlineData("register == cr4 and old != new", ulong.MaxValue)]
    [InlineData("register == cr4 and changed != 0", ulong.MaxValue)]
    [InlineData("register == cr4 and changed > 5", ulong.MaxValue)]
    public void a_rule_on_a_bit_of_cr4_asks_for_no_more(string text, ulong changed)
    {
        var facts = Compile.Condition(text, Compile.Writes).Facts;
        Assert.Equal(changed, facts.For(ControlRegisterIndex.Cr4)!.ChangedBits);
        Assert.Null(facts.For(ControlRegisterIndex.Cr0));
        Assert.Null(facts.For(ControlRegisterIndex.Cr3));
        Assert.Null(facts.For(ControlRegisterIndex.Xcr0));
    }

    [Theory]
    [InlineData("register == cr4 and not new contains CR4.SMEP")]
    [InlineData("register == cr4 and new == 5")]
    [InlineData("register == cr4 and (cleared(CR4.SMEP) or new == 5)")]
    [InlineData("register == cr4")]
    public void where_nothing_need_change_nothing_is_told(string text) =>
        Assert.Null(Compile.Condition(text, Compile.Writes).Facts.For(ControlRegisterIndex.Cr4)!.ChangedBits);

    [Fact]
    public void each_register_has_bits_of_its_own()
    {
        var facts = Compile.Condition("cleared(CR4.SMEP) or cleared(CR0.WP) or register == xcr0", Compile.Writes).Facts;
        Assert.Equal(Smep, facts.For(ControlRegisterIndex.Cr4)!.ChangedBits);
        Assert.Equal(Wp, facts.For(ControlRegisterIndex.Cr0)!.ChangedBits);
        Assert.Null(facts.For(ControlRegisterIndex.Xcr0)!.ChangedBits);
        Assert.Null(facts.For(ControlRegisterIndex.Cr3));
    }

    [Fact]
    public void each_reason_has_facts_of_its_own()
    {
        var facts = Compile.Condition("(cleared(CR4.SMEP) or gfn in 0x10..0x1f and access contains w or msr == LSTAR) and vcpu < 2", Compile.Writes | Compile.Accesses | Compile.Msrs).Facts;
        Assert.Equal(Smep, facts.For(ControlRegisterIndex.Cr4)!.ChangedBits);
        Assert.Equal([new(0x10, 0x1f)], facts.For(VmEventReason.MemAccess)!.Gfns.Ranges);
        Assert.Equal(MemAccessFlags.Write, facts.For(VmEventReason.MemAccess)!.AccessKinds);
        Assert.Equal([new(0xc0000082, 0xc0000082)], facts.For(VmEventReason.MovToMsr)!.Msrs.Ranges);
        Assert.Equal([new(0, 1)], facts.For(VmEventReason.MovToMsr)!.Vcpus.Ranges);
        Assert.Null(facts.For(VmEventReason.Cpuid));
        var write = Compile.Condition("cleared(CR4.SMEP)", Compile.Writes | Compile.Accesses).Facts;
        Assert.Equal(Compile.Writes, write.Reasons);
    }

    [Theory]
    [InlineData("access contains w", MemAccessFlags.Write)]
    [InlineData("access == w", MemAccessFlags.Write)]
    [InlineData("access == rw", MemAccessFlags.Read | MemAccessFlags.Write)]
    [InlineData("access in (w, x)", MemAccessFlags.Write | MemAccessFlags.Execute)]
    [InlineData("access == w or access == x", MemAccessFlags.Write | MemAccessFlags.Execute)]
    [InlineData("access != r", MemAccessFlags.Read | MemAccessFlags.Write | MemAccessFlags.Execute)]
    public void kinds_of_access_are_told(string text, MemAccessFlags kinds) =>
        Assert.Equal(kinds, Compile.Condition(text, Compile.Accesses).Facts.For(VmEventReason.MemAccess)!.AccessKinds);

    [Fact]
    public void frames_are_told_by_address_too()
    {
        var facts = Compile.Condition("gpa in 0x5800..0x7010 and not page_walk and gfn != 6", Compile.Accesses).Facts.For(VmEventReason.MemAccess)!;
        Assert.Equal([new(5, 5), new(7, 7)], facts.Gfns.Ranges);
        Assert.False(facts.PageTableWalks);
    }

    [Fact]
    public void msrs_of_lists_and_changes_of_them_are_told()
    {
        var scope = Compile.Scope(lists: [("entry", ["STAR", "LSTAR", "0x174..0x176"])]);
        var facts = Compile.Condition("msr in $entry and old != new", Compile.Msrs, scope).Facts.For(VmEventReason.MovToMsr)!;
        Assert.Equal([0x174UL, 0x175, 0x176, 0xc0000081, 0xc0000082], facts.Msrs.Numbers());
        Assert.Equal(ulong.MaxValue, facts.ChangedBits);
        Assert.Equal(1UL << 11, Compile.Condition("cleared(EFER.NXE)", Compile.Msrs).Facts.For(VmEventReason.MovToMsr)!.ChangedBits);
    }

    [Fact]
    public void breakpoints_and_processes_are_told()
    {
        var reasons = VmEventReasonSet.Of(VmEventReason.SoftwareBreakpoint);
        var facts = Compile.Condition("(rip == 0x1000 or rip == 0x2000) and gfn == 9 and process in (0x8000, 0x9000) and domain == 3", reasons).Facts.For(VmEventReason.SoftwareBreakpoint)!;
        Assert.Equal([0x1000UL, 0x2000], facts.InstructionPointers.Numbers());
        Assert.Equal([9UL], facts.Gfns.Numbers());
        Assert.Equal([0x8000UL, 0x9000], facts.Processes.Numbers());
        Assert.Equal([3UL], facts.Domains.Numbers());
    }

    [Fact]
    public void what_excludes_itself_is_never()
    {
        foreach (var text in new[] { "msr == 5 and msr == 6", "old & 4 != 0 and old & 4 == 0", "msr in 5..6 and msr > 6", "old != old", "msr < 0" })
        {
            Assert.True(Compile.Condition(text, Compile.Msrs).Facts.IsNever, text);
        }
    }

    [Fact]
    public void sets_of_numbers_are_sets()
    {
        var set = NumberSet.Of(new NumberRange(5, 9), new NumberRange(10, 12), new NumberRange(20, 20), new NumberRange(3, 2));
        Assert.Equal([new(5, 12), new(20, 20)], set.Ranges);
        Assert.Equal([new(0, 4), new(13, 19), new(21, ulong.MaxValue)], set.Complement().Ranges);
        Assert.True(set.Union(set.Complement()).IsEverything);
        Assert.True(set.Intersect(set.Complement()).IsEmpty);
        Assert.Equal(9UL, set.Count);
        Assert.True(NumberSet.Everything.Complement().IsEmpty);
        Assert.True(NumberSet.Empty.Complement().IsEverything);
        Assert.Equal(ulong.MaxValue, NumberSet.Everything.Count);
        Assert.True(set.Contains(12) && set.Contains(5) && set.Contains(20) && !set.Contains(13) && !set.Contains(4) && !set.Contains(21));
        Assert.Throws<InvalidOperationException>(() => NumberSet.Everything.Numbers());
    }
}
