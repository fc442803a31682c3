using System.Buffers;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Tests.House;
using Introspect.Rules.Language;

namespace Introspect.Rules.Tests.Language;

public sealed class TemplateTests
{
    private static readonly VmEvent Write = WithRegisters(Compile.Write(ControlRegisterIndex.Cr4, 0x3000a0, 0x1000a0));

    [Theory]
    [InlineData("", "")]
    [InlineData("plain", "plain")]
    [InlineData("{{{vcpu}}}", "{3}")]
    [InlineData("{register}: {old} -> {new}", "cr4: 0x3000a0 -> 0x1000a0")]
    [InlineData("{changed:cr4} {old:CR4} {new & 0:cr4}", "SMAP PAE|PGE|SMEP|SMAP 0")]
    [InlineData("{rip} {rip:x} {rip:x16} {rip:d} {vcpu:x} {vcpu:b}", "0x1020 0x1020 0x0000000000001020 4128 0x3 0b11")]
    [InlineData("{domain_name} {domain} {domain_uuid}", "web-1 7 6f9619ff-8b86-d011-b42d-00c04fc964ff")]
    [InlineData("{time} {time + 1000000} {time + 1000000:time}", "2026-01-02T13:04:05.000000Z 0x6476758209d80 2026-01-02T13:04:06.000000Z")]
    [InlineData("{sync} {register == cr4 and cpl == 0} {cleared(CR4.SMAP)}", "false true true")]
    [InlineData("{reason} {weekday} {rflags:rflags}", "write_ctrlreg friday IF|bit40")]
    [InlineData("{u64[rsp]} {u8[rsp] == 0}", "? false")]
    [InlineData("{ old + 1 : x }", "0x3000a1")]
    [InlineData("{domain_name}}} {'}'}", "web-1} }")]
    public void a_template_is_text_with_values(string template, string expected) => Assert.Equal(expected, Compile.Text(template, Write));

    [Fact]
    public void msrs_and_rights_have_their_names()
    {
        Assert.Equal("lstar lstar 0xc0000082", Compile.Text("{msr} {name} {msr:x}", Compile.MsrWrite(0xc0000082, 1, 2)));
        Assert.Equal("0x999 ?", Compile.Text("{msr} {name}", Compile.MsrWrite(0x999, 1, 2)));
        Assert.Equal("rw- ? 0x5123", Compile.Text("{access} {gla} {gpa}", Compile.Access(5, 0x123, MemAccessFlags.Read | MemAccessFlags.Write)));
    }

    [Theory]
    [InlineData("{rip", "{", "not closed")]
    [InlineData("rip}", "}", "no open one")]
    [InlineData("{rpi}", "rpi", "no name")]
    [InlineData("{}", "", "missing")]
    [InlineData("{rip:y}", "y", "no format")]
    [InlineData("{rip:x17}", "x17", "no format")]
    [InlineData("{rip:tme}", "tme", "no format")]
    [InlineData("{domain_name:x}", "x", "a format is for numbers")]
    [InlineData("{sync:x}", "x", "a format is for numbers")]
    [InlineData("{rip rax}", "rax", "cannot follow here")]
    [InlineData("{gfn}", "gfn", "have no 'gfn'")]
    public void a_mistake_is_told_where_it_is(string template, string where, string message)
    {
        var diagnostics = new DiagnosticBag();
        Assert.Null(OutputTemplate.Compile(SourceFragment.Of("test.yaml", template), Compile.Writes, new(), diagnostics));
        Assert.Equal(where, diagnostics.All[0].Span.Characters.ToString());
        Assert.Contains(message, diagnostics.All[0].Message, StringComparison.Ordinal);
    }

    [Fact]
    public void all_mistakes_are_told_at_once()
    {
        var diagnostics = new DiagnosticBag();
        Assert.Null(OutputTemplate.Compile(SourceFragment.Of("test.yaml", "{rpi} and {vpcu} and {rip:q} and }"), Compile.Writes, new(), diagnostics));
        Assert.Equal(["rpi", "vpcu", "}"], diagnostics.All.Select(d => d.Span.Characters.ToString()).Where(s => s != "q"));
    }

    [Fact]
    public void of_an_event_of_another_reason_only_the_text_is_written()
    {
        var template = OutputTemplate.Compile(SourceFragment.Of("t", "new {new}"), Compile.Writes, new(), new())!;
        var output = new ArrayBufferWriter<char>();
        var context = Compile.Context();
        var e = Compile.Access(1, 2, MemAccessFlags.Read);
        template.Format(in e, ref context, output);
        Assert.Equal("new ?", output.WrittenSpan.ToString());
    }

    [Fact]
    public void an_event_costs_no_allocation()
    {
        var template = OutputTemplate.Compile(
            SourceFragment.Of("t", "{register} {old:x16} {changed:cr4} {domain_name} {time} {sync} {u8[rsp]} {vcpu}"), Compile.Writes, new(), new())!;
        var output = new ArrayBufferWriter<char>(4096);
        var e = Write;
        Assert.Equal(0, Allocation.LeastOf(() =>
        {
            var context = Compile.Context();
            for (var i = 0; i < 100; i++)
            {
                output.ResetWrittenCount();
                template.Format(in e, ref context, output);
            }
        }));
    }

    private static VmEvent WithRegisters(VmEvent e)
    {
        e.VcpuId = 3;
        e.Registers.Rip = 0x1020;
        e.Registers.Rflags = (1 << 9) | (1UL << 40);
        return e;
    }
}
