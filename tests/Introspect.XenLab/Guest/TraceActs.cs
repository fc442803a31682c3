using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.XenLab.Guest;

/// <summary>The acts of a round, in kernel mode and in ring 3.</summary>
internal sealed class TraceActs
{
    private const uint HypercallSchedOp = 29;
    private const uint HypercallHvmOp = 34;
    private const uint SchedOpShutdown = 2;
    private const uint HvmOpGuestRequest = 24;

    private const ulong Cr0MonitorCoprocessor = 0x2;
    private const ulong Cr0TaskSwitched = 0x8;
    private const ulong Cr0AlignmentMask = 0x4_0000;
    private const ulong Cr4TimeStampDisable = 0x4;
    private const ulong Cr4GlobalPages = 0x80;
    private const ulong Cr4PerformanceCounters = 0x100;
    private const ulong Cr4Simd = 0x600;
    private const uint Cr4Reserved = 0x8000_0000;
    private const uint TrapFlag = 0x100;

    // MSRs whose writes Xen lets a guest do without an effect that the round would feel.
    private static readonly (uint Msr, ulong First, ulong Second)[] Msrs =
    [
        (0x174, 0x8, 0x10),
        (0x175, 0x10_e000, 0xffff_8000_0010_e000),
        (0x176, 0x10_1000, 0xffff_8000_0010_1000),
        (0x277, 0x0007_0406_0007_0406, 0x0007_0106_0007_0406),
        (0xc000_0081, 0x001b_0008_0000_0000, 0x0013_0008_0000_0000),
        (0xc000_0082, 0x10_1000, 0x10_2000),
        (0xc000_0083, 0x10_1000, 0x10_2000),
        (0xc000_0084, 0x4_7700, 0x200),
        (0xc000_0100, 0x10_f000, 0x1234_5678_9000),
        (0xc000_0101, 0x10_f800, 0xffff_8888_0000_0000),
        (0xc000_0102, 0x10_fc00, 0x1000),
    ];

    private static readonly (uint Leaf, uint Subleaf)[] Leaves =
        [(0, 0), (1, 0), (7, 0), (0xd, 0), (0xd, 1), (0x15, 0), (0x4000_0000, 0), (0x4000_0001, 0), (0x8000_0000, 0), (0x8000_0008, 0), (0x1234_5678, 0x9abc_def0)];

    private readonly Assembler _c;
    private readonly TraceGuestOptions _options;
    private Label _round;

    public TraceActs(Assembler assembler, TraceGuestOptions options)
    {
        _c = assembler;
        _options = options;
        _round = assembler.CreateLabel("round");
    }

    /// <summary>Where a round begins.</summary>
    public Label Round => _round;

    public void Emit()
    {
        _c.Label(ref _round);
        _c.inc(__qword_ptr[TraceLayout.Counter]);
        if (_options.Load)
        {
            Cpuid(0, 0);
        }
        else
        {
            EmitCpuid();
            EmitControlRegisters();
            EmitMsrs();
            EmitDescriptors();
            EmitFaults();
            EmitDebug();
            EmitGuestRequests();
            EmitRing3();
        }

        if (_options.Rounds > 0)
        {
            _c.dec(__qword_ptr[TraceLayout.RoundsLeft]);
            _c.jne(_round);
            _c.mov(esi, (uint)TraceLayout.ShutdownArgument);
            EmitShutdown(_c);
        }
        else
        {
            _c.jmp(_round);
        }
    }

    /// <summary>Ring 3: asks CPUID, breaks, and gives up.</summary>
    public static void EmitUser(Assembler c)
    {
        c.mov(eax, 1);
        c.xor(ecx, ecx);
        c.cpuid();
        ClearCpuidResults(c);
        c.int3();
        c.@int((sbyte)TraceLayout.UserEndVector);
    }

    /// <summary>The end of the domain, as the argument at RSI says.</summary>
    public static void EmitShutdown(Assembler c)
    {
        var halt = c.CreateLabel();
        c.mov(edi, SchedOpShutdown);
        c.call(TraceLayout.HypercallPage + (HypercallSchedOp * 32));
        c.Label(ref halt);
        c.hlt();
        c.jmp(halt);
    }

    // What CPUID says differs between processors: nothing may come of it.
    private static void ClearCpuidResults(Assembler c)
    {
        c.xor(eax, eax);
        c.xor(ebx, ebx);
        c.xor(ecx, ecx);
        c.xor(edx, edx);
    }

    private void Cpuid(uint leaf, uint subleaf)
    {
        _c.mov(eax, leaf);
        _c.mov(ecx, subleaf);
        _c.cpuid();
        ClearCpuidResults(_c);
    }

    private void EmitCpuid()
    {
        foreach (var (leaf, subleaf) in Leaves)
        {
            Cpuid(leaf, subleaf);
        }
    }

    private void EmitControlRegisters()
    {
        // CR0: a bit set by MOV, cleared by MOV, by CLTS and by LMSW (which sets, and cannot clear PE).
        ToggleControl(cr0, Cr0AlignmentMask);
        SetControl(cr0, Cr0TaskSwitched);
        _c.clts();
        SetControl(cr0, Cr0TaskSwitched);
        _c.mov(eax, (uint)Cr0MonitorCoprocessor | 1);
        _c.lmsw(ax);
        _c.clts();

        // CR3: to the other root and back; the same value; PWT and PCD, which tell no other tables.
        foreach (var root in new[] { TraceLayout.RootB, TraceLayout.RootA, TraceLayout.RootA, TraceLayout.RootA | 0x18, TraceLayout.RootA })
        {
            _c.mov(eax, (uint)root);
            _c.mov(cr3, rax);
        }

        foreach (var bits in new[] { Cr4TimeStampDisable, Cr4GlobalPages, Cr4PerformanceCounters, Cr4Simd })
        {
            ToggleControl(cr4, bits);
        }
    }

    private void SetControl(AssemblerRegisterCR register, ulong bits)
    {
        _c.mov(rax, register);
        _c.or(eax, (uint)bits);
        _c.mov(register, rax);
    }

    private void ToggleControl(AssemblerRegisterCR register, ulong bits)
    {
        SetControl(register, bits);
        _c.and(eax, ~(uint)bits);
        _c.mov(register, rax);
    }

    private void EmitMsrs()
    {
        foreach (var (msr, first, second) in Msrs)
        {
            WriteMsr(msr, first);
            WriteMsr(msr, second);
            WriteMsr(msr, second);
        }
    }

    private void WriteMsr(uint msr, ulong value)
    {
        _c.mov(ecx, msr);
        _c.mov(eax, (uint)value);
        _c.mov(edx, (uint)(value >> 32));
        _c.wrmsr();
    }

    private void EmitDescriptors()
    {
        _c.mov(edi, (uint)TraceLayout.Scratch + 0x10);
        _c.sgdt(__[rdi]);
        _c.sidt(__[rdi + 0x10]);
        _c.sldt(__word_ptr[rdi + 0x20]);
        _c.sldt(eax);
        _c.str(__word_ptr[rdi + 0x24]);
        _c.str(rax);
        _c.lgdt(__[TraceLayout.GdtPointer]);
        _c.lidt(__[TraceLayout.IdtPointer]);
        _c.xor(eax, eax);
        _c.lldt(ax);

        // LTR wants a TSS that is not busy.
        _c.and(__byte_ptr[TraceLayout.Gdt + TraceLayout.TaskSelector + 5], 0xfd);
        _c.mov(eax, TraceLayout.TaskSelector);
        _c.ltr(ax);
    }

    private void EmitFaults()
    {
        // A reserved bit of CR4; a paging bit without protection; a non-canonical address; an MSR that is none.
        Fault(() =>
        {
            _c.mov(rax, cr4);
            _c.mov(edx, Cr4Reserved);
            _c.or(rax, rdx);
            return () => _c.mov(cr4, rax);
        });
        Fault(() =>
        {
            _c.mov(rax, cr0);
            _c.and(eax, 0xffff_fffe);
            return () => _c.mov(cr0, rax);
        });
        Fault(() =>
        {
            _c.mov(ecx, 0xc000_0082);
            _c.xor(eax, eax);
            _c.mov(edx, 0x8000_0000);
            return _c.wrmsr;
        });
        Fault(() =>
        {
            _c.mov(ecx, 0xc000_1fff);
            _c.xor(eax, eax);
            _c.xor(edx, edx);
            return _c.wrmsr;
        });
        Fault(() => _c.ud2);
    }

    // An instruction that faults, and goes on behind it.
    private void Fault(Func<Action> prepare)
    {
        var behind = _c.CreateLabel();
        _c.lea(rax, __[behind]);
        _c.mov(__qword_ptr[TraceLayout.ResumeAt], rax);
        prepare()();
        _c.Label(ref behind);
        _c.nop();
    }

    private void EmitDebug()
    {
        // Three steps by TF.
        _c.mov(__qword_ptr[TraceLayout.StepsLeft], 3);
        _c.pushfq();
        _c.or(__dword_ptr[rsp], TrapFlag);
        _c.popfq();
        _c.nop();
        _c.nop();
        _c.nop();
        _c.nop();

        // INT1 is missing: the emulator under the lab's Xen makes #UD of it.
        // A breakpoint in DR0 on a write of a quadword, hit once.
        _c.mov(__qword_ptr[TraceLayout.StepsLeft], 0);
        _c.mov(eax, (uint)TraceLayout.Watched);
        _c.mov(dr0, rax);
        _c.mov(eax, 0x9_0402);
        _c.mov(dr7, rax);
        _c.inc(__qword_ptr[TraceLayout.Watched]);
        _c.mov(eax, 0x400);
        _c.mov(dr7, rax);
        _c.int3();
    }

    private void EmitGuestRequests()
    {
        for (var i = 0; i < 2; i++)
        {
            _c.mov(edi, HvmOpGuestRequest);
            _c.xor(esi, esi);
            _c.call(TraceLayout.HypercallPage + (HypercallHvmOp * 32));
        }
    }

    private void EmitRing3()
    {
        var back = _c.CreateLabel();
        _c.lea(rax, __[back]);
        _c.push(rax);
        _c.mov(__qword_ptr[TraceLayout.Scratch], rsp);
        _c.push(TraceLayout.UserData | 3);
        _c.mov(eax, (uint)TraceLayout.UserStackTop);
        _c.push(rax);
        _c.push(2);
        _c.push(TraceLayout.UserCodeSelector | 3);
        _c.mov(eax, (uint)TraceLayout.UserCode);
        _c.push(rax);
        _c.xor(eax, eax);
        _c.iretq();
        _c.Label(ref back);
        _c.nop();
    }
}
