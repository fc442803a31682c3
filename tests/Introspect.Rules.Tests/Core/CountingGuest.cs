using Iced.Intel;
using Introspect.Hypervisor;
using Introspect.Hypervisor.Core;
using Introspect.Hypervisor.Core.Execution;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Rules.Tests.Core;

/// <summary>
/// A small 64-bit guest on the real core that does things worth watching in an endless round, and counts each before it
/// does it, until it is told to end.
/// </summary>
internal static class CountingGuest
{
    /// <summary>MSR that is written each round.</summary>
    public const uint Msr = 0xc0000082;

    /// <summary>Frame that is written to each round.</summary>
    public const ulong WatchedFrame = 0x20;

    /// <summary>Frame that is only read.</summary>
    public const ulong ReadFrame = 0x21;

    /// <summary>Bytes of RAM that the guest needs.</summary>
    public const ulong Bytes = 2 << 20;

    private const ulong Pml4 = 0x1000, Counters = 0x8000;
    private const int CpuidCount = 0, MsrCount = 8, Cr4Count = 16, WriteCount = 24, PlaceCount = 32, ReadCount = 40, EndWish = 0x100, Ended = 0x108;

    private static readonly (byte[] Bytes, ulong Place) Program = Assemble();

    /// <summary>Guest-physical address of an instruction that runs once a round.</summary>
    public static GuestPhysical Place => new(Program.Place);

    /// <summary>A machine in this process.</summary>
    public static CoreHypervisor CreateMachine() =>
        CoreHypervisor.CreateInProcess(new(static domain => new DomainPlatform(domain, new PlatformOptions())));

    /// <summary>Builds the guest, paused before its first instruction.</summary>
    public static DomainId Build(CoreHypervisor machine, string name = "counting", Guid? uuid = null)
    {
        using var guest = DomainUnderConstruction.Create(machine.Toolstack, new() { Name = name, Uuid = uuid ?? Guid.NewGuid(), MemoryBytes = Bytes });
        LongModeStart.Write(guest, Program.Bytes, Pml4);
        guest.Start(LongModeStart.State(Pml4));
        return guest.Id;
    }

    /// <summary>How often the guest did each thing.</summary>
    public static Counts Read(IDomain domain) => new(
        Word(domain, CpuidCount), Word(domain, MsrCount), Word(domain, Cr4Count), Word(domain, WriteCount), Word(domain, PlaceCount), Word(domain, ReadCount));

    /// <summary>Has the guest end after its round, and waits until it did.</summary>
    public static void End(IDomain domain)
    {
        AskToEnd(domain);
        Assert.True(SpinWait.SpinUntil(() => HasEnded(domain), TimeSpan.FromSeconds(120)), "the guest does not end");
    }

    /// <summary>Has the guest end after its round.</summary>
    public static void AskToEnd(IDomain domain) => domain.Memory.WritePhysical(new(Counters + EndWish), [1]);

    /// <summary>True when the guest came to its end.</summary>
    public static bool HasEnded(IDomain domain) => Word(domain, Ended) != 0;

    private static ulong Word(IDomain domain, int offset)
    {
        Span<byte> bytes = stackalloc byte[8];
        domain.Memory.ReadPhysical(new(Counters + (ulong)offset), bytes);
        return BitConverter.ToUInt64(bytes);
    }

    private static (byte[] Bytes, ulong Place) Assemble()
    {
        var code = new Assembler(64);
        var round = code.CreateLabel();
        var place = code.CreateLabel();
        code.mov(r15, (long)Counters);
        code.mov(r14, (long)(WatchedFrame << 12));
        code.mov(r13, (long)(ReadFrame << 12));
        code.xor(r12d, r12d);
        code.Label(ref round);
        code.inc(__qword_ptr[r15 + CpuidCount]);
        code.xor(eax, eax);
        code.cpuid();
        code.inc(__qword_ptr[r15 + MsrCount]);
        code.inc(r12);
        code.mov(ecx, unchecked((int)Msr));
        code.mov(eax, r12d);
        code.and(eax, 0x7fffffff);
        code.xor(edx, edx);
        code.wrmsr();
        code.inc(__qword_ptr[r15 + Cr4Count]);
        code.mov(rax, cr4);
        code.xor(rax, 4);
        code.mov(cr4, rax);
        code.inc(__qword_ptr[r15 + WriteCount]);
        code.mov(__qword_ptr[r14 + 8], rax);
        code.inc(__qword_ptr[r15 + ReadCount]);
        code.mov(rax, __qword_ptr[r13 + 16]);
        code.inc(__qword_ptr[r15 + PlaceCount]);
        code.Label(ref place);
        code.mov(rbx, r12);
        code.cmp(__byte_ptr[r15 + EndWish], 0);
        code.je(round);
        code.mov(__qword_ptr[r15 + Ended], 1);
        var rest = code.CreateLabel();
        code.Label(ref rest);
        code.pause();
        code.jmp(rest);
        using var stream = new MemoryStream();
        var result = code.Assemble(new StreamCodeWriter(stream), LongModeStart.Code, BlockEncoderOptions.ReturnNewInstructionOffsets);
        return (stream.ToArray(), result.GetLabelRIP(place));
    }

    /// <summary>How often each thing was done, or seen.</summary>
    public readonly record struct Counts(ulong Cpuid, ulong Msr, ulong Cr4, ulong Write, ulong Place, ulong Read);
}
