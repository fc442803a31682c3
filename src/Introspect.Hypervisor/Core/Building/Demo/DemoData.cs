using System.Buffers.Binary;

namespace Introspect.Hypervisor.Core.Building.Demo;

/// <summary>The demo guest's data as they are in the file: descriptors, TSS, control blocks, the watched page.</summary>
internal static class DemoData
{
    private const byte Ret = 0xc3;

    /// <summary>Names of places that are data, or code that no emitter emits.</summary>
    public static IReadOnlyList<(string Name, ulong Address)> Symbols { get; } =
    [
        ("hypercall_page", DemoLayout.HypercallPage),
        ("watched_page", DemoLayout.WatchedPage),
        ("watched_write", DemoLayout.WatchedWrite),
        ("watched_code", DemoLayout.WatchedCode),
        ("gdt", DemoLayout.Gdt),
        ("idt", DemoLayout.Idt),
        ("tss", DemoLayout.Tss),
        ("per_cpu", DemoLayout.PerCpu),
        ("tasks", DemoLayout.Tasks),
        ("counter", DemoLayout.Counter),
        ("rounds_left", DemoLayout.RoundsLeft),
        ("breakpoint_count", DemoLayout.BreakpointCount),
        ("xen_base", DemoLayout.XenBase),
        ("start_info", DemoLayout.StartInfo),
        ("thread_local_a", DemoLayout.ThreadLocalA),
        ("thread_local_b", DemoLayout.ThreadLocalB),
        ("main_root", DemoLayout.MainRoot),
        ("task_a_root", DemoLayout.Root(DemoTask.A)),
        ("task_b_root", DemoLayout.Root(DemoTask.B)),
        ("task_c_root", DemoLayout.Root(DemoTask.C)),
        ("private_a", DemoLayout.PrivateA),
        ("private_b", DemoLayout.PrivateB),
        ("user_stack", DemoLayout.UserStack),
        ("work_buffer", DemoLayout.WorkBuffer),
    ];

    public static void Write(byte[] image, DemoGuestOptions options)
    {
        image[DemoLayout.WatchedCode - DemoLayout.Entry32] = Ret;
        WriteDescriptors(image);

        Put64(image, DemoLayout.TssRsp0, DemoLayout.MainStackTop);
        Put64(image, DemoLayout.TssIst1, DemoLayout.DoubleFaultStackTop);
        Put16(image, DemoLayout.TssIoMapBase, (ushort)(DemoLayout.TssLimit + 1));

        foreach (DemoTask task in Enum.GetValues<DemoTask>())
        {
            // Six registers and the entry are taken off the stack by the first switch to a task.
            const ulong FirstFrame = 7 * 8;
            ulong top = DemoLayout.StackTop(task);
            Put64(image, DemoLayout.Block(task), top - FirstFrame);
            Put64(image, DemoLayout.Block(task) + 8, DemoLayout.Root(task));
            Put64(image, DemoLayout.Block(task) + 16, top);
        }

        Put64(image, DemoLayout.CurrentTask, DemoLayout.Block(DemoTask.Main));
        Put64(image, DemoLayout.PerCpu, DemoLayout.MainStackTop);
        Put64(image, DemoLayout.RoundsLeft, (ulong)Math.Max(1, options.Rounds));

        const uint ReasonPowerOff = 0;
        const uint ReasonCrash = 3;
        Put64(image, DemoLayout.ShutdownArgument, ReasonPowerOff);
        Put64(image, DemoLayout.CrashArgument, ReasonCrash);
    }

    private static void WriteDescriptors(byte[] image)
    {
        const ulong KernelCode = 0x00af_9b00_0000_ffff;
        const ulong KernelData = 0x00cf_9300_0000_ffff;
        const ulong UserCode32 = 0x00cf_fb00_0000_ffff;
        const ulong UserData = 0x00cf_f300_0000_ffff;
        const ulong UserCode64 = 0x00af_fb00_0000_ffff;

        Put64(image, DemoLayout.Gdt + DemoLayout.KernelCode, KernelCode);
        Put64(image, DemoLayout.Gdt + DemoLayout.KernelData, KernelData);
        Put64(image, DemoLayout.Gdt + DemoLayout.UserSelectorBase, UserCode32);
        Put64(image, DemoLayout.Gdt + DemoLayout.UserData, UserData);
        Put64(image, DemoLayout.Gdt + DemoLayout.UserCodeSelector, UserCode64);

        // An available 64-bit TSS; its upper half is zero, since it lies below 4 GiB.
        const ulong AvailableTss = 0x89UL << 40;
        ulong tss = DemoLayout.Tss;
        Put64(
            image,
            DemoLayout.Gdt + DemoLayout.TaskSelector,
            DemoLayout.TssLimit | ((tss & 0xff_ffff) << 16) | AvailableTss | ((tss >> 24) << 56));

        Put16(image, DemoLayout.GdtPointer, DemoLayout.GdtLimit);
        Put64(image, DemoLayout.GdtPointer + 2, DemoLayout.Gdt);
        Put16(image, DemoLayout.IdtPointer, DemoLayout.IdtLimit);
        Put64(image, DemoLayout.IdtPointer + 2, DemoLayout.Idt);
    }

    private static void Put16(byte[] image, ulong address, ushort value) =>
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan((int)(address - DemoLayout.Entry32)), value);

    private static void Put64(byte[] image, ulong address, ulong value) =>
        BinaryPrimitives.WriteUInt64LittleEndian(image.AsSpan((int)(address - DemoLayout.Entry32)), value);
}
