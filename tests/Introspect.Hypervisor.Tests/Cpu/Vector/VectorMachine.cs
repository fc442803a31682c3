using System.Runtime.Intrinsics;
using Iced.Intel;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Cpu.VectorUnit;

namespace Introspect.Hypervisor.Tests.Cpu.VectorUnit;

/// <summary>A long-mode CPU with SSE on, whose exceptions end the run and tell their vector.</summary>
internal sealed unsafe class VectorMachine : IDisposable
{
    public const ulong Data = 0x200000;
    public const int NoFault = -1;
    private const ulong Gdt = 0x6000;
    private const ulong Idt = 0x7000;
    private const ulong Stubs = 0x9000;
    private const ulong FirstCode = 0x400000;

    private readonly BareMachine _machine = new BareMachine().EnterLongMode();
    private ulong _next = FirstCode;

    public VectorMachine()
    {
        var ram = _machine.Ram;
        ((ulong*)(ram + Gdt))[1] = 0x00AF9B000000FFFF;
        ((ulong*)(ram + Gdt))[2] = 0x00CF93000000FFFF;
        for (ulong n = 0; n < 32; n++)
        {
            var handler = Stubs + (n * 16);
            ram[handler] = 0xF4; // hlt
            ((ulong*)(ram + Idt))[n * 2] = (handler & 0xFFFF) | (8UL << 16) | (0x8E00UL << 32);
        }

        var s = State;
        s->GdtrBase = Gdt;
        s->GdtrLimit = 0xFF;
        s->IdtrBase = Idt;
        s->IdtrLimit = 0xFFF;
        s->Cr0 |= CpuModes.Cr0Mp;
        s->Cr4 |= VectorGuard.Cr4OsFxsr | VectorGuard.Cr4OsXmmExcpt;
    }

    public CpuState* State => _machine.State;

    public byte* Ram => _machine.Ram;

    /// <summary>Runs code up to its end. The vector of the exception that stopped it, or <see cref="NoFault"/>.</summary>
    public int Run(Action<Assembler> write)
    {
        var assembler = new Assembler(64);
        write(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), _next);
        return Run(stream.ToArray());
    }

    public int Run(ReadOnlySpan<byte> code)
    {
        var at = _next;
        code.CopyTo(new Span<byte>(Ram + at, code.Length));
        Ram[at + (ulong)code.Length] = 0xF4;
        _next = (at + (ulong)code.Length + 64) & ~63UL;
        State->Rip = at;
        State->Gpr[4] = 0x80000;
        State->FlagsOther = RFlags.Fixed1;
        _machine.Cpu.StateChanged();
        var exit = _machine.Cpu.Run(1_000_000);
        Assert.Equal(ExitKind.Hlt, exit.Kind);
        var rip = State->Rip;
        return rip is >= Stubs and < Stubs + (32 * 16) ? (int)((rip - Stubs) / 16) : NoFault;
    }

    /// <summary>Where the exception that stopped the last run was raised.</summary>
    public ulong FaultingRip(bool errorCode) => *(ulong*)(Ram + State->Gpr[4] + (errorCode ? 8 : 0));

    public Vector128<byte> Xmm(int n) => *(Vector128<byte>*)&State->Ymm[n * 4];

    public void SetXmm(int n, Vector128<byte> value) => *(Vector128<byte>*)&State->Ymm[n * 4] = value;

    public void Dispose() => _machine.Dispose();
}
