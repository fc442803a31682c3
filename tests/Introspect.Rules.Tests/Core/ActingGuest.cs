using Iced.Intel;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Execution;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Rules.Tests.Core;

/// <summary>
/// A small 64-bit guest on the real core that does what a test tells it to, once, and then says that it is at its end. It
/// has interrupt and segment tables, two roots of the same page tables, and everything that a processor can protect itself with.
/// </summary>
internal sealed class ActingGuest : IDisposable
{
    /// <summary>Frame of a page with nothing on it.</summary>
    public const ulong EmptyFrame = 0x20;

    /// <summary>Another one.</summary>
    public const ulong OtherFrame = 0x21;

    /// <summary>The page tables that the guest begins with.</summary>
    public const ulong FirstRoot = 0x1000;

    /// <summary>The same tables with another root: another process.</summary>
    public const ulong SecondRoot = 0xA000;

    /// <summary>Operands of LGDT and LIDT.</summary>
    public const ulong GdtPointer = 0x9000, IdtPointer = 0x9010;

    /// <summary>CPUID leaf by which the guest says that it has booted.</summary>
    public const int BootedLeaf = 0x4000_0ead;

    private const ulong Bytes = 2 << 20;
    private const ulong End = 0x8000, Idt = 0xB000;
    private const uint IdtLimit = 0xff;
    private const ulong SmepAndSmap = 3 << 20;
    private const int DebugVector = 1;

    private readonly CoreHypervisor _machine;

    public ActingGuest(Action<Assembler> acts)
    {
        _machine = CoreHypervisor.CreateInProcess(new(static domain => new DomainPlatform(domain, new PlatformOptions())));
        var (code, debugHandler) = Assemble(acts);
        using var guest = DomainUnderConstruction.Create(_machine.Toolstack, new() { Name = "acting", MemoryBytes = Bytes });
        LongModeStart.Write(guest, code, FirstRoot, SecondRoot);
        LongModeStart.WriteWords(guest, Idt + (DebugVector * 16), (debugHandler & 0xffff) | (0x08UL << 16) | (0x8EUL << 40) | ((debugHandler >> 16) << 48), 0);
        LongModeStart.WriteWords(guest, GdtPointer, LongModeStart.GdtLimit | (LongModeStart.Gdt << 16));
        LongModeStart.WriteWords(guest, IdtPointer, IdtLimit | (Idt << 16));
        var start = LongModeStart.State(FirstRoot);
        guest.Start(start with { Cr4 = start.Cr4 | SmepAndSmap, IdtrBase = Idt, IdtrLimit = IdtLimit });
        Domain = _machine.Open(guest.Id);
    }

    /// <summary>The domain, paused before its first instruction.</summary>
    public IDomain Domain { get; }

    /// <summary>Lets the guest run to its end.</summary>
    public void Run()
    {
        Domain.Unpause();
        Assert.True(SpinWait.SpinUntil(() => Word(End) != 0, TimeSpan.FromSeconds(60)), "the guest does not come to its end");
    }

    /// <summary>Eight bytes of the guest's memory.</summary>
    public ulong Word(ulong address)
    {
        Span<byte> bytes = stackalloc byte[8];
        Domain.Memory.ReadPhysical(new(address), bytes);
        return BitConverter.ToUInt64(bytes);
    }

    public void Dispose()
    {
        Domain.Dispose();
        _machine.Dispose();
    }

    private static (byte[] Code, ulong DebugHandler) Assemble(Action<Assembler> acts)
    {
        var code = new Assembler(64);
        acts(code);

        // Who watches CPUID answers this one behind everything that was told before, so that the end comes after it.
        code.cpuid();
        code.mov(rax, (long)End);
        code.mov(__qword_ptr[rax], 1);
        var rest = code.CreateLabel();
        code.Label(ref rest);
        code.pause();
        code.jmp(rest);

        // The resume flag, so that the instruction of a breakpoint runs this time.
        var debug = code.CreateLabel();
        code.Label(ref debug);
        code.or(__dword_ptr[rsp + 16], 0x10000);
        code.iretq();
        using var stream = new MemoryStream();
        var result = code.Assemble(new StreamCodeWriter(stream), LongModeStart.Code, BlockEncoderOptions.ReturnNewInstructionOffsets);
        return (stream.ToArray(), result.GetLabelRIP(debug));
    }
}
