using Introspect.Hypervisor;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Tests.House;
using Introspect.Rules.Language;

namespace Introspect.Rules.Tests.Language;

public sealed class ConditionTests
{
    private const ulong Smep = 1 << 20;
    private const ulong Smap = 1 << 21;

    [Theory]
    [InlineData("true", true)]
    [InlineData("false", false)]
    [InlineData("not false", true)]
    [InlineData("!false && !false", true)]
    [InlineData("true and false or true", true)]
    [InlineData("true or true and false", true)]
    [InlineData("not true or true", true)]
    [InlineData("not (true or true)", false)]
    [InlineData("register == CR4", true)]
    [InlineData("register == cr4", true)]
    [InlineData("register == \"cr4\"", true)]
    [InlineData("CR4 == register", true)]
    [InlineData("register != cr0", true)]
    [InlineData("register in (cr0, cr3)", false)]
    [InlineData("register not in (cr0, cr3)", true)]
    [InlineData("old & CR4.SMEP != 0", true)]
    [InlineData("old contains CR4.SMEP", true)]
    [InlineData("old contains CR4.SMEP | CR4.SMAP", true)]
    [InlineData("new contains CR4.SMEP", false)]
    [InlineData("cleared(CR4.SMEP)", true)]
    [InlineData("cleared(CR4.SMAP)", false)]
    [InlineData("cleared(CR4.SMEP | CR4.SMAP)", true)]
    [InlineData("set(CR4.SMEP)", false)]
    [InlineData("set(CR4.PKE)", true)]
    [InlineData("changed(CR4.SMEP)", true)]
    [InlineData("changed(CR0.WP)", false)]
    [InlineData("cleared(CR0.TS)", false)]
    [InlineData("not cleared(CR4.SMAP)", true)]
    [InlineData("changed == CR4.SMEP | CR4.PKE", true)]
    [InlineData("changed & ~(CR4.SMEP | CR4.PKE) == 0", true)]
    [InlineData("new == 0x60_0000", true)]
    [InlineData("new == 6M", true)]
    [InlineData("new >> 20 == 0b110", true)]
    [InlineData("new == 1 << 21 | 1 << 22", true)]
    [InlineData("new in 5M..6M", true)]
    [InlineData("new in (1, 2, 5M..6M - 1)", false)]
    [InlineData("new in (1, 3, 5, 7, 9, 11, 6M)", true)]
    [InlineData("new not in (1, 3, 5, 7, 9, 11, 6M)", false)]
    [InlineData("new in (old, new)", true)]
    [InlineData("old in new - 0x400000..new", true)]
    [InlineData("old not in new..old", true)]
    [InlineData("rax < rbx and rbx <= 2 and rbx >= 2 and rbx > rax", true)]
    [InlineData("rax - 2 == 0xffff_ffff_ffff_ffff", true)]
    [InlineData("-rax == ~0", true)]
    [InlineData("rax << 64 == 0 and rax << rsp == 0 and rax >> rsp == 0 and rax << rbx == 4", true)]
    [InlineData("rbx * 3 + 1 == 7", true)]
    [InlineData("6 ^ 3 == 5 and 6 & 3 == 2 and 6 | 3 == 7", true)]
    [InlineData("1 + 2 * 3 == 7 and (1 + 2) * 3 == 9", true)]
    [InlineData("domain == 7 and domain_name == 'web-1' and domain_name startswith \"web\" and domain_name endswith '-1'", true)]
    [InlineData("domain_name contains 'b-' and domain_name matches 'w*-?' and not domain_name matches 'w*-??'", true)]
    [InlineData("domain_name in ('db-1', 'web-1')", true)]
    [InlineData("domain_uuid == '6F9619FF-8b86-d011-b42d-00c04fc964ff'", true)]
    [InlineData("vendor == vmx and reason == write_ctrlreg and weekday == friday and hour == 13", true)]
    [InlineData("write_ctrlreg.new == new and registers.rax == rax", true)]
    [InlineData("sync == false and sync != true and not sync", true)]
    [InlineData("RAX == 1 AND Register == CR4", true)]
    [InlineData("rax == 1 # and rax == 2\n and rbx == 2", true)]
    public void a_condition_is_as_it_reads(string text, bool expected)
    {
        var e = Compile.Write(ControlRegisterIndex.Cr4, Smep | Smap, Smap | (1 << 22));
        e.Registers.Rax = 1;
        e.Registers.Rbx = 2;
        e.Registers.Rsp = 100;
        Assert.Equal(expected, Compile.IsTrue(text, e));
        Assert.Equal(!expected, Compile.IsTrue($"not ({text}\n)", e));
    }

    [Theory]
    [InlineData("msr == LSTAR")]
    [InlineData("msr == lstar and name == 'lstar'")]
    [InlineData("msr == 0xc0000082")]
    [InlineData("msr in (STAR, LSTAR, CSTAR)")]
    [InlineData("msr in star..cstar")]
    [InlineData("msr == MSR.LSTAR")]
    [InlineData("msr != lstar + 1")]
    public void an_msr_has_a_name(string text) => Assert.True(Compile.IsTrue(text, Compile.MsrWrite(0xc0000082, 1, 2)));

    [Fact]
    public void the_bits_of_efer_are_those_of_the_msr()
    {
        Assert.True(Compile.IsTrue("cleared(EFER.NXE)", Compile.MsrWrite(0xc0000080, 1 << 11, 0)));
        Assert.False(Compile.IsTrue("cleared(EFER.NXE)", Compile.MsrWrite(0xc0000081, 1 << 11, 0)));
    }

    [Theory]
    [InlineData("access == rw")]
    [InlineData("access == \"rw-\"")]
    [InlineData("access == r | w")]
    [InlineData("access contains w")]
    [InlineData("access contains write and not access contains execute")]
    [InlineData("access in (w, rw)")]
    [InlineData("gpa in 0x5000..0x5fff and gpa == 0x5123 and offset == 0x123")]
    [InlineData("mem_access.access == rw")]
    [InlineData("not page_walk and with_gla == false")]
    public void rights_have_names(string text) =>
        Assert.True(Compile.IsTrue(text, Compile.Access(5, 0x123, MemAccessFlags.Read | MemAccessFlags.Write)));

    [Fact]
    public void what_an_event_does_not_have_is_not_compared()
    {
        var with = Compile.Access(5, 0, MemAccessFlags.Read | MemAccessFlags.GlaValid, gla: 8);
        var without = Compile.Access(5, 0, MemAccessFlags.Read, gla: 8);
        foreach (var text in new[] { "gla == 8", "not gla != 8", "gla in (8, 9)", "not gla not in (8, 9)" })
        {
            Assert.True(Compile.IsTrue(text, with), text);
            Assert.False(Compile.IsTrue(text, without), text);
            Assert.False(Compile.IsTrue($"not ({text})", without), text);
            Assert.True(Compile.IsTrue($"{text} or gfn == 5", without), text);
            Assert.True(Compile.IsTrue($"not ({text} and gfn == 6)", without), text);
        }
    }

    [Fact]
    public void a_field_that_some_reasons_do_not_have_is_unknown_there()
    {
        var both = Compile.Writes | Compile.Accesses;
        var context = Compile.Context();
        var access = Compile.Access(5, 0, MemAccessFlags.Read);
        var write = Compile.Write(ControlRegisterIndex.Cr4, 1, 2);
        Assert.True(Compile.Condition("gfn == 5", both).Evaluate(in access, ref context));
        Assert.False(Compile.Condition("gfn == 5", both).Evaluate(in write, ref context));
        Assert.False(Compile.Condition("gfn != 5", both).Evaluate(in write, ref context));
        Assert.True(Compile.Condition("gfn == 6 or new == 2", both).Evaluate(in write, ref context));
        Assert.False(Compile.Condition("true", Compile.Accesses).Evaluate(in write, ref context));
    }

    [Fact]
    public void old_and_new_are_found_where_the_reason_has_them()
    {
        var both = Compile.Writes | Compile.Msrs;
        var condition = Compile.Condition("old == 3 and new == 4 and changed == 7", both);
        var context = Compile.Context();
        var register = Compile.Write(ControlRegisterIndex.Cr4, 3, 4);
        var msr = Compile.MsrWrite(0x10, 3, 4);
        Assert.True(condition.Evaluate(in register, ref context));
        Assert.True(condition.Evaluate(in msr, ref context));
    }

    [Fact]
    public void memory_is_read_through_the_page_tables_of_the_event()
    {
        var memory = new MappedMemory(root: 0x8000);
        memory.Map(0xffff_8000_0000_1000, 0x2000);
        memory.WritePhysical(new(0x2ff8), [1, 2, 3, 4, 5, 6, 7, 0x88]);
        var e = Compile.Write(ControlRegisterIndex.Cr4, 1, 2);
        e.Registers.Rsp = 0xffff_8000_0000_1ff8;
        e.Registers.Cr3 = 0x8000;
        Assert.True(Compile.IsTrue("u64[rsp] == 0x8807060504030201", e, memory));
        Assert.True(Compile.IsTrue("u32[rsp + 4] == 0x88070605 and u16[rsp] == 0x201 and u8[rsp+1] == 2", e, memory));
        Assert.True(Compile.IsTrue("p64[0x2ff8] == u64[rsp] and p8[0x2fff] == 0x88", e, memory));
        Assert.True(Compile.IsTrue("u8[p8[0x2ff8] + rsp] == 2", e, memory));
        e.Registers.Cr3 = 0x9000;
        Assert.False(Compile.IsTrue("u8[rsp] == 1", e, memory));
    }

    [Fact]
    public void memory_that_is_not_there_makes_no_comparison_true_and_is_counted()
    {
        var memory = new MappedMemory();
        memory.Map(0x1000, 0x2000);
        var e = Compile.Write(ControlRegisterIndex.Cr4, 1, 2);
        foreach (var address in new[] { "u64[0x5000]", "u64[0x1ffc]", "u64[u64[0x5000]]" })
        {
            foreach (var text in new[] { $"{address} == 0", $"{address} != 0", $"not {address} == 0", $"{address} in (0, 1)", $"{address} not in (0, 1)" })
            {
                var context = Compile.Context(memory);
                Assert.False(Compile.Condition(text, Compile.Writes).Evaluate(in e, ref context), text);
                Assert.Equal(1, context.FailedMemoryReads);
            }
        }

        Assert.True(Compile.IsTrue("u64[0x5000] == 0 or new == 2", e, memory));
        Assert.True(Compile.IsTrue("not (u64[0x5000] == 0 and new == 3)", e, memory));
    }

    [Fact]
    public void a_hypervisor_that_refuses_to_read_makes_no_comparison_true()
    {
        var e = Compile.Write(ControlRegisterIndex.Cr4, 1, 2);
        var context = Compile.Context(new RefusingMemory());
        Assert.False(Compile.Condition("u8[5] == 0 or p8[5] == 0 or u8[5] != 0 or p8[5] != 0", Compile.Writes).Evaluate(in e, ref context));
        Assert.Equal((4, 4), (context.MemoryReads, context.FailedMemoryReads));
    }

    [Fact]
    public void whether_something_is_known_can_be_asked()
    {
        var memory = new MappedMemory();
        memory.Map(0x1000, 0x2000);
        var e = Compile.Access(5, 0, MemAccessFlags.Read);
        Assert.True(Compile.IsTrue("known(u64[0x1000]) and not known(u64[0x3000]) and not known(gla) and known(rip)", e, memory));
        Assert.False(Compile.IsTrue("not known(u64[0x1000]) or known(u64[0x3000]) or known(gla) or not known(rip)", e, memory));
    }

    [Fact]
    public void what_is_decided_is_not_read()
    {
        var e = Compile.Write(ControlRegisterIndex.Cr4, 1, 2);
        var context = Compile.Context(new MappedMemory());
        Assert.False(Compile.Condition("new == 3 and u64[rsp] == 1", Compile.Writes).Evaluate(in e, ref context));
        Assert.True(Compile.Condition("new == 2 or u64[rsp] == 1", Compile.Writes).Evaluate(in e, ref context));
        Assert.Equal(0, context.MemoryReads);
        Assert.True(Compile.Condition("u64[rsp] == 1", Compile.Writes).ReadsGuestMemory);
        Assert.False(Compile.Condition("rsp == 1", Compile.Writes).ReadsGuestMemory);
    }

    [Fact]
    public void an_event_costs_no_allocation()
    {
        var scope = Compile.Scope(lists: [("odd", ["1", "3", "5", "7", "9", "11"]), ("webs", ["web-1", "web-2"])]);
        var condition = Compile.Condition(
            "(cleared(CR4.SMEP) or new in $odd or domain_name in $webs and domain_name matches 'w*1' and old << rax == 5) and cpl != 3 and u64[rsp] == 0 and u64[0x9000] != 7 or time > 5",
            Compile.Writes | Compile.Msrs,
            scope);
        var memory = new MappedMemory();
        memory.Map(0x1000, 0x2000);
        var e = Compile.Write(ControlRegisterIndex.Cr4, Smep, 0);
        e.Registers.Rsp = 0x1000;
        var (hits, failedReads, asked) = (0, 0L, 0);
        Assert.Equal(0, Allocation.LeastOf(() =>
        {
            var context = Compile.Context(memory);
            for (var i = 0; i < 1000; i++, asked++)
            {
                hits += condition.Evaluate(in e, ref context) ? 1 : 0;
            }

            failedReads += context.FailedMemoryReads;
        }));
        Assert.Equal((asked, asked), (hits, failedReads));
    }

    [Fact]
    public void every_field_of_every_reason_can_be_read()
    {
        foreach (var field in FieldCatalog.All)
        {
            foreach (var reason in field.Reasons.Reasons)
            {
                var e = new VmEvent { Reason = reason };
                var text = field.Type switch
                {
                    FieldType.Boolean => $"{field.Name} or not {field.Name}",
                    FieldType.Text => $"{field.Name} == 'x' or {field.Name} != 'x'",
                    _ when field.Vocabulary is { IsStrict: true } names => $"{field.Name} == '{names.Names.First()}' or {field.Name} != '{names.Names.First()}'",
                    _ => $"{field.Name} == 1 or {field.Name} != 1",
                };
                var isKnown = Compile.IsTrue(text, e);
                Assert.True(isKnown || field.ReaderFor(reason).CanFail, $"{field.Name} of {reason}");
            }
        }
    }

    private sealed class RefusingMemory : IGuestMemory
    {
        public void ReadPhysical(GuestPhysical address, Span<byte> destination) => throw new HypervisorException(Errno.EACCES, "refused");

        public void WritePhysical(GuestPhysical address, ReadOnlySpan<byte> source) => throw new NotSupportedException();

        public bool TryTranslate(in AddressSpace space, GuestVirtual address, out GuestPhysical physical) => throw new HypervisorException(Errno.ESRCH, "gone");

        public void ReadVirtual(in AddressSpace space, GuestVirtual address, Span<byte> destination) => throw new NotSupportedException();

        public void WriteVirtual(in AddressSpace space, GuestVirtual address, ReadOnlySpan<byte> source) => throw new NotSupportedException();
    }
}
