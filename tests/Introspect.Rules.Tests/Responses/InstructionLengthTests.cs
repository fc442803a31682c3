using Introspect.Hypervisor.Abi;
using Introspect.Rules.Responses;
using Introspect.Rules.Tests.Mocks;

namespace Introspect.Rules.Tests.Responses;

public class InstructionLengthTests
{
    [Theory]
    [InlineData("0f22e0", true, 3)] // mov cr4, rax
    [InlineData("440f22c0", true, 4)] // mov cr8, rax
    [InlineData("410f22d8", true, 4)] // mov cr3, r8
    [InlineData("0f30", true, 2)] // wrmsr
    [InlineData("0f01d1", true, 3)] // xsetbv
    [InlineData("0f06", false, 2)] // clts
    [InlineData("0f01f0", false, 3)] // lmsw ax
    [InlineData("0f0130", false, 0)] // lmsw [..]
    [InlineData("0f01c1", true, 3)] // vmcall
    [InlineData("0f01d9", true, 3)] // vmmcall
    [InlineData("0fa2", true, 2)] // cpuid
    [InlineData("e480", true, 2)] // in al, 0x80
    [InlineData("66ef", true, 2)] // out dx, ax
    [InlineData("ee", false, 1)] // out dx, al
    [InlineData("f36c", true, 2)] // rep insb
    [InlineData("f2676f", false, 3)] // repne outsd with a 16-bit address
    [InlineData("40ec", false, 0)] // inc eax: no prefix outside of long mode
    [InlineData("40ec", true, 2)]
    [InlineData("90", true, 0)]
    [InlineData("0f", true, 0)]
    [InlineData("0f22", true, 0)]
    [InlineData("e4", true, 0)]
    [InlineData("", true, 0)]
    [InlineData("666666666666666666666666666666", true, 0)]
    public void Known_instructions_have_their_length(string hex, bool longMode, int length)
    {
        Assert.Equal(length, InstructionLength.Decode(Convert.FromHexString(hex), longMode));
    }

    [Fact]
    public void The_page_after_the_instruction_need_not_be_mapped()
    {
        var memory = new MockGuestMemory();
        var request = Requests.Make(VmEventReason.MovToMsr);
        request.Registers.Rip = 0x1ffe;
        memory.WritePhysical(new(0x1ffe), [0x0f, 0x30]);

        Assert.Equal(2, InstructionLength.At(memory, in request.Registers));
    }

    [Fact]
    public void An_instruction_may_lie_across_two_pages()
    {
        var memory = new MockGuestMemory();
        var request = Requests.Make(VmEventReason.MovToMsr);
        request.Registers.Rip = 0x1fff;
        memory.WritePhysical(new(0x1fff), [0x0f, 0x22, 0xe0]);

        Assert.Equal(3, InstructionLength.At(memory, in request.Registers));
    }

    [Fact]
    public void Outside_of_long_mode_the_code_segment_has_a_base()
    {
        var memory = new MockGuestMemory();
        var request = Requests.Make(VmEventReason.MovToMsr);
        request.Registers.MsrEfer = 0;
        request.Registers.CsBase = 0xffff_0000;
        request.Registers.Rip = 0x1_0010;
        memory.WritePhysical(new(0x10), [0xee]);

        Assert.Equal(1, InstructionLength.At(memory, in request.Registers));
    }

    [Fact]
    public void Unmapped_code_has_no_length()
    {
        var request = Requests.Make(VmEventReason.MovToMsr);

        Assert.Equal(0, InstructionLength.At(new MockGuestMemory(), in request.Registers));
    }
}
