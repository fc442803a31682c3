using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Tests.Monitoring.Lab;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Monitoring;

/// <summary>DESCRIPTOR_ACCESS: which register, read or written, and Intel's words about the operand.</summary>
public sealed class DescriptorEventTests
{
    private const uint Word64 = 2 << 7, Ds = 3 << 15, NoIndex = 1 << 22, NoBase = 1 << 27, Second = 1 << 28, Load = 1 << 29, Register = 1 << 10, Operand32 = 1 << 11;

    public static TheoryData<string, DescriptorRegister, bool, uint, ulong> Accesses => new()
    {
        { "sgdt [rbx+0x10]", DescriptorRegister.Gdtr, false, Word64 | Ds | NoIndex | (3 << 23) | Operand32, 0x10 },
        { "sidt [rbx+rsi*4]", DescriptorRegister.Idtr, false, Word64 | Ds | 2 | (6 << 18) | (3 << 23) | Operand32 | Second, 0 },
        { "lgdt [rbx-8]", DescriptorRegister.Gdtr, true, Word64 | Ds | NoIndex | (3 << 23) | Operand32 | Load, ~7UL },
        { "lidt [rip]", DescriptorRegister.Idtr, true, Word64 | Ds | NoIndex | NoBase | Operand32 | Load | Second, LabMemory.Data },
        { "sldt ecx", DescriptorRegister.Ldtr, false, Register | (1 << 3), 0 },
        { "str [rbx]", DescriptorRegister.Tr, false, Word64 | Ds | NoIndex | (3 << 23) | Second, 0 },
        { "lldt ax", DescriptorRegister.Ldtr, true, Register | Load, 0 },
    };

    [Theory]
    [MemberData(nameof(Accesses))]
    public void Each_access_is_told_and_emulated_on_request(string instruction, DescriptorRegister register, bool load, uint information, ulong qualification)
    {
        foreach (var vendor in new[] { CpuVendor.Vmx, CpuVendor.Svm })
        {
            using var lab = new EventLab(Program(instruction), vendor);
            lab.Domain.Memory.WritePhysical(new GuestPhysical(LabMemory.Data), Pointer(LabMemory.Idt, (0x42 * 16) - 1));
            lab.Domain.Memory.WritePhysical(new GuestPhysical(LabMemory.Data + 0xF8), Pointer(LabMemory.Gdt, 0x37));
            lab.Monitor.Enable(new MonitorEvent.DescriptorAccess());
            lab.Run((int number, in VmEvent _, ref VmEvent response) =>
            {
                // A bare response brings it again.
                if (number > 0)
                {
                    response.Flags |= VmEventFlags.Emulate;
                }
            });
            Assert.Equal(2, lab.Events.Count);
            var e = lab.Events[1];
            Assert.Equal((VmEventReason.DescriptorAccess, VmEventFlags.VcpuPaused), (e.Reason, e.Flags));
            Assert.Equal((register, load), (e.DescAccess.Descriptor, e.DescAccess.IsWrite == 1));

            // The words are VMX's; on SVM they are zero, as on Xen.
            var intel = vendor == CpuVendor.Vmx;
            Assert.Equal(intel ? information : 0, e.DescAccess.InstrInfo & ~IrrelevantIn(instruction));
            Assert.Equal(intel ? qualification : 0, e.DescAccess.ExitQualification);
            Assert.Equal(0x77UL, lab.Gpr(15));
        }
    }

    [Fact]
    public void The_qualification_of_the_exit_is_the_displacement_too()
    {
        using var lab = new EventLab(Program("sgdt [rbx+0x10]"));
        lab.Monitor.Enable(new MonitorEvent.DescriptorAccess());
        lab.Monitor.Enable(new MonitorEvent.VmExit());
        lab.Run(static (int _, in VmEvent request, ref VmEvent response) =>
        {
            if (request.Reason == VmEventReason.DescriptorAccess)
            {
                response.Flags |= VmEventFlags.Emulate;
            }
        });
        Assert.Equal((46UL, 0x10UL), (lab.Events[0].VmExitVmx.Reason, lab.Events[0].VmExitVmx.Qualification));
        Assert.Equal(VmEventReason.DescriptorAccess, lab.Events[1].Reason);
    }

    [Fact]
    public void Umip_comes_before_the_intercept()
    {
        using var lab = new EventLab(
            code =>
            {
                code.mov(ebx, (int)LabMemory.Data);
                code.sgdt(__[rbx]);
            },
            user: true);
        lab.Registers.Cr4 |= 1 << 11;
        lab.Monitor.Enable(new MonitorEvent.DescriptorAccess());
        Assert.Empty(lab.Run());
        Assert.Equal(1UL, lab.Taken(13));
    }

    [Fact]
    public void Without_the_event_nothing_is_intercepted()
    {
        using var lab = new EventLab(Program("sgdt [rbx+0x10]"));
        lab.Monitor.Enable(new MonitorEvent.DescriptorAccess());
        lab.Monitor.Disable(new MonitorEvent.DescriptorAccess());
        Assert.Empty(lab.Run());
        Assert.Equal(Errno.EEXIST, Assert.Throws<HypervisorException>(() => lab.Monitor.Disable(new MonitorEvent.DescriptorAccess())).Error);
    }

    private static byte[] Pointer(ulong address, ushort limit) => [.. BitConverter.GetBytes(limit), .. BitConverter.GetBytes(address)];

    // Bits that the manual leaves undefined where there is no memory operand.
    private static uint IrrelevantIn(string instruction) =>
        instruction is "sldt ecx" or "lldt ax" ? Word64 | Ds | NoIndex | NoBase | 3 | (0xF << 18) | (0xF << 23) : 0;

    private static Action<Assembler> Program(string instruction) => code =>
    {
        code.mov(ebx, (int)LabMemory.Data + 0x100);
        code.mov(esi, 8);
        switch (instruction)
        {
            case "sgdt [rbx+0x10]":
                code.sgdt(__[rbx + 0x10]);
                break;
            case "sidt [rbx+rsi*4]":
                code.sidt(__[rbx + (rsi * 4)]);
                break;
            case "lgdt [rbx-8]":
                code.lgdt(__[rbx - 8]);
                break;
            case "lidt [rip]":
                code.db(0x0F, 0x01, 0x1D);
                code.dd(unchecked((uint)LabMemory.Data - (uint)(LabMemory.Code + 10 + 7)));
                break;
            case "sldt ecx":
                code.sldt(ecx);
                break;
            case "str [rbx]":
                code.str(__word_ptr[rbx]);
                break;
            default:
                code.xor(eax, eax);
                code.lldt(ax);
                break;
        }

        code.mov(r15d, 0x77);
        code.hlt();
    };
}
