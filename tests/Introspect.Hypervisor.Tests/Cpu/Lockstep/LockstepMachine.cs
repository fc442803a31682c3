using Introspect.Hypervisor.Core.Cpu;

namespace Introspect.Hypervisor.Tests.Cpu.Lockstep;

/// <summary>
/// The interpreter with the host's scratch pages mapped at the same linear addresses, onto machine pages in the
/// reverse order, so that an access over a page's end must find the right one.
/// </summary>
internal sealed unsafe class LockstepMachine : IDisposable
{
    private const ulong CodeBase = 0x100000;
    private const int CodeSlot = 64;
    private const ulong Frames = 0xE00000;
    private readonly BareMachine _machine = new BareMachine().EnterLongMode();
    private readonly Dictionary<ulong, ulong> _frames = [];
    private ulong _nextTable = 0x10000;
    private ulong _nextFrame = Frames;
    private int _slots;

    public void Map(ulong linear)
    {
        var table = 0x1000UL;
        for (var shift = 39; shift > 12; shift -= 9)
        {
            var entry = (ulong*)(_machine.Ram + table + (((linear >> shift) & 0x1FF) * 8));
            if (*entry == 0)
            {
                *entry = _nextTable | 7;
                _nextTable += 4096;
            }

            table = *entry & ~0xFFFUL;
        }

        _nextFrame -= 4096;
        *(ulong*)(_machine.Ram + table + (((linear >> 12) & 0x1FF) * 8)) = _nextFrame | 7;
        _frames[linear >> 12] = _nextFrame;
    }

    /// <summary>Native address of a mapped linear one.</summary>
    public byte* At(ulong linear) => _machine.Ram + _frames[linear >> 12] + (linear & 0xFFF);

    public int Add(ReadOnlySpan<byte> code)
    {
        var slot = _slots++;
        var p = _machine.Ram + CodeBase + (slot * CodeSlot);
        code.CopyTo(new Span<byte>(p, code.Length));
        p[code.Length] = 0xF4; // hlt
        return slot;
    }

    /// <summary>Forgets translations, so that the next accesses are misses.</summary>
    public void Flush() => _machine.Cpu.StateChanged();

    /// <summary>Runs an instruction on registers and flags in place. Null, or why it did not come to its end.</summary>
    public string? Run(int slot, Registers* registers)
    {
        var s = _machine.State;
        for (var n = 0; n < 16; n++)
        {
            s->Gpr[n] = registers->Gpr[n];
        }

        const uint Written = RFlags.Arithmetic | RFlags.Df;
        Flags.Write(s, registers->Flags, Written);
        s->Rip = CodeBase + (ulong)(slot * CodeSlot);
        s->Pending = default;
        var exit = _machine.Cpu.Run(10_000).Kind;
        for (var n = 0; n < 16; n++)
        {
            registers->Gpr[n] = s->Gpr[n];
        }

        registers->Flags = Flags.Read(s);
        return exit == ExitKind.Hlt ? null : $"{exit}, pending vector {s->Pending.Vector}";
    }

    public void Dispose() => _machine.Dispose();
}
