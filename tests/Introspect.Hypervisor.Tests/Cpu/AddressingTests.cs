using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Tests.Cpu;

/// <summary>Where instructions are and which segment their operands are in, at the corners.</summary>
public sealed unsafe class AddressingTests
{
    private const byte UndefinedPrefix1 = 0x0F, UndefinedPrefix2 = 0x0B;

    /// <summary>Bytes of an access to a non-canonical address in RAX or RBP, and the fault's vector (SDM vol. 1, 3.4.2.1).</summary>
    public static TheoryData<string, byte[], byte> Overrides => new()
    {
        { "mov eax, [rax]", [0x8B, 0x00], Vector.GeneralProtection },
        { "mov eax, ss:[rax]", [0x36, 0x8B, 0x00], Vector.GeneralProtection },
        { "mov eax, [rbp+0]", [0x8B, 0x45, 0x00], Vector.StackFault },
        { "mov eax, ds:[rbp+0]", [0x3E, 0x8B, 0x45, 0x00], Vector.StackFault },
        { "mov eax, cs:[rbp+0]", [0x2E, 0x8B, 0x45, 0x00], Vector.StackFault },
        { "mov eax, fs:[rbp+0]", [0x64, 0x8B, 0x45, 0x00], Vector.GeneralProtection },
        { "movups xmm0, ss:[rax]", [0x36, 0x0F, 0x10, 0x00], Vector.GeneralProtection },
        { "lodsb ss:[rsi]", [0x36, 0xAC], Vector.GeneralProtection },
    };

    [Theory]
    [MemberData(nameof(Overrides))]
    public void Long_mode_ignores_the_overrides_that_it_ignores_on_a_processor(string text, byte[] code, byte vector)
    {
        Assert.NotEmpty(text);
        using var machine = new BareMachine().EnterLongMode();
        code.CopyTo(new Span<byte>(machine.Ram + 0x100000, 16));
        machine.State->Cr4 |= 1 << 9;
        machine.State->Gpr[0] = machine.State->Gpr[5] = machine.State->Gpr[6] = 1UL << 63;
        Assert.Equal(vector, FaultOf(machine).Vector);
    }

    [Fact]
    public void The_forced_emulation_prefix_is_behind_the_instruction_that_faults()
    {
        using var machine = new BareMachine().EnterLongMode();
        machine.Cpu.ForcedEmulationPrefix = true;
        byte[] code = [UndefinedPrefix1, UndefinedPrefix2, (byte)'x', (byte)'e', (byte)'n', 0x8B, 0x00];
        code.CopyTo(new Span<byte>(machine.Ram + 0x100000, 16));
        machine.State->Gpr[0] = 1UL << 63;
        Assert.Equal((Vector.GeneralProtection, 0x100005UL), FaultOf(machine));
    }

    [Fact]
    public void Sixteen_bit_code_runs_beyond_64_KiB_and_only_its_branches_cut_the_target()
    {
        using var machine = new BareMachine().EnterLongMode(rip: 0x10FFFE);
        *machine.State->Seg(SegmentIndex.Cs) = new Segment { Selector = 8, Limit = ~0u, Attributes = 0x809B };
        machine.Cpu.StateChanged();
        byte[] code = [0x41, 0x41, 0x41, 0x85, 0xC9, 0x75, 0x01]; // inc cx three times, test cx, cx, jnz +1
        code.CopyTo(new Span<byte>(machine.Ram + 0x10FFFE, 16));
        machine.State->Gpr[1] = 0;
        Step(machine, times: 4);
        Assert.Equal((3UL, 0x110003UL), (machine.State->Gpr[1], machine.State->Rip));
        Step(machine, times: 1);
        Assert.Equal(0x0006UL, machine.State->Rip);
    }

    private static void Step(BareMachine machine, int times)
    {
        for (var n = 0; n < times; n++)
        {
            machine.State->MonitorTrap = true;
            Assert.Equal(ExitKind.MonitorTrap, machine.Cpu.Run(100).Kind);
        }
    }

    /// <summary>Runs until a handler of an exception halts.</summary>
    /// <returns>The vector, and the RIP that was pushed.</returns>
    private static (byte Vector, ulong Rip) FaultOf(BareMachine machine)
    {
        const int Gdt = 0x5000, Idt = 0x6000, Handlers = 0x200000;
        *(ulong*)(machine.Ram + Gdt + 8) = 0x00AF9B000000FFFF;
        *(ulong*)(machine.Ram + Gdt + 16) = 0x00CF93000000FFFF;
        for (ulong vector = 0; vector < 32; vector++)
        {
            var gate = (ulong*)(machine.Ram + Idt + (vector * 16));
            var handler = Handlers + (vector * 16);
            gate[0] = (handler & 0xFFFF) | (8UL << 16) | (0x8EUL << 40) | ((handler >> 16) << 48);
            machine.Ram[handler] = 0xF4;
        }

        var s = machine.State;
        (s->GdtrBase, s->GdtrLimit, s->IdtrBase, s->IdtrLimit) = (Gdt, 23, Idt, 511);
        Assert.Equal(ExitKind.Hlt, machine.Cpu.Run(100).Kind);
        return ((byte)((s->Rip - Handlers) / 16), *(ulong*)(machine.Ram + s->Gpr[4] + 8));
    }
}
