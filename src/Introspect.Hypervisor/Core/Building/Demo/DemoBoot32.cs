using Iced.Intel;
using Introspect.Hypervisor.Abi;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Core.Building.Demo;

/// <summary>The demo guest's first instructions: from the PVH entry through its own page tables into long mode.</summary>
internal static class DemoBoot32
{
    /// <summary>PE and ET: what CR0 is at the entry.</summary>
    public const ulong EntryCr0 = 0x11;

    /// <summary>PG, WP, NE, ET, MP, PE.</summary>
    public const ulong RunningCr0 = 0x8001_0033;

    /// <summary>PAE.</summary>
    public const ulong LongModeCr4 = 0x20;

    /// <summary>SCE, LME, NXE.</summary>
    public const ulong Efer = 0x901;

    private const uint MsrEfer = 0xc000_0080;

    private const uint Present = 1;
    private const uint Writable = 2;
    private const uint User = 4;
    private const uint NoExecuteHigh = 0x8000_0000;

    public static List<DemoEmitter.Expectation> Emit(DemoEmitter e)
    {
        List<DemoEmitter.Expectation> script = e.Begin();
        Assembler c = e.Asm;
        e.Here("entry32");
        c.cli();
        c.cld();
        c.mov(esp, (uint)DemoLayout.MainStackTop);
        c.mov(__dword_ptr[DemoLayout.StartInfo], ebx);
        EmitPageTables(e);

        e.LoadDescriptor(DescriptorRegister.Gdtr, () => c.lgdt(__[DemoLayout.GdtPointer]));

        c.mov(eax, cr4);
        c.or(eax, (uint)LongModeCr4);
        e.WriteControl(ControlRegisterIndex.Cr4, _ => (0, LongModeCr4));

        c.mov(eax, (uint)DemoLayout.MainRoot);
        e.WriteControl(ControlRegisterIndex.Cr3, _ => (0, DemoLayout.MainRoot));

        e.ReadMsr(MsrEfer);
        c.or(eax, (uint)Efer);
        e.WriteMsr(MsrEfer, 0, Efer);

        c.mov(eax, cr0);
        c.or(eax, (uint)(RunningCr0 & ~EntryCr0));
        e.WriteControl(ControlRegisterIndex.Cr0, _ => (EntryCr0, RunningCr0));
        c.AddInstruction(Instruction.CreateBranch(Code.Jmp_ptr1632, DemoLayout.KernelCode, (uint)DemoLayout.Code64));
        return script;
    }

    private static void EmitPageTables(DemoEmitter e)
    {
        Assembler c = e.Asm;
        e.Here("make_page_tables");

        // The low 2 MiB are what they are, for the supervisor; bits 32 and up of each entry are zero already.
        c.mov(edi, (uint)DemoLayout.LowTable);
        c.mov(eax, Present | Writable);
        c.mov(ecx, 512u);
        DemoMark next = e.Here();
        c.mov(__dword_ptr[edi], eax);
        c.add(edi, 8);
        c.add(eax, (uint)DemoLayout.Page);
        c.dec(ecx);
        c.jne(next.Label);

        Store(c, DemoLayout.LowDirectory, DemoLayout.LowTable | Present | Writable);
        Store(c, DemoLayout.MainRoot, DemoLayout.MainPointers | Present | Writable);
        Store(c, DemoLayout.MainPointers, DemoLayout.LowDirectory | Present | Writable);

        foreach (DemoTask task in new[] { DemoTask.A, DemoTask.B, DemoTask.C })
        {
            ulong pointers = DemoLayout.TaskTable(task, 1);
            ulong directory = DemoLayout.TaskTable(task, 2);
            ulong table = DemoLayout.TaskTable(task, 3);
            Store(c, DemoLayout.Root(task), pointers | Present | Writable | User);
            Store(c, pointers, DemoLayout.LowDirectory | Present | Writable);
            Store(c, pointers + 8, directory | Present | Writable | User);
            Store(c, directory, table | Present | Writable | User);
        }

        StoreNoExecute(c, DemoLayout.TaskTable(DemoTask.A, 3), DemoLayout.PrivateA | Present | Writable);
        StoreNoExecute(c, DemoLayout.TaskTable(DemoTask.B, 3), DemoLayout.PrivateB | Present | Writable);
        Store(c, DemoLayout.TaskTable(DemoTask.C, 3), DemoLayout.UserCode | Present | User);
        StoreNoExecute(c, DemoLayout.TaskTable(DemoTask.C, 3) + 8, DemoLayout.UserStack | Present | Writable | User);
    }

    private static void Store(Assembler c, ulong entry, ulong value) => c.mov(__dword_ptr[entry], (uint)value);

    private static void StoreNoExecute(Assembler c, ulong entry, ulong value)
    {
        Store(c, entry, value);
        c.mov(__dword_ptr[entry + 4], NoExecuteHigh);
    }
}
