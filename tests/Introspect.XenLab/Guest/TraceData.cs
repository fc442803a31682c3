using System.Buffers.Binary;
using System.Text;

namespace Introspect.XenLab.Guest;

/// <summary>The trace guest's data as they are in the file: descriptors, gates, TSS, page tables.</summary>
internal static class TraceData
{
    /// <summary>What the guest says when it cannot go on; the letters stand for digits.</summary>
    public const string CrashText = "trace guest: unexpected exception VV, top of stack XXXXXXXX YYYYYYYY\n";

    // The last digit of each.
    public static readonly ulong CrashVectorAt = TraceLayout.CrashText + (ulong)CrashText.LastIndexOf('V');
    public static readonly ulong CrashFirstAt = TraceLayout.CrashText + (ulong)CrashText.LastIndexOf('X');
    public static readonly ulong CrashSecondAt = TraceLayout.CrashText + (ulong)CrashText.LastIndexOf('Y');

    public static void Write(byte[] image, TraceGuestOptions options, Func<int, ulong> handler)
    {
        const ulong KernelCode = 0x00af_9b00_0000_ffff;
        const ulong KernelData = 0x00cf_9300_0000_ffff;
        const ulong UserCode32 = 0x00cf_fb00_0000_ffff;
        const ulong UserData = 0x00cf_f300_0000_ffff;
        const ulong UserCode64 = 0x00af_fb00_0000_ffff;
        const ulong AvailableTss = 0x89UL << 40;
        var tss = TraceLayout.Tss;
        Put64(image, TraceLayout.Gdt + TraceLayout.KernelCode, KernelCode);
        Put64(image, TraceLayout.Gdt + TraceLayout.KernelData, KernelData);
        Put64(image, TraceLayout.Gdt + TraceLayout.UserSelectorBase, UserCode32);
        Put64(image, TraceLayout.Gdt + TraceLayout.UserData, UserData);
        Put64(image, TraceLayout.Gdt + TraceLayout.UserCodeSelector, UserCode64);
        Put64(image, TraceLayout.Gdt + TraceLayout.TaskSelector, TraceLayout.TssLimit | ((tss & 0xff_ffff) << 16) | AvailableTss | ((tss >> 24) << 56));
        Put16(image, TraceLayout.GdtPointer, TraceLayout.GdtLimit);
        Put64(image, TraceLayout.GdtPointer + 2, TraceLayout.Gdt);
        Put16(image, TraceLayout.IdtPointer, TraceLayout.IdtLimit);
        Put64(image, TraceLayout.IdtPointer + 2, TraceLayout.Idt);
        Put64(image, tss + 4, TraceLayout.TrapStackTop);
        Put16(image, tss + 102, (ushort)(TraceLayout.TssLimit + 1));

        for (var vector = 0; vector < TraceLayout.IdtEntries; vector++)
        {
            // Ring 3 may raise #BP and its own vector by INT.
            var privilege = vector is 3 or TraceLayout.UserEndVector ? 3UL : 0UL;
            var address = handler(vector);
            Put64(image, TraceLayout.Idt + ((ulong)vector * 16), (address & 0xffff) | ((ulong)TraceLayout.KernelCode << 16) | (0x8eUL << 40) | (privilege << 45) | ((address >> 16 & 0xffff) << 48));
        }

        WritePageTables(image);
        "0123456789abcdef"u8.CopyTo(image.AsSpan((int)(TraceLayout.HexDigits - TraceLayout.Entry32)));
        Encoding.ASCII.GetBytes(CrashText).CopyTo(image, (int)(TraceLayout.CrashText - TraceLayout.Entry32));
        const uint ReasonPowerOff = 0;
        const uint ReasonCrash = 3;
        Put64(image, TraceLayout.ShutdownArgument, ReasonPowerOff);
        Put64(image, TraceLayout.CrashArgument, ReasonCrash);
        Put64(image, TraceLayout.RoundsLeft, (ulong)options.Rounds);
    }

    // 1 GiB as it is, in pages of 2 MiB, for both rings, accessed and dirty: no walk changes them.
    private static void WritePageTables(byte[] image)
    {
        const ulong Table = 0x27;
        const ulong LargePage = 0xe7;
        Put64(image, TraceLayout.RootA, TraceLayout.Pointers | Table);
        Put64(image, TraceLayout.RootB, TraceLayout.Pointers | Table);
        Put64(image, TraceLayout.Pointers, TraceLayout.Directory | Table);
        for (var i = 0UL; i < 512; i++)
        {
            Put64(image, TraceLayout.Directory + (i * 8), (i << 21) | LargePage);
        }
    }

    private static void Put16(byte[] image, ulong address, ushort value) =>
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan((int)(address - TraceLayout.Entry32)), value);

    private static void Put64(byte[] image, ulong address, ulong value) =>
        BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan((int)(address - TraceLayout.Entry32)), value);
}
