using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.EndToEnd;

/// <summary>
/// A guest for several vCPUs without an operating system: the first one brings the others up by INIT and SIPI, sends
/// them interrupts and gets answers, counts ticks of its timer, and ends when every vCPU has halted for good.
/// </summary>
internal sealed class ApicGuestCode
{
    public const ulong Entry = 0x10_0000;

    /// <summary>Where a SIPI with vector 8 starts.</summary>
    public const ulong Trampoline = 0x8000;

    public const uint Rounds = 20, Ticks = 5;

    // 32-bit counters.
    public const uint Online = 0xB000, Replies = 0xB004, Broadcasts = 0xB008, TimerTicks = 0xB00C,
        Deadlines = 0xB010, Nmis = 0xB014, Reborn = 0xB018, OtherSteps = 0xB01C, Errors = 0xB020, Priorities = 0xB024,
        IpisOf = 0xB040;

    private const uint FarJumpEnd = 32, Stop = 0xB030, Gdt = 0x9000, GdtPointer = 0x9100, Idt = 0xA000, IdtPointer = 0x9110, Stacks = 0x20000;
    private const ushort CodeSelector = 8, DataSelector = 16;
    private const byte Ping = 0x40, Pong = 0x41, All = 0x42, Tick = 0x50, Deadline = 0x51, Low = 0x61, High = 0x91, Spurious = 0xFF;
    private const uint Base = 0xFEE0_0000;

    private readonly Assembler _c = new(32);
    private readonly Assembler _t = new(16);
    private readonly bool _x2;
    private readonly uint _vcpus;
    private readonly bool _deadline;
    private readonly List<(byte Vector, Label Handler)> _handlers = [];

    private ApicGuestCode(bool x2, uint vcpus, bool deadline) => (_x2, _vcpus, _deadline) = (x2, vcpus, deadline);

    /// <summary>The guest's memory: addresses and bytes.</summary>
    public static IReadOnlyList<(ulong Address, byte[] Bytes)> Make(bool x2, uint vcpus, bool deadline)
    {
        var code = new ApicGuestCode(x2, vcpus, deadline);
        return code.Emit();
    }

    private List<(ulong, byte[])> Emit()
    {
        var c = _c;
        var application = c.CreateLabel();
        EmitFirst();
        c.Label(ref application);
        c.nop(); // a label needs an instruction of its own
        EmitOthers();
        EmitHandlers();

        var (code, labels) = Assemble(c, Entry, [application, .. _handlers.Select(static h => h.Handler)]);
        EmitTrampoline((uint)labels[0]);
        var (trampoline, _) = Assemble(_t, Trampoline, []);
        var gdt = new byte[24];
        BitConverter.TryWriteBytes(gdt.AsSpan(8), 0x00CF_9B00_0000_FFFFUL);
        BitConverter.TryWriteBytes(gdt.AsSpan(16), 0x00CF_9300_0000_FFFFUL);
        var idt = new byte[256 * 8];
        for (var n = 0; n < _handlers.Count; n++)
        {
            var gate = (labels[n + 1] & 0xFFFF) | ((ulong)CodeSelector << 16) | (0x8EUL << 40) | ((labels[n + 1] >> 16) << 48);
            BitConverter.TryWriteBytes(idt.AsSpan(_handlers[n].Vector * 8), gate);
        }

        return [(Entry, code), (Trampoline, trampoline), (Gdt, gdt), (Idt, idt), (GdtPointer, Pointer(gdt, Gdt)), (IdtPointer, Pointer(idt, Idt))];
    }

    private static byte[] Pointer(byte[] table, uint address) =>
        [.. BitConverter.GetBytes((ushort)(table.Length - 1)), .. BitConverter.GetBytes(address)];

    private static (byte[] Code, ulong[] Labels) Assemble(Assembler assembler, ulong address, Label[] labels)
    {
        using var stream = new MemoryStream();
        var result = assembler.Assemble(new StreamCodeWriter(stream), address, BlockEncoderOptions.ReturnNewInstructionOffsets);
        return (stream.ToArray(), [.. labels.Select(label => result.GetLabelRIP(label))]);
    }

    private void EmitTrampoline(uint application)
    {
        var t = _t;
        t.cli();
        t.xor(ax, ax);
        t.mov(ds, ax);
        t.lgdt(__[(ushort)GdtPointer]);
        t.mov(eax, cr0);
        t.or(eax, 1);
        t.mov(cr0, eax);
        t.AddInstruction(Instruction.CreateBranch(Code.Jmp_ptr1632, CodeSelector, application));
    }

    private void EmitFirst()
    {
        var c = _c;
        c.cli();
        c.mov(esp, Stacks + 0x1000);
        c.lgdt(__[GdtPointer]);
        c.AddInstruction(Instruction.CreateBranch(Code.Jmp_ptr1632, CodeSelector, (uint)Entry + FarJumpEnd));
        for (var n = 0; n < FarJumpEnd; n++)
        {
            c.nop(); // the jump ends somewhere in here
        }

        LoadSegments();
        EnableApic();
        c.sti();

        // INIT to all others, and a SIPI twice, of which the second must not start anybody again.
        Send(0x000C_4500, 0);
        Send(0x000C_4608, 0);
        Send(0x000C_4608, 0);
        WaitFor(Online, _vcpus - 1, halt: false);
        Send(0x000C_4608, 0);

        // Each of the others gets its pings and answers every one.
        for (uint n = 1; n < _vcpus; n++)
        {
            for (uint round = 0; round < Rounds; round++)
            {
                Send(Ping, n * 2);
                WaitFor(Replies, ((n - 1) * Rounds) + round + 1, halt: true);
            }
        }

        Send(0x0008_4000 | All, 0);
        WaitFor(Broadcasts, _vcpus, halt: false);

        // Two requests to itself behind a task priority that lets only the upper one through.
        if (_x2)
        {
            c.mov(eax, 0x80);
            Write(0x80);
        }
        else
        {
            c.mov(__dword_ptr[Base + 0x80], 0x80);
        }

        Send(0x0004_4000 | Low, 0);
        Send(0x0004_4000 | High, 0);
        WaitFor(Priorities, 0x91, halt: false);
        c.xor(eax, eax);
        Write(0x80);
        WaitFor(Priorities, 0x9161, halt: false);

        // The timer: 1 ms on a bus of 100 MHz.
        c.mov(eax, 0xB);
        Write(0x3E0);
        c.mov(eax, 0x2_0000u | Tick);
        Write(0x320);
        c.mov(eax, 100_000);
        Write(0x380);
        WaitFor(TimerTicks, Ticks, halt: true);
        c.mov(eax, 0x1_0000u);
        Write(0x320);
        if (_deadline)
        {
            c.mov(eax, 0x4_0000u | Deadline);
            Write(0x320);
            c.rdtsc();
            c.add(eax, 1_000_000);
            c.adc(edx, 0);
            c.mov(ecx, 0x6E0);
            c.wrmsr();
            WaitFor(Deadlines, 1, halt: true);
        }

        // An NMI wakes the second vCPU.
        Send(0x0000_4400, 2);
        WaitFor(Nmis, 1, halt: false);

        // INIT takes the second vCPU's life, a SIPI gives it another one.
        Send(0x0000_4500, 2);
        Send(0x0000_4608, 2);
        WaitFor(Reborn, 1, halt: false);

        c.mov(__dword_ptr[Stop], 1);
        Send(0x000C_4000 | All, 0);
        c.cli();
        var end = c.CreateLabel();
        c.Label(ref end);
        c.hlt();
        c.jmp(end);
    }

    private void EmitOthers()
    {
        var c = _c;
        LoadSegments();
        EnableApic();
        ReadId();
        c.shl(eax, 11); // number / 2 pages
        c.lea(esp, __[eax + (int)Stacks + 0x1000]);
        var again = c.CreateLabel();
        var wait = c.CreateLabel();
        var up = c.CreateLabel();

        // The first life counts as online, the second one of a vCPU as reborn.
        ReadId();
        c.mov(ecx, __dword_ptr[eax * 2 + (int)IpisOf]);
        c.test(ecx, ecx);
        c.jne(again);
        c.@lock.inc(__dword_ptr[Online]);
        c.jmp(up);
        c.Label(ref again);
        c.@lock.inc(__dword_ptr[Reborn]);
        c.Label(ref up);
        c.nop();
        var stop = c.CreateLabel();
        c.Label(ref wait);
        c.cli();
        c.cmp(__dword_ptr[Stop], 1);
        c.je(stop);
        c.sti();
        c.hlt();
        c.@lock.inc(__dword_ptr[OtherSteps]);
        c.jmp(wait);
        c.Label(ref stop);
        c.hlt();
        c.jmp(stop);
    }

    private void EmitHandlers()
    {
        Handler(Ping, () =>
        {
            ReadId();
            _c.inc(__dword_ptr[eax * 2 + (int)IpisOf]);
            Eoi();
            Send(Pong, 0);
        });
        Handler(Pong, () => CountAndEnd(Replies));
        Handler(All, () => CountAndEnd(Broadcasts));
        Handler(Tick, () => CountAndEnd(TimerTicks));
        Handler(Deadline, () => CountAndEnd(Deadlines));
        Handler(2, () => _c.@lock.inc(__dword_ptr[Nmis]));
        Handler(Low, () => ShiftIn(Low));
        Handler(High, () => ShiftIn(High));
        Handler(Spurious, () => _c.@lock.inc(__dword_ptr[Errors]));
        Handler(13, () => _c.@lock.inc(__dword_ptr[Errors]), fatal: true);
        Handler(6, () => _c.@lock.inc(__dword_ptr[Errors]), fatal: true);

        void CountAndEnd(uint counter)
        {
            _c.@lock.inc(__dword_ptr[counter]);
            Eoi();
        }

        void ShiftIn(byte vector)
        {
            _c.shl(__dword_ptr[Priorities], 8);
            _c.or(__dword_ptr[Priorities], vector);
            Eoi();
        }
    }

    private void Handler(byte vector, Action body, bool fatal = false)
    {
        var label = _c.CreateLabel();
        _handlers.Add((vector, label));
        _c.Label(ref label);
        _handlers[^1] = (vector, label);
        _c.pushad();
        body();
        if (fatal)
        {
            _c.cli();
            _c.hlt();
        }

        _c.popad();
        _c.iretd();
    }

    private void LoadSegments()
    {
        var c = _c;
        c.mov(eax, DataSelector);
        c.mov(ds, ax);
        c.mov(es, ax);
        c.mov(ss, ax);
        c.lidt(__[IdtPointer]);
    }

    private void EnableApic()
    {
        if (_x2)
        {
            _c.mov(ecx, 0x1B);
            _c.rdmsr();
            _c.or(eax, 0xC00);
            _c.wrmsr();
        }

        _c.mov(eax, 0x100u | Spurious);
        Write(0xF0);
    }

    private void Eoi()
    {
        _c.xor(eax, eax);
        Write(0xB0);
    }

    private void ReadId()
    {
        if (_x2)
        {
            _c.mov(ecx, 0x802);
            _c.rdmsr();
        }
        else
        {
            _c.mov(eax, __dword_ptr[Base + 0x20]);
            _c.shr(eax, 24);
        }
    }

    /// <summary>EAX to a register.</summary>
    private void Write(uint register)
    {
        if (_x2)
        {
            _c.mov(ecx, 0x800 + (register >> 4));
            _c.xor(edx, edx);
            _c.wrmsr();
        }
        else
        {
            _c.mov(__dword_ptr[Base + register], eax);
        }
    }

    private void Send(uint command, uint destination)
    {
        if (_x2)
        {
            _c.mov(ecx, 0x830);
            _c.mov(edx, destination);
            _c.mov(eax, command);
            _c.wrmsr();
        }
        else
        {
            _c.mov(__dword_ptr[Base + 0x310], destination << 24);
            _c.mov(__dword_ptr[Base + 0x300], command);
        }
    }

    /// <summary>Waits until a counter stands at a value, in HLT or in a loop.</summary>
    private void WaitFor(uint counter, uint value, bool halt)
    {
        var c = _c;
        var again = c.CreateLabel();
        var done = c.CreateLabel();
        c.Label(ref again);
        if (halt)
        {
            c.cli();
        }

        c.cmp(__dword_ptr[counter], value);
        c.jae(done);
        if (halt)
        {
            c.sti();
            c.hlt();
        }
        else
        {
            c.pause();
        }

        c.jmp(again);
        c.Label(ref done);
        if (halt)
        {
            c.sti();
        }
        else
        {
            c.nop();
        }
    }
}
