using System.Runtime.Intrinsics;
using Introspect.Hypervisor.Core.Cpu.VectorUnit;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Cpu.VectorUnit;

/// <summary>Flags, masks, rounding and #XM of SSE floating point.</summary>
public sealed unsafe class SimdExceptionTests
{
    private const uint Ie = 1;
    private const uint De = 2;
    private const uint Ze = 4;
    private const uint Oe = 8;
    private const uint Ue = 16;
    private const uint Pe = 32;
    private const int Ud = 6;
    private const int Xm = 19;
    private const uint Default = 0x1F80;
    private const float Denormal = 1e-40f;
    private const float Smallest = 1.17549435e-38f;

    [Theory]
    [InlineData("div", 1f, 0f, Ze)]
    [InlineData("div", 0f, 0f, Ie)]
    [InlineData("div", 1f, 3f, Pe)]
    [InlineData("div", 1f, 2f, 0u)]
    [InlineData("add", Denormal, 1f, De | Pe)]
    [InlineData("mul", float.MaxValue, 2f, Oe | Pe)]
    [InlineData("mul", Smallest, 0.3f, Ue | Pe)]
    [InlineData("mul", Smallest, 0.5f, 0u)]
    [InlineData("sub", float.PositiveInfinity, float.PositiveInfinity, Ie)]
    public void Flags_are_sticky_and_an_unmasked_one_faults(string operation, float a, float b, uint flags)
    {
        using var machine = new VectorMachine();
        Assert.Equal(VectorMachine.NoFault, Run(machine, operation, a, b, Default | 0x10));
        Assert.Equal(Default | 0x10 | flags, machine.State->Mxcsr);

        for (var bit = 0; bit < 6; bit++)
        {
            if ((flags >> bit & 1) == 0)
            {
                continue;
            }

            // An exception of the operands hides those of the result.
            var expected = bit < 3 ? flags & 7 : flags;
            var control = Default & ~(0x80u << bit);
            Assert.Equal(Xm, Run(machine, operation, a, b, control));
            Assert.Equal(control | expected, machine.State->Mxcsr);
            Assert.Equal(Vector128.CreateScalar(a).AsByte(), machine.Xmm(3));
            machine.State->Cr4 &= ~VectorGuard.Cr4OsXmmExcpt;
            Assert.Equal(Ud, Run(machine, operation, a, b, control));
            machine.State->Cr4 |= VectorGuard.Cr4OsXmmExcpt;
        }
    }

    [Fact]
    public void Unmasked_underflow_needs_no_inexact_result_and_forbids_flushing()
    {
        using var machine = new VectorMachine();
        Assert.Equal(Xm, Run(machine, "mul", Smallest, 0.5f, Default & ~0x800u));
        Assert.Equal((Default & ~0x800u) | Ue, machine.State->Mxcsr);
        Assert.Equal(Xm, Run(machine, "mul", Smallest, 0.5f, (Default & ~0x800u) | 0x8000));
    }

    [Theory]
    [InlineData(0x1F80u, 0x3EAAAAABu)]
    [InlineData(0x3F80u, 0x3EAAAAAAu)]
    [InlineData(0x5F80u, 0x3EAAAAABu)]
    [InlineData(0x7F80u, 0x3EAAAAAAu)]
    public void Rounding_follows_mxcsr(uint mxcsr, uint third)
    {
        using var machine = new VectorMachine();
        Run(machine, "div", 1f, 3f, mxcsr);
        Assert.Equal(third, machine.Xmm(3).AsUInt32()[0]);
    }

    [Fact]
    public void Denormals_are_flushed_and_taken_as_zero_when_asked()
    {
        using var machine = new VectorMachine();
        Run(machine, "mul", Smallest, 0.3f, Default | 0x8000);
        Assert.Equal(0u, machine.Xmm(3).AsUInt32()[0]);
        Assert.Equal(Default | 0x8000 | Ue | Pe, machine.State->Mxcsr);
        Run(machine, "add", Denormal, 0f, Default | 0x40);
        Assert.Equal(0u, machine.Xmm(3).AsUInt32()[0]);
        Assert.Equal(Default | 0x40, machine.State->Mxcsr);
    }

    [Fact]
    public void The_hosts_own_rounding_is_left_alone()
    {
        using var machine = new VectorMachine();
        Run(machine, "div", 1f, 3f, 0x3F80);
        var three = BitConverter.Int32BitsToSingle(0x40400000 + (machine.State->Mxcsr == 0 ? 1 : 0));
        Assert.Equal(0x3EAAAAABu, BitConverter.SingleToUInt32Bits(1f / three));
    }

    [Fact]
    public void A_faulting_compare_leaves_the_flags()
    {
        using var machine = new VectorMachine();
        machine.SetXmm(1, Vector128.Create(float.NaN).AsByte());
        machine.State->Mxcsr = Default & ~0x80u;
        Assert.Equal(Xm, machine.Run(a =>
        {
            a.stc();
            a.comiss(xmm1, xmm1);
        }));
        Assert.Equal(1UL, *(ulong*)(machine.Ram + machine.State->Gpr[4] + 16) & 0x45);
        Assert.Equal(VectorMachine.NoFault, machine.Run(a => a.ucomiss(xmm1, xmm1)));
        Assert.Equal(0x45u, Core.Cpu.Flags.ReadArithmetic(machine.State));
    }

    private static int Run(VectorMachine machine, string operation, float a, float b, uint mxcsr)
    {
        machine.SetXmm(3, Vector128.CreateScalar(a).AsByte());
        machine.SetXmm(12, Vector128.CreateScalar(b).AsByte());
        machine.State->Mxcsr = mxcsr;
        return machine.Run(code =>
        {
            switch (operation)
            {
                case "div": code.divss(xmm3, xmm12); break;
                case "add": code.addss(xmm3, xmm12); break;
                case "sub": code.subss(xmm3, xmm12); break;
                default: code.mulss(xmm3, xmm12); break;
            }
        });
    }
}
