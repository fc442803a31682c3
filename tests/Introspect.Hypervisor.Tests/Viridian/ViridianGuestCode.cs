using Iced.Intel;
using Introspect.Hypervisor.Abi;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Tests.Viridian;

/// <summary>
/// A guest without an operating system that uses base, time_ref_count, synic, stimer and hcall_ipi as a driver of the
/// enlightenments would, and asks for registers of features that it was not given.
/// </summary>
internal sealed class ViridianGuestCode
{
    public const ulong Entry = 0x10_0000;

    public const uint Ticks = 4;

    // 32-bit results.
    public const uint Vendor = 0xB000, FeaturesEax = 0xB004, FeaturesEdx = 0xB008, AdviceBefore = 0xB00C, AdviceAfter = 0xB010,
        IpiResult = 0xB014, UnknownResult = 0xB018, FlushResult = 0xB01C, Ipis = 0xB020, TickCount = 0xB024, Errors = 0xB028,
        Faults = 0xB02C, VpIndex = 0xB030, Shots = 0xB034, SlowIpiResult = 0xB038, Done = 0xB03C;

    /// <summary>Registers that the guest asks for in vain.</summary>
    public static readonly uint[] Absent =
    [
        Msr.HvTscFrequency, Msr.HvApicFrequency, Msr.HvReferenceTsc, Msr.HvVpAssistPage, Msr.HvCrashP0, Msr.HvCrashCtl, Msr.HvReset, Msr.HvEoi, 0x4000_01FF,
    ];

    private const uint HypercallPage = 0xC000, MessagePage = 0xD000, InputPage = 0xE000, LastTime = 0xB040;
    private const uint TickSlot = MessagePage + (2 * 256), ShotSlot = MessagePage + (3 * 256);
    private const uint Gdt = 0x9000, GdtPointer = 0x9100, IdtPointer = 0x9110, Idt = 0xA000, Stack = 0x2_1000;
    private const ushort CodeSelector = 8, DataSelector = 16;
    private const byte Tick = 0x51, Shot = 0x52, Ipi = 0x61;
    private const int FarJumpEnd = 32;

    private readonly Assembler _c = new(32);
    private readonly List<(byte Vector, Label Handler)> _handlers = [];

    private ViridianGuestCode()
    {
    }

    /// <summary>The guest's memory: addresses and bytes.</summary>
    public static IReadOnlyList<(ulong Address, byte[] Bytes)> Make() => new ViridianGuestCode().Emit();

    private List<(ulong, byte[])> Emit()
    {
        EmitStart();
        EmitLeaves();
        EmitHypercalls();
        EmitTimers();
        EmitAbsent();
        _c.mov(__dword_ptr[Done], 1);
        _c.cli();
        _c.hlt();
        EmitHandlers();

        using var stream = new MemoryStream();
        var result = _c.Assemble(new StreamCodeWriter(stream), Entry, BlockEncoderOptions.ReturnNewInstructionOffsets);
        var gdt = new byte[24];
        BitConverter.TryWriteBytes(gdt.AsSpan(8), 0x00CF_9B00_0000_FFFFUL);
        BitConverter.TryWriteBytes(gdt.AsSpan(16), 0x00CF_9300_0000_FFFFUL);
        var idt = new byte[256 * 8];
        foreach (var (vector, label) in _handlers)
        {
            var at = result.GetLabelRIP(label);
            BitConverter.TryWriteBytes(idt.AsSpan(vector * 8), (at & 0xFFFF) | ((ulong)CodeSelector << 16) | (0x8EUL << 40) | ((at >> 16) << 48));
        }

        return [(Entry, stream.ToArray()), (Gdt, gdt), (Idt, idt), (GdtPointer, Pointer(gdt, Gdt)), (IdtPointer, Pointer(idt, Idt))];
    }

    private static byte[] Pointer(byte[] table, uint address) =>
        [.. BitConverter.GetBytes((ushort)(table.Length - 1)), .. BitConverter.GetBytes(address)];

    private void EmitStart()
    {
        var c = _c;
        c.cli();
        c.mov(esp, Stack);
        c.lgdt(__[GdtPointer]);
        c.AddInstruction(Instruction.CreateBranch(Code.Jmp_ptr1632, CodeSelector, (uint)Entry + FarJumpEnd));
        for (var n = 0; n < FarJumpEnd; n++)
        {
            c.nop(); // the jump ends somewhere in here
        }

        c.mov(eax, DataSelector);
        c.mov(ds, ax);
        c.mov(es, ax);
        c.mov(ss, ax);
        c.lidt(__[IdtPointer]);
        c.mov(__dword_ptr[0xFEE0_00F0], 0x1FF);
        c.sti();
    }

    private void EmitLeaves()
    {
        var c = _c;
        Leaf(0);
        c.mov(__dword_ptr[Vendor], ebx);
        Leaf(3);
        c.mov(__dword_ptr[FeaturesEax], eax);
        c.mov(__dword_ptr[FeaturesEdx], edx);
        Leaf(4);
        c.mov(__dword_ptr[AdviceBefore], eax);
        Write(Msr.HvGuestOsId, high: 0x400, low: 1); // system 4
        Leaf(4);
        c.mov(__dword_ptr[AdviceAfter], eax);
        Read(Msr.HvVpIndex);
        c.mov(__dword_ptr[VpIndex], eax);
    }

    private void EmitHypercalls()
    {
        var c = _c;
        Write(Msr.HvHypercall, 0, HypercallPage | 1);

        // An interrupt to itself, by registers and by memory.
        Call(0x1_000B, first: Ipi, second: 1);
        c.mov(__dword_ptr[IpiResult], eax);
        WaitFor(Ipis, 1);
        c.mov(__dword_ptr[InputPage], Ipi);
        c.mov(__dword_ptr[InputPage + 8], 1);
        Call(0x0B, InputPage, 0);
        c.mov(__dword_ptr[SlowIpiResult], eax);
        WaitFor(Ipis, 2);
        c.mov(__dword_ptr[InputPage + 8], 1); // all processors
        Call(0x02, InputPage, 0);
        c.mov(__dword_ptr[FlushResult], eax);
        Call(0x5C, 0, 0);
        c.mov(__dword_ptr[UnknownResult], eax);
    }

    private void EmitTimers()
    {
        var c = _c;
        Write(Msr.HvSimp, 0, MessagePage | 1);
        Write(Msr.HvScontrol, 0, 1);
        Write(Msr.HvSint0 + 2, 0, Tick);
        Write(Msr.HvSint0 + 3, 0, (1 << 17) | Shot); // ends by itself

        // A tick each 100 µs, and a single shot 50 µs from now.
        Write(Msr.HvStimer0Count, 0, 1_000);
        Write(Msr.HvStimer0Config, 0, (2 << 16) | 3);
        Read(Msr.HvTimeRefCount);
        c.add(eax, 500);
        c.adc(edx, 0);
        c.mov(ecx, Msr.HvStimer0Count + 2);
        c.wrmsr();
        Write(Msr.HvStimer0Config + 2, 0, (3 << 16) | 1);
        WaitFor(Shots, 1);
        WaitFor(TickCount, Ticks);
        Write(Msr.HvStimer0Config, 0, 0);

        // The single shot is not enabled any more.
        Read(Msr.HvStimer0Config + 2);
        c.and(eax, 1);
        c.add(__dword_ptr[Errors], eax);
    }

    private void EmitAbsent()
    {
        foreach (var msr in Absent)
        {
            Read(msr);
        }

        Write(Msr.HvTimeRefCount, 0, 0);
        Write(Msr.HvSversion, 0, 0);
        Write(Msr.HvSint0, 0, 0xF);
    }

    /// <summary>What the guest got a fault for: the registers that are absent, and three values that no register takes.</summary>
    public static uint ExpectedFaults => (uint)Absent.Length + 3;

    private void EmitHandlers()
    {
        Handler(13, isFault: true, () => _c.inc(__dword_ptr[Faults]));
        Handler(Ipi, isFault: false, () =>
        {
            _c.inc(__dword_ptr[Ipis]);
            Write(Msr.HvEoi, 0, 0);
        });
        Handler(Tick, isFault: false, () =>
        {
            TakeMessage(TickSlot, timer: 0);
            _c.inc(__dword_ptr[TickCount]);
            Write(Msr.HvEoi, 0, 0);
        });
        Handler(Shot, isFault: false, () =>
        {
            TakeMessage(ShotSlot, timer: 1);
            _c.inc(__dword_ptr[Shots]);
        });
        foreach (var vector in new byte[] { 6, 8, 14, 0xFF })
        {
            Handler(vector, isFault: false, () =>
            {
                _c.inc(__dword_ptr[Errors]);
                _c.cli();
                _c.hlt();
            });
        }
    }

    /// <summary>Checks that the message is a timer's whose time has come, and that no time went back; and takes it.</summary>
    private void TakeMessage(uint slot, uint timer)
    {
        var c = _c;
        ErrorUnless(() => c.cmp(__dword_ptr[slot], unchecked((int)0x8000_0010)), equal: true);
        ErrorUnless(() => c.cmp(__dword_ptr[slot + 16], (int)timer), equal: true);
        Read(Msr.HvTimeRefCount);

        // Now ≥ delivery ≥ expiration, and now ≥ what was read last.
        foreach (var earlier in new[] { slot + 32, slot + 24, LastTime })
        {
            ErrorUnless(() =>
            {
                c.mov(ebx, eax);
                c.mov(ecx, edx);
                c.sub(ebx, __dword_ptr[earlier]);
                c.sbb(ecx, __dword_ptr[earlier + 4]);
            }, equal: false);
        }

        c.mov(__dword_ptr[LastTime], eax);
        c.mov(__dword_ptr[LastTime + 4], edx);
        c.mov(__dword_ptr[slot], 0);
        Write(Msr.HvEom, 0, 0);
    }

    // Not equal, or below.
    private void ErrorUnless(Action compare, bool equal)
    {
        var good = _c.CreateLabel();
        compare();
        if (equal)
        {
            _c.je(good);
        }
        else
        {
            _c.jae(good);
        }

        _c.inc(__dword_ptr[Errors]);
        _c.Label(ref good);
        _c.nop();
    }

    private void Handler(byte vector, bool isFault, Action body)
    {
        var label = _c.CreateLabel();
        _c.Label(ref label);
        _handlers.Add((vector, label));
        _c.pushad();
        body();
        _c.popad();
        if (isFault)
        {
            _c.add(esp, 4); // the error code
            _c.add(__dword_ptr[esp], 2); // over RDMSR or WRMSR
        }

        _c.iretd();
    }

    private void Leaf(uint leaf)
    {
        _c.mov(eax, 0x4000_0000 + leaf);
        _c.xor(ecx, ecx);
        _c.cpuid();
    }

    private void Read(uint msr)
    {
        _c.mov(ecx, msr);
        _c.rdmsr();
    }

    private void Write(uint msr, uint high, uint low)
    {
        _c.mov(ecx, msr);
        _c.mov(edx, high);
        _c.mov(eax, low);
        _c.wrmsr();
    }

    private void Call(uint input, uint first, uint second)
    {
        _c.mov(eax, input);
        _c.xor(edx, edx);
        _c.xor(ebx, ebx);
        _c.mov(ecx, first);
        _c.xor(edi, edi);
        _c.mov(esi, second);
        _c.mov(ebp, HypercallPage);
        _c.call(ebp);
    }

    private void WaitFor(uint counter, uint value)
    {
        var again = _c.CreateLabel();
        var done = _c.CreateLabel();
        _c.Label(ref again);
        _c.cli();
        _c.cmp(__dword_ptr[counter], (int)value);
        _c.jae(done);
        _c.sti();
        _c.hlt();
        _c.jmp(again);
        _c.Label(ref done);
        _c.sti();
    }
}
