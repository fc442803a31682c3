using Iced.Intel;
using Introspect.Hypervisor.Abi;
using static Iced.Intel.AssemblerRegisters;

namespace Introspect.Hypervisor.Core.Building.Demo;

/// <summary>
/// Emits code together with what it is expected to cause: each method here that emits something a monitor can
/// see also appends it to the script that is being written. A script is what a routine does in the order in which
/// it does it; <see cref="DemoGuest"/> joins the scripts in the order in which the routines run.
/// </summary>
internal sealed class DemoEmitter(Assembler assembler, bool userMode = false)
{
    private readonly List<DemoMark> _marks = [];
    private readonly Dictionary<DemoTask, DemoMark> _entries = [];
    private List<Expectation> _script = [];

    /// <summary>What an act will be on a CPU, asked once the code has its addresses. None, one or several.</summary>
    internal delegate IEnumerable<DemoAct> Expectation(DemoCpu cpu);

    /// <summary>The assembler, for what no monitor sees.</summary>
    public Assembler Asm { get; } = assembler;

    /// <summary>The places that have names.</summary>
    public IEnumerable<DemoMark> Symbols => _marks.Where(m => m.Name is not null);

    /// <summary>Where a task begins; it is placed by whoever emits the task.</summary>
    public DemoMark Entry(DemoTask task)
    {
        if (!_entries.TryGetValue(task, out DemoMark? mark))
        {
            mark = Mark($"task_{char.ToLowerInvariant(task.ToString()[0])}");
            _entries.Add(task, mark);
        }

        return mark;
    }

    /// <summary>Starts a script.</summary>
    public List<Expectation> Begin() => _script = [];

    /// <summary>A place that is put into the code later.</summary>
    public DemoMark Mark(string? name = null) => new(name, Asm.CreateLabel());

    /// <summary>Puts a place at the instruction that comes next; it must be the first one there.</summary>
    public void Place(DemoMark mark)
    {
        Asm.Label(ref mark.Label);
        _marks.Add(mark);
    }

    /// <summary>A place at the instruction that comes next.</summary>
    public DemoMark Here(string? name = null)
    {
        if (name is null && _marks.Count != 0 && _marks[^1].Label.InstructionIndex == Asm.Instructions.Count)
        {
            return _marks[^1];
        }

        DemoMark mark = Mark(name);
        Place(mark);
        return mark;
    }

    /// <summary>Encodes the code for an address, which gives every place its own.</summary>
    public byte[] Assemble(ulong address)
    {
        using MemoryStream code = new();
        AssemblerResult result = Asm.Assemble(
            new StreamCodeWriter(code), address, BlockEncoderOptions.ReturnNewInstructionOffsets);
        foreach (DemoMark mark in _marks)
        {
            mark.Address = result.GetLabelRIP(mark.Label);
        }

        return code.ToArray();
    }

    /// <summary>Adds something expected at the instruction that is emitted next.</summary>
    public void Expect(Func<DemoCpu, DemoAct?> act)
    {
        DemoMark here = Here();
        ExpectOfCallee(cpu => act(cpu) is { } a ? a with { Rip = here.Address, UserMode = userMode } : null);
    }

    /// <summary>Adds what a called kernel routine does; the act has its own address.</summary>
    public void ExpectOfCallee(Func<DemoCpu, DemoAct?> act) =>
        _script.Add(cpu => act(cpu) is { } a ? [a] : []);

    /// <summary>CPUID with a leaf in EAX; changes EAX, EBX, ECX, EDX.</summary>
    public void Cpuid(uint leaf, uint subleaf = 0, Func<DemoCpu, bool>? when = null)
    {
        Asm.mov(eax, leaf);
        Asm.mov(ecx, subleaf);
        Expect(cpu => when is null || when(cpu) ? CpuidAct(leaf, subleaf) : null);
        Asm.cpuid();
    }

    /// <summary>CPUID of each group of hypervisor leaves in EBP, up to Xen's or the last; the caller emits the loop.</summary>
    public void CpuidOfHypervisorGroups()
    {
        Asm.mov(eax, ebp);
        Asm.xor(ecx, ecx);
        DemoMark here = Here();
        _script.Add(cpu => HypervisorGroups(cpu).Select(l => CpuidAct(l, 0) with { Rip = here.Address }));
        Asm.cpuid();
    }

    /// <summary>CPUID of a leaf of Xen's, whose base is in EBP.</summary>
    public void CpuidOfXen(uint leaf)
    {
        Asm.lea(eax, __[rbp + leaf]);
        Asm.xor(ecx, ecx);
        Expect(cpu => cpu.XenLeafBase is { } b ? CpuidAct(b + leaf, 0) : null);
        Asm.cpuid();
    }

    /// <summary>MOV to a control register from RAX (EAX in 32-bit code).</summary>
    public void WriteControl(ControlRegisterIndex register, Func<DemoCpu, (ulong Old, ulong New)?> values)
    {
        Expect(cpu => values(cpu) is { } v && v.Old != v.New ? ControlAct(register, v.Old, v.New) : null);
        MoveToControl(register);
    }

    /// <summary>CLTS.</summary>
    public void ClearTaskSwitched(ulong old)
    {
        Expect(_ => ControlAct(ControlRegisterIndex.Cr0, old, old & ~8UL));
        Asm.clts();
    }

    /// <summary>RDMSR: a vmexit at most.</summary>
    public void ReadMsr(uint msr)
    {
        Asm.mov(ecx, msr);
        Expect(_ => new DemoAct { Reason = VmEventReason.VmExit, VmxExitReason = VmxExitReasons.Rdmsr, Msr = msr });
        Asm.rdmsr();
    }

    /// <summary>WRMSR of EDX:EAX, which the code before has put there.</summary>
    public void WriteMsr(uint msr, ulong old, ulong value) => WriteMsr(msr, () => (old, value));

    /// <summary>WRMSR of EDX:EAX, which the code before has put there.</summary>
    private void WriteMsr(uint msr, Func<(ulong Old, ulong New)> values)
    {
        Asm.mov(ecx, msr);
        Expect(_ => MsrAct(msr, values().Old, values().New));
        Asm.wrmsr();
    }

    /// <summary>WRMSR of a value that is known now.</summary>
    public void SetMsr(uint msr, ulong old, ulong value)
    {
        Asm.mov(eax, (uint)value);
        Asm.mov(edx, (uint)(value >> 32));
        WriteMsr(msr, old, value);
    }

    /// <summary>WRMSR of a routine's address; changes RAX.</summary>
    public void SetMsrToAddress(uint msr, ulong old, DemoMark routine)
    {
        Asm.lea(rax, __[routine.Label]);
        Asm.xor(edx, edx);
        WriteMsr(msr, () => (old, routine.Address));
    }

    /// <summary>WRMSR of the hypercall page's address to the MSR whose number is in ECX.</summary>
    public void WriteHypercallMsr()
    {
        Asm.mov(eax, (uint)DemoLayout.HypercallPage);
        Asm.xor(edx, edx);
        Expect(cpu => cpu.XenLeafBase is { } b ? MsrAct(HypercallMsr(b), 0, DemoLayout.HypercallPage) : null);
        Asm.wrmsr();
    }

    /// <summary>int3.</summary>
    public void Breakpoint()
    {
        DemoMark here = Here("break_here");
        Expect(_ => new DemoAct
        {
            Reason = VmEventReason.SoftwareBreakpoint,
            VmxExitReason = VmxExitReasons.Exception,
            InsnLength = 1,
            Gfn = new GuestPhysical(here.Address).Gfn,
            Gla = here.Address,
        });
        Asm.int3();
    }

    /// <summary>LGDT, LIDT or LTR, emitted by <paramref name="load"/>.</summary>
    public void LoadDescriptor(DescriptorRegister register, Action load)
    {
        Expect(_ => new DemoAct
        {
            Reason = VmEventReason.DescriptorAccess,
            VmxExitReason = register is DescriptorRegister.Gdtr or DescriptorRegister.Idtr
                ? VmxExitReasons.DescriptorTable
                : VmxExitReasons.TaskRegister,
            Descriptor = register,
        });
        load();
    }

    /// <summary>One byte to or from a port with AL.</summary>
    public void Port(byte port, bool input)
    {
        Expect(_ => new DemoAct
        {
            Reason = VmEventReason.IoInstruction,
            VmxExitReason = VmxExitReasons.Io,
            InsnLength = 2,
            Port = port,
            PortInput = input,
        });
        if (input)
        {
            Asm.@in(al, port);
        }
        else
        {
            Asm.@out(port, al);
        }
    }

    /// <summary>The next instruction reads or writes the watched page.</summary>
    public void ExpectAccess(ulong address, MemAccessFlags access) =>
        Expect(_ => AccessAct(address, access));

    /// <summary>The next instruction goes to the watched page: the fetch there is the access.</summary>
    public void ExpectFetch(ulong address) =>
        ExpectOfCallee(_ => AccessAct(address, MemAccessFlags.Execute) with { Rip = address });

    /// <summary>A call of the hypercall page, which a called routine does.</summary>
    public void ExpectHypercall(uint number, VmEventReason reason = VmEventReason.VmExit, Func<DemoCpu, string?>? text = null) =>
        ExpectOfCallee(cpu =>
            cpu.XenLeafBase is null || (text is not null && text(cpu) is null)
                ? null
                : new DemoAct
                {
                    Reason = reason,
                    VmxExitReason = VmxExitReasons.Vmcall,
                    Rip = HypercallInstruction(number),
                    ConsoleText = text?.Invoke(cpu),
                });

    /// <summary>A write of CR3 by the routine that switches tasks.</summary>
    public void ExpectSwitch(DemoMark instruction, DemoTask from, DemoTask to) =>
        ExpectOfCallee(_ =>
            ControlAct(ControlRegisterIndex.Cr3, DemoLayout.Root(from), DemoLayout.Root(to)) with
            {
                Rip = instruction.Address,
            });

    /// <summary>Number of the MSR that places the hypercall page: behind viridian's leaves Xen's is another.</summary>
    private static uint HypercallMsr(uint leafBase) =>
        leafBase == DemoLayout.FirstHypervisorLeaf ? 0x4000_0000u : 0x4000_0200u;

    /// <summary>In each 32-byte entry of the page VMCALL or VMMCALL stands behind a 5-byte MOV.</summary>
    private static ulong HypercallInstruction(uint number) => DemoLayout.HypercallPage + (number * 32) + 5;

    private static IEnumerable<uint> HypervisorGroups(DemoCpu cpu)
    {
        uint last = cpu.XenLeafBase ?? DemoLayout.LastHypervisorLeaf;
        for (uint leaf = DemoLayout.FirstHypervisorLeaf; leaf <= last; leaf += 0x100)
        {
            yield return leaf;
        }
    }

    private static DemoAct CpuidAct(uint leaf, uint subleaf) => new()
    {
        Reason = VmEventReason.Cpuid,
        VmxExitReason = VmxExitReasons.Cpuid,
        InsnLength = 2,
        Leaf = leaf,
        Subleaf = subleaf,
    };

    private static DemoAct ControlAct(ControlRegisterIndex register, ulong old, ulong value) => new()
    {
        Reason = VmEventReason.WriteCtrlreg,
        VmxExitReason = VmxExitReasons.ControlRegister,
        ControlRegister = register,
        Old = old,
        New = value,
    };

    private static DemoAct MsrAct(uint msr, ulong old, ulong value) => new()
    {
        Reason = VmEventReason.MovToMsr,
        VmxExitReason = VmxExitReasons.Wrmsr,
        Msr = msr,
        Old = old,
        New = value,
    };

    private static DemoAct AccessAct(ulong address, MemAccessFlags access) => new()
    {
        Reason = VmEventReason.MemAccess,
        VmxExitReason = VmxExitReasons.EptViolation,
        Gfn = new GuestPhysical(address).Gfn,
        Gla = address,
        Access = access | MemAccessFlags.GlaValid | MemAccessFlags.FaultWithGla,
    };

    private void MoveToControl(ControlRegisterIndex register)
    {
        AssemblerRegisterCR target = register switch
        {
            ControlRegisterIndex.Cr0 => cr0,
            ControlRegisterIndex.Cr3 => cr3,
            _ => cr4,
        };
        if (Asm.Bitness == 64)
        {
            Asm.mov(target, rax);
        }
        else
        {
            Asm.mov(target, eax);
        }
    }
}

/// <summary>A place in the demo guest's code, which has an address once the code is encoded.</summary>
/// <param name="name">The name of the symbol, null for a place that needs none.</param>
/// <param name="label">The assembler's label.</param>
internal sealed class DemoMark(string? name, Label label)
{
    /// <summary>The assembler's label; a field, because placing it changes it.</summary>
    public Label Label = label;

    /// <summary>Name of the symbol that the place becomes.</summary>
    public string? Name { get; } = name;

    /// <summary>The place's address.</summary>
    public ulong Address { get; set; }
}
