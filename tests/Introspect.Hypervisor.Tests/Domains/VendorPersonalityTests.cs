using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Domains;

namespace Introspect.Hypervisor.Tests.Domains;

/// <summary>Numbers are the manuals': Intel SDM vol. 3 appendix C and chapter 28, AMD APM vol. 2 appendix C and chapter 15.</summary>
public sealed class VendorPersonalityTests
{
    [Fact]
    public void Capabilities_are_those_of_Xen_4_17()
    {
        Assert.Equal(0x1f7fu, (uint)VendorPersonality.Vmx.Capabilities);
        Assert.Equal(0x1f7bu, (uint)VendorPersonality.Svm.Capabilities);
        Assert.Equal([0x0f, 0x01, 0xc1], VendorPersonality.Vmx.HypercallInstruction.ToArray());
        Assert.Equal([0x0f, 0x01, 0xd9], VendorPersonality.Svm.HypercallInstruction.ToArray());
    }

    [Theory]
    [InlineData(ExitKind.Kick, 1, 0x60)]
    [InlineData(ExitKind.Hlt, 12, 0x78)]
    [InlineData(ExitKind.Cpuid, 10, 0x72)]
    [InlineData(ExitKind.MsrRead, 31, 0x7c)]
    [InlineData(ExitKind.MsrWrite, 32, 0x7c)]
    [InlineData(ExitKind.Hypercall, 18, 0x81)]
    [InlineData(ExitKind.Xsetbv, 55, 0x8d)]
    [InlineData(ExitKind.MonitorTrap, 37, 0x41)]
    [InlineData(ExitKind.InterruptWindow, 7, 0x64)]
    [InlineData(ExitKind.TripleFault, 2, 0x7f)]
    [InlineData(ExitKind.Wbinvd, 54, 0x89)]
    [InlineData(ExitKind.Pause, 40, 0x77)]
    [InlineData(ExitKind.Mwait, 36, 0x8b)]
    [InlineData(ExitKind.Rdtsc, 16, 0x6e)]
    [InlineData(ExitKind.Invlpg, 14, 0x79)]
    [InlineData(ExitKind.NestedPageFault, 48, 0x400)]
    [InlineData(ExitKind.Io, 30, 0x7b)]
    internal void Reasons_are_the_manuals(ExitKind kind, ulong vmx, ulong svm)
    {
        var exit = new Exit { Kind = kind, Operand = 1 };
        Assert.Equal(vmx, VendorPersonality.Vmx.Translate(exit, 0).Reason);
        Assert.Equal(svm, VendorPersonality.Svm.Translate(exit, 0).Reason);
    }

    [Fact]
    public void Every_exit_has_a_number_and_what_is_none_has_not()
    {
        foreach (var kind in Enum.GetValues<ExitKind>())
        {
            var exit = new Exit { Kind = kind, Operand = 1, Index = 1 };
            var isExit = kind is not (ExitKind.None or ExitKind.Budget);
            Assert.Equal(isExit, VendorPersonality.Vmx.Translate(exit, 0).Reason != ~0UL);

            // AMD has no VM functions.
            Assert.Equal(isExit && kind != ExitKind.Vmfunc, VendorPersonality.Svm.Translate(exit, 0).Reason != ~0UL);
        }
    }

    [Fact]
    public void A_mov_to_a_control_register_names_both_registers()
    {
        // mov cr3, rsi
        var exit = new Exit { Kind = ExitKind.CrWrite, Index = 3, Operand = 6, Access = CrAccess.MovTo };
        Assert.Equal(new VendorExit(28, 0x603, 0), VendorPersonality.Vmx.Translate(exit, 0));
        Assert.Equal(new VendorExit(0x13, (1UL << 63) | 6, 0), VendorPersonality.Svm.Translate(exit, 0));

        // mov r8, cr8
        exit = new Exit { Kind = ExitKind.CrRead, Index = 8, Operand = 8 };
        Assert.Equal(new VendorExit(28, 0x818, 0), VendorPersonality.Vmx.Translate(exit, 0));
        Assert.Equal(new VendorExit(0x08, (1UL << 63) | 8, 0), VendorPersonality.Svm.Translate(exit, 0));
    }

    [Fact]
    public void Clts_and_lmsw_have_access_types_of_their_own()
    {
        var clts = new Exit { Kind = ExitKind.CrWrite, Access = CrAccess.Clts };
        Assert.Equal(0x20UL, VendorPersonality.Vmx.Translate(clts, 0).Qualification);
        var lmsw = new Exit { Kind = ExitKind.CrWrite, Access = CrAccess.Lmsw, Value = 0x1_000f, Form = 0xfff5 };
        Assert.Equal(0xfff5_0030UL, VendorPersonality.Vmx.Translate(lmsw, 0).Qualification);
        lmsw.Operand = 0xFF; // its operand is memory
        Assert.Equal(0xfff5_0070UL, VendorPersonality.Vmx.Translate(lmsw, 0).Qualification);
        Assert.Equal(new VendorExit(0x10, 0, 0), VendorPersonality.Svm.Translate(lmsw, 0));
    }

    [Fact]
    public void Io_tells_port_size_and_direction()
    {
        // in al, 0x71 / rep outsd to 0x3f8
        var exit = new Exit { Kind = ExitKind.Io, Index = 0x71, Operand = (byte)(1 | (byte)IoFlags.In | (byte)IoFlags.Immediate), InsnLength = 2 };
        Assert.Equal(new VendorExit(30, 0x0071_0048, 0), VendorPersonality.Vmx.Translate(exit, 0x1000));
        Assert.Equal(new VendorExit(0x7b, 0x0071_0211, 0x1002), VendorPersonality.Svm.Translate(exit, 0x1000));
        exit = new Exit { Kind = ExitKind.Io, Index = 0x3f8, Operand = (byte)(4 | (byte)IoFlags.String | (byte)IoFlags.Rep), InsnLength = 2 };
        Assert.Equal(0x03f8_0033UL, VendorPersonality.Vmx.Translate(exit, 0).Qualification);
        exit.Form = (uint)SegmentIndex.Ds;
        Assert.Equal(0x03f8_0e4cUL, VendorPersonality.Svm.Translate(exit, 0).Qualification);
        exit.Access = (CrAccess)2;
        Assert.Equal(0x03f8_0cccUL, VendorPersonality.Svm.Translate(exit, 0).Qualification);
    }

    [Fact]
    public void A_nested_page_fault_tells_access_rights_and_whether_it_was_a_table()
    {
        // A write to a page with r-x, by its linear address.
        var exit = new Exit
        {
            Kind = ExitKind.NestedPageFault,
            Gpa = 0x5000,
            Value = (ulong)(NpfFlags.Write | NpfFlags.Present | NpfFlags.GlaValid | NpfFlags.WithGla | NpfFlags.EntryReadable | NpfFlags.EntryExecutable),
        };
        Assert.Equal(new VendorExit(48, 0x1aa, 0), VendorPersonality.Vmx.Translate(exit, 0));
        Assert.Equal(new VendorExit(0x400, (1UL << 32) | 7, 0x5000), VendorPersonality.Svm.Translate(exit, 0));

        // A walk that reads a table which is not there.
        exit.Value = (ulong)(NpfFlags.Read | NpfFlags.GlaValid);
        Assert.Equal(0x81UL, VendorPersonality.Vmx.Translate(exit, 0).Qualification);
        Assert.Equal((1UL << 33) | 4, VendorPersonality.Svm.Translate(exit, 0).Qualification);
    }

    [Fact]
    public void Exceptions_carry_what_the_vendor_tells_of_them()
    {
        var pageFault = new Exit { Kind = ExitKind.Exception, Index = 14, Value = 6, Gla = 0xdead000 };
        Assert.Equal(new VendorExit(0, 0xdead000, 0), VendorPersonality.Vmx.Translate(pageFault, 0));
        Assert.Equal(new VendorExit(0x4e, 6, 0xdead000), VendorPersonality.Svm.Translate(pageFault, 0));
        var debug = new Exit { Kind = ExitKind.Exception, Index = 1, Value = 0x4000 };
        Assert.Equal(0x4000UL, VendorPersonality.Vmx.Translate(debug, 0).Qualification);
        Assert.Equal(new VendorExit(0x41, 0, 0), VendorPersonality.Svm.Translate(debug, 0));

        // INT1 has an exit code of its own on AMD.
        debug.Operand = (byte)EventType.PrivilegedSoftwareException;
        Assert.Equal(0UL, VendorPersonality.Vmx.Translate(debug, 0).Reason);
        Assert.Equal(new VendorExit(0x88, 0, 0), VendorPersonality.Svm.Translate(debug, 0));
    }

    [Fact]
    public void Invd_is_not_wbinvd_and_rdtscp_not_rdtsc()
    {
        var exit = new Exit { Kind = ExitKind.Wbinvd, Value = 1 };
        Assert.Equal(13UL, VendorPersonality.Vmx.Translate(exit, 0).Reason);
        Assert.Equal(0x76UL, VendorPersonality.Svm.Translate(exit, 0).Reason);
        exit.Kind = ExitKind.Rdtsc;
        Assert.Equal(51UL, VendorPersonality.Vmx.Translate(exit, 0).Reason);
        Assert.Equal(0x87UL, VendorPersonality.Svm.Translate(exit, 0).Reason);
    }

    [Fact]
    public void A_mov_to_a_debug_register_tells_direction_and_registers()
    {
        // mov dr7, rax / mov r9, dr6
        var exit = new Exit { Kind = ExitKind.DrAccess, Index = 7, Value = 1 };
        Assert.Equal(new VendorExit(29, 7, 0), VendorPersonality.Vmx.Translate(exit, 0));
        Assert.Equal(new VendorExit(0x37, 0, 0), VendorPersonality.Svm.Translate(exit, 0));
        exit = new Exit { Kind = ExitKind.DrAccess, Index = 6, Operand = 9 };
        Assert.Equal(new VendorExit(29, 0x916, 0), VendorPersonality.Vmx.Translate(exit, 0));
        Assert.Equal(new VendorExit(0x26, 9, 0), VendorPersonality.Svm.Translate(exit, 0));
    }

    [Fact]
    public void An_invalidated_page_is_named()
    {
        var exit = new Exit { Kind = ExitKind.Invlpg, Gla = 0x1234000 };
        Assert.Equal(new VendorExit(14, 0x1234000, 0), VendorPersonality.Vmx.Translate(exit, 0));
        Assert.Equal(new VendorExit(0x79, 0x1234000, 0), VendorPersonality.Svm.Translate(exit, 0));
    }

    [Theory]
    [InlineData(DescriptorRegister.Idtr, 0, 46, 0x66)]
    [InlineData(DescriptorRegister.Gdtr, 1, 46, 0x6b)]
    [InlineData(DescriptorRegister.Ldtr, 0, 47, 0x68)]
    [InlineData(DescriptorRegister.Tr, 1, 47, 0x6d)]
    public void Descriptor_registers_are_two_reasons_or_eight(DescriptorRegister register, ulong load, ulong vmx, ulong svm)
    {
        var exit = new Exit { Kind = ExitKind.DescriptorAccess, Index = (uint)register, Value = load };
        Assert.Equal(vmx, VendorPersonality.Vmx.Translate(exit, 0).Reason);
        Assert.Equal(svm, VendorPersonality.Svm.Translate(exit, 0).Reason);
    }
}
