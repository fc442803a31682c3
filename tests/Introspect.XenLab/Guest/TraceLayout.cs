namespace Introspect.XenLab.Guest;

/// <summary>Where everything of the trace guest lies; each address below 1 GiB is the physical one.</summary>
internal static class TraceLayout
{
    public const ulong Page = 0x1000;

    /// <summary>The 32-bit entry, and where the image begins.</summary>
    public const ulong Entry32 = 0x10_0000;

    public const ulong Code64 = 0x10_1000;
    public const ulong UserCode = 0x10_4000;
    public const ulong HypercallPage = 0x10_5000;
    public const ulong Data = 0x10_6000;
    public const ulong Idt = 0x10_7000;

    /// <summary>Two roots of the same tables: what a process switch needs.</summary>
    public const ulong RootA = 0x10_8000;
    public const ulong RootB = 0x10_9000;
    public const ulong Pointers = 0x10_a000;
    public const ulong Directory = 0x10_b000;

    /// <summary>The first address behind the bytes in the file.</summary>
    public const ulong FileEnd = 0x10_c000;

    public const ulong KernelStackTop = 0x10_d000;

    /// <summary>The stack on which exceptions of ring 3 come.</summary>
    public const ulong TrapStackTop = 0x10_e000;
    public const ulong UserStackTop = 0x10_f000;
    public const ulong Scratch = 0x10_f000;
    public const ulong End = 0x11_0000;

    public const ulong Gdt = Data;
    public const ulong GdtPointer = Data + 0x50;
    public const ulong IdtPointer = Data + 0x60;
    public const ulong Tss = Data + 0x80;
    public const uint TssLimit = 0x67;

    /// <summary>Counts rounds: who wants to know whether the guest runs reads it twice.</summary>
    public const ulong Counter = Data + 0x200;
    public const ulong RoundsLeft = Data + 0x208;

    /// <summary>Exceptions that came, by vector: 32 counters of eight bytes.</summary>
    public const ulong Exceptions = Data + 0x400;

    /// <summary>Where a general-protection fault continues; zero where none is due.</summary>
    public const ulong ResumeAt = Data + 0x210;

    /// <summary>Debug exceptions until the handler clears TF.</summary>
    public const ulong StepsLeft = Data + 0x218;
    public const ulong ShutdownArgument = Data + 0x220;
    public const ulong CrashArgument = Data + 0x228;
    public const ulong StartInfo = Data + 0x230;
    public const ulong Watched = Data + 0x240;

    public const ulong HexDigits = Data + 0x300;
    public const ulong CrashText = Data + 0x320;

    public const ushort KernelCode = 0x08;
    public const ushort KernelData = 0x10;
    public const ushort UserSelectorBase = 0x18;
    public const ushort UserData = 0x20;
    public const ushort UserCodeSelector = 0x28;
    public const ushort TaskSelector = 0x30;
    public const ushort GdtLimit = 0x3f;
    public const int IdtEntries = 33;
    public const ushort IdtLimit = (IdtEntries * 16) - 1;

    /// <summary>The vector by which ring 3 gives up.</summary>
    public const int UserEndVector = 32;
}
