using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.VectorUnit;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Cpu.VectorUnit;

/// <summary>Which control bits make which kind of instruction fault, and how.</summary>
public sealed unsafe class FaultRuleTests
{
    private const int Ud = 6;
    private const int Nm = 7;
    private const int Gp = 13;
    private const int Pf = 14;
    private const int Mf = 16;
    private const int None = VectorMachine.NoFault;

    private static readonly Dictionary<string, Action<Assembler>> Instructions = new()
    {
        ["fld1"] = a => a.fld1(),
        ["fnop"] = a => a.fnop(),
        ["fnstsw"] = a => a.fnstsw(ax),
        ["fninit"] = a => a.fninit(),
        ["fnclex"] = a => a.fnclex(),
        ["wait"] = a => a.wait(),
        ["paddb mm"] = a => a.paddb(mm1, mm2),
        ["emms"] = a => a.emms(),
        ["pavgb mm"] = a => a.pavgb(mm1, mm2),
        ["paddb xmm"] = a => a.paddb(xmm1, xmm2),
        ["movaps"] = a => a.movaps(xmm1, xmm2),
        ["addps"] = a => a.addps(xmm1, xmm2),
        ["movdq2q"] = a => a.movdq2q(mm1, xmm2),
        ["ldmxcsr"] = a => a.ldmxcsr(__dword_ptr[VectorMachine.Data]),
        ["fxsave"] = a => a.fxsave(__[VectorMachine.Data]),
        ["fxrstor"] = a => a.fxrstor(__[VectorMachine.Data]),
        ["xsave"] = a => a.xsave(__[VectorMachine.Data]),
        ["movnti"] = a => a.movnti(__dword_ptr[VectorMachine.Data], eax),
        ["sfence"] = a => a.sfence(),
        ["crc32"] = a => a.crc32(eax, ecx),
    };

    [Theory]
    // instruction, as it is, EM, TS, TS and no MP, no OSFXSR, x87 exception pending
    [InlineData("fld1", None, Nm, Nm, Nm, None, Mf)]
    [InlineData("fnop", None, Nm, Nm, Nm, None, Mf)]
    [InlineData("fnstsw", None, Nm, Nm, Nm, None, None)]
    [InlineData("fninit", None, Nm, Nm, Nm, None, None)]
    [InlineData("fnclex", None, Nm, Nm, Nm, None, None)]
    [InlineData("wait", None, None, Nm, None, None, Mf)]
    [InlineData("paddb mm", None, Ud, Nm, Nm, None, Mf)]
    [InlineData("emms", None, Ud, Nm, Nm, None, Mf)]
    [InlineData("pavgb mm", None, Ud, Nm, Nm, None, Mf)]
    [InlineData("paddb xmm", None, Ud, Nm, Nm, Ud, None)]
    [InlineData("movaps", None, Ud, Nm, Nm, Ud, None)]
    [InlineData("addps", None, Ud, Nm, Nm, Ud, None)]
    [InlineData("movdq2q", None, Ud, Nm, Nm, Ud, Mf)]
    [InlineData("ldmxcsr", None, Ud, Nm, Nm, Ud, None)]
    [InlineData("fxsave", None, Nm, Nm, Nm, None, None)]
    [InlineData("fxrstor", None, Nm, Nm, Nm, None, None)]
    [InlineData("xsave", Ud, Ud, Ud, Ud, Ud, Ud)]
    [InlineData("movnti", None, None, None, None, None, None)]
    [InlineData("sfence", None, None, None, None, None, None)]
    [InlineData("crc32", None, None, None, None, None, None)]
    public void Control_bits_decide(string instruction, int plain, int emulated, int switched, int switchedOnly, int noFxsr, int pending)
    {
        Assert.Equal(plain, Run(instruction, _ => { }));
        Assert.Equal(emulated, Run(instruction, m => m.State->Cr0 |= CpuModes.Cr0Em));
        Assert.Equal(switched, Run(instruction, m => m.State->Cr0 |= CpuModes.Cr0Ts));
        Assert.Equal(switchedOnly, Run(instruction, m => m.State->Cr0 = (m.State->Cr0 | CpuModes.Cr0Ts) & ~CpuModes.Cr0Mp));
        Assert.Equal(noFxsr, Run(instruction, m => m.State->Cr4 &= ~VectorGuard.Cr4OsFxsr));
        Assert.Equal(pending, Run(instruction, m =>
        {
            m.State->Fcw = 0x37B;
            m.State->Fsw = 0x8084;
        }));
    }

    [Fact]
    public void An_invalid_opcode_goes_before_an_absent_device_and_that_before_the_operand()
    {
        using var machine = new VectorMachine();
        machine.State->Cr0 |= CpuModes.Cr0Em | CpuModes.Cr0Ts;
        Assert.Equal(Ud, machine.Run(a => a.movaps(xmm0, __[VectorMachine.Data + 1])));
        machine.State->Cr0 &= ~CpuModes.Cr0Em;
        Assert.Equal(Nm, machine.Run(a => a.movaps(xmm0, __[VectorMachine.Data + 1])));
        machine.State->Cr0 &= ~CpuModes.Cr0Ts;
        Assert.Equal(Gp, machine.Run(a => a.movaps(xmm0, __[VectorMachine.Data + 1])));
    }

    [Fact]
    public void A_pending_x87_exception_goes_before_a_page_fault()
    {
        using var machine = new VectorMachine();
        machine.State->Fcw = 0x37B;
        machine.State->Fsw = 0x8084;
        Assert.Equal(Mf, machine.Run(a => a.fld(__dword_ptr[0x7FFF0000])));
        machine.State->Fsw = 0;
        Assert.Equal(Pf, machine.Run(a => a.fld(__dword_ptr[0x7FFF0000])));
    }

    [Theory]
    [InlineData("movaps load", Gp)]
    [InlineData("movaps store", Gp)]
    [InlineData("movntps", Gp)]
    [InlineData("addps", Gp)]
    [InlineData("pshufb", Gp)]
    [InlineData("fxsave", Gp)]
    [InlineData("fxrstor", Gp)]
    [InlineData("movups load", None)]
    [InlineData("movups store", None)]
    [InlineData("lddqu", None)]
    [InlineData("addss", None)]
    [InlineData("cvtps2pd", None)]
    [InlineData("pcmpistri", None)]
    public void Operands_of_16_bytes_are_aligned_but_for_the_unaligned_moves(string form, int expected)
    {
        var odd = __[VectorMachine.Data + 4];
        using var machine = new VectorMachine();
        Assert.Equal(expected, machine.Run(a =>
        {
            switch (form)
            {
                case "movaps load": a.movaps(xmm1, odd); break;
                case "movaps store": a.movaps(odd, xmm1); break;
                case "movntps": a.movntps(odd, xmm1); break;
                case "addps": a.addps(xmm1, odd); break;
                case "pshufb": a.pshufb(xmm1, odd); break;
                case "fxsave": a.fxsave(odd); break;
                case "fxrstor": a.fxrstor(odd); break;
                case "movups load": a.movups(xmm1, odd); break;
                case "movups store": a.movups(odd, xmm1); break;
                case "lddqu": a.lddqu(xmm1, odd); break;
                case "addss": a.addss(xmm1, odd); break;
                case "cvtps2pd": a.cvtps2pd(xmm1, odd); break;
                default: a.pcmpistri(xmm1, odd, 0); break;
            }
        }));
    }

    [Theory]
    [InlineData(0xFFFFu, None)]
    [InlineData(0x10000u, Gp)]
    [InlineData(0x80001F80u, Gp)]
    public void Reserved_bits_of_mxcsr_are_refused(uint value, int expected)
    {
        using var machine = new VectorMachine();
        *(uint*)(machine.Ram + VectorMachine.Data) = value;
        Assert.Equal(expected, machine.Run(a => a.ldmxcsr(__dword_ptr[VectorMachine.Data])));
        Assert.Equal(expected == None ? value : 0x1F80, machine.State->Mxcsr);
        *(uint*)(machine.Ram + VectorMachine.Data + 0x118) = value;
        Assert.Equal(expected, machine.Run(a => a.fxrstor(__[VectorMachine.Data + 0x100])));
    }

    [Fact]
    public void A_faulting_store_changes_neither_registers_nor_stack()
    {
        using var machine = new VectorMachine();
        Assert.Equal(None, machine.Run(a => a.fldpi()));
        var top = machine.State->Fsw;
        Assert.Equal(Pf, machine.Run(a => a.fstp(__qword_ptr[0x7FFF0000])));
        Assert.Equal(top, machine.State->Fsw);
        Assert.Equal(0x80, machine.State->FtwAbridged);
    }

    private static int Run(string instruction, Action<VectorMachine> prepare)
    {
        using var machine = new VectorMachine();
        prepare(machine);
        return machine.Run(Instructions[instruction]);
    }
}
