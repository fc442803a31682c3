using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Tests.Cpu.Lockstep;

/// <summary>The interpreter in protected mode, with the segments of <see cref="SegmentedLayout"/> at the same addresses.</summary>
internal sealed unsafe class SegmentedMachine : IDisposable
{
    private readonly BareMachine _machine = new();
    private SegmentedMode _mode;

    /// <summary>Guest memory at a linear address.</summary>
    public byte* At(uint linear) => _machine.Ram + linear;

    /// <summary>Puts an instruction in place, in a mode; translations are forgotten, so that the first accesses are misses.</summary>
    public void Place(ReadOnlySpan<byte> code, SegmentedMode mode)
    {
        _mode = mode;
        var s = _machine.State;
        s->Cr0 = 0x11;
        Set(SegmentIndex.Cs, SegmentedLayout.Code, 0x9B, mode.Bits, ~0u);
        Set(SegmentIndex.Ds, SegmentedLayout.Data, 0x93, 32, 0xFFFF);
        Set(SegmentIndex.Es, SegmentedLayout.Extra, 0x93, 32, 0xFFFF);
        Set(SegmentIndex.Ss, SegmentedLayout.Stack, 0x93, mode.StackBits, 0xFFFF);
        _machine.Cpu.StateChanged();
        _machine.Cpu.DropCode(SegmentedLayout.Code >> 12);
        var p = At(SegmentedLayout.Code + SegmentedLayout.Slot);
        code.CopyTo(new Span<byte>(p, code.Length));
        p[code.Length] = 0xF4; // hlt
    }

    /// <summary>Runs the instruction on registers and flags in place. Null, or why it did not come to its end.</summary>
    public string? Run(Registers* registers)
    {
        var s = _machine.State;
        for (var n = 0; n < 8; n++)
        {
            s->Gpr[n] = registers->Gpr[n];
        }

        Flags.Write(s, registers->Flags, RFlags.Arithmetic | RFlags.Df);
        s->Rip = SegmentedLayout.Slot + (_mode.Flat ? SegmentedLayout.Code : 0);
        s->Pending = default;
        var exit = _machine.Cpu.Run(10_000).Kind;
        for (var n = 0; n < 8; n++)
        {
            registers->Gpr[n] = s->Gpr[n];
        }

        registers->Flags = Flags.Read(s);
        return exit == ExitKind.Hlt ? null : $"{exit}, pending vector {s->Pending.Vector}";
    }

    public void Dispose() => _machine.Dispose();

    private void Set(SegmentIndex index, uint @base, uint attributes, int bits, uint limit) =>
        *_machine.State->Seg(index) = new Segment
        {
            Base = _mode.Flat ? 0 : @base,
            Limit = _mode.Flat ? ~0u : limit,
            Attributes = attributes | (bits == 32 ? Segment.Default32 : 0) | (_mode.Flat || limit == ~0u ? Segment.Granularity : 0),
        };
}
