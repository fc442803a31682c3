namespace Introspect.Hypervisor.Core.Building.Demo;

/// <summary>
/// Where everything of the demo guest lies. Virtual addresses below 2 MiB are physical ones, in every task; each
/// task has pages of its own from 1 GiB.
/// </summary>
internal static class DemoLayout
{
    public const ulong Page = 0x1000;

    /// <summary>The 32-bit entry, and where the image begins.</summary>
    public const ulong Entry32 = 0x10_0000;

    public const ulong Code64 = 0x10_1000;
    public const ulong UserCode = 0x10_4000;
    public const ulong HypercallPage = 0x10_5000;

    /// <summary>A page that is read, written and executed, each at an address of its own, and used for nothing else.</summary>
    public const ulong WatchedPage = 0x10_6000;

    public const ulong WatchedRead = WatchedPage;
    public const ulong WatchedWrite = WatchedPage + 0x400;
    public const ulong WatchedCode = WatchedPage + 0x800;

    public const ulong Data = 0x10_7000;
    public const ulong Strings = 0x10_8000;

    /// <summary>The first address behind the bytes in the file; from here to <see cref="End"/> memory starts as zeros.</summary>
    public const ulong FileEnd = 0x10_9000;

    public const ulong Idt = 0x10_9000;
    public const ulong MainRoot = 0x10_a000;
    public const ulong MainPointers = 0x10_b000;
    public const ulong LowDirectory = 0x10_c000;
    public const ulong LowTable = 0x10_d000;

    /// <summary>Four pages a task: root, pointer table, directory and page table of its own pages.</summary>
    public const ulong TaskTables = 0x10_e000;

    public const ulong PrivateA = 0x11_a000;
    public const ulong PrivateB = 0x11_b000;
    public const ulong UserStack = 0x11_c000;
    public const ulong MainStackTop = 0x11_f000;
    public const ulong TaskStacks = 0x11_f000;
    public const ulong DoubleFaultStackTop = 0x12_3000;
    public const ulong WorkBuffer = 0x12_3000;
    public const ulong End = 0x12_4000;

    /// <summary>Where a task sees its own pages.</summary>
    public const ulong OwnPages = 0x4000_0000;

    public const ulong UserStackVirtual = OwnPages + Page;

    public const ulong Gdt = Data;
    public const ulong GdtPointer = Data + 0x50;
    public const ulong IdtPointer = Data + 0x60;
    public const ulong Tss = Data + 0x80;
    public const uint TssLimit = 0x67;
    public const ulong TssRsp0 = Tss + 4;
    public const ulong TssIst1 = Tss + 36;
    public const ulong TssIoMapBase = Tss + 102;

    /// <summary>What GS points to in the kernel: the stack for a system call, and the user's stack while it runs.</summary>
    public const ulong PerCpu = Data + 0x100;

    /// <summary>Task control blocks of 32 bytes: RSP, CR3, top of the kernel stack.</summary>
    public const ulong Tasks = Data + 0x140;

    public const ulong CurrentTask = Data + 0x1c0;
    public const ulong Counter = Data + 0x200;
    public const ulong RoundsLeft = Data + 0x208;
    public const ulong BreakpointCount = Data + 0x210;
    public const ulong XenBase = Data + 0x218;
    public const ulong StartInfo = Data + 0x220;
    public const ulong ProtectionOffered = Data + 0x228;
    public const ulong ShutdownArgument = Data + 0x230;
    public const ulong CrashArgument = Data + 0x238;

    /// <summary>Thread-local storage of the tasks: what FS points to.</summary>
    public const ulong ThreadLocalA = Data + 0x300;
    public const ulong ThreadLocalB = Data + 0x340;

    public const ushort KernelCode = 0x08;
    public const ushort KernelData = 0x10;
    public const ushort UserSelectorBase = 0x18;
    public const ushort UserData = 0x20;
    public const ushort UserCodeSelector = 0x28;
    public const ushort TaskSelector = 0x30;
    public const ushort GdtLimit = 0x3f;

    /// <summary>Gates for the exceptions of the architecture.</summary>
    public const int IdtEntries = 32;

    public const ushort IdtLimit = (IdtEntries * 16) - 1;

    /// <summary>Where CPUID leaves of hypervisors begin.</summary>
    public const uint FirstHypervisorLeaf = 0x4000_0000;

    /// <summary>The most leaf groups that are looked at for Xen's.</summary>
    public const uint LastHypervisorLeaf = 0x4000_1000;

    /// <summary>Root of a task's page tables; task 0 is the main one.</summary>
    public static ulong Root(DemoTask task) => task == DemoTask.Main ? MainRoot : TaskTable(task, 0);

    /// <summary>Page of a task's own page tables, 0 the root … 3 the page table.</summary>
    public static ulong TaskTable(DemoTask task, int level) =>
        TaskTables + ((((ulong)task - 1) * 4) + (ulong)level) * Page;

    /// <summary>A task's control block.</summary>
    public static ulong Block(DemoTask task) => Tasks + ((ulong)task * 32);

    /// <summary>Top of a task's kernel stack.</summary>
    public static ulong StackTop(DemoTask task) =>
        task == DemoTask.Main ? MainStackTop : TaskStacks + ((ulong)task * Page);
}

/// <summary>The tasks, in the order in which they take turns.</summary>
internal enum DemoTask
{
    /// <summary>Boots, and counts the rounds.</summary>
    Main = 0,

    /// <summary>Reads the watched page.</summary>
    A = 1,

    /// <summary>Writes and executes the watched page.</summary>
    B = 2,

    /// <summary>Runs at CPL 3.</summary>
    C = 3,
}
