using Introspect.Hypervisor.Abi;

namespace Introspect.Rules.Language;

/// <summary>Every field of every event, by the names that the events' JSON lines have.</summary>
internal static class FieldCatalog
{
    private static readonly string[] Segments = ["Cs", "Ss", "Ds", "Es", "Fs", "Gs"];

    /// <summary>The fields, in the order of the reference. Two may have one name, on different reasons.</summary>
    public static IReadOnlyList<Field> All { get; } = [.. Common(), .. OfReasons(), .. Registers()];

    private static ILookup<string, Field> ByName { get; } = All.ToLookup(f => f.Name, StringComparer.OrdinalIgnoreCase);

    /// <summary>The fields of a name.</summary>
    public static IEnumerable<Field> Find(string name) => ByName[name];

    /// <summary>Names of the fields that events of these reasons have.</summary>
    public static IEnumerable<string> NamesOn(VmEventReasonSet reasons) => All.Where(f => !(f.Reasons & reasons).IsEmpty).Select(f => f.Name);

    private static IEnumerable<Field> Common() =>
    [
        new Field("reason", FieldType.Number, "why the event was sent") { Vocabulary = Vocabulary.Reason, Subject = FactSubject.Reason }
            .OnAll(FieldReader.Member(nameof(VmEvent.Reason))),
        new Field("domain", FieldType.Number, "number of the domain") { Style = NumberStyle.Decimal, Subject = FactSubject.Domain }
            .OnAll(FieldReader.Method(nameof(FieldReaders.DomainNumber))),
        new Field("domain_name", FieldType.Text, "name of the domain").OnAll(FieldReader.Method(nameof(FieldReaders.DomainName))),
        new Field("domain_uuid", FieldType.Text, "UUID of the domain; upper and lower case are the same") { IgnoresCase = true }
            .OnAll(FieldReader.Method(nameof(FieldReaders.DomainUuid))),
        new Field("vendor", FieldType.Number, "whose processor the domain has") { Vocabulary = Vocabulary.Vendor }
            .OnAll(FieldReader.Method(nameof(FieldReaders.Vendor))),
        new Field("vcpu", FieldType.Number, "number of the vCPU") { Style = NumberStyle.Decimal, Subject = FactSubject.Vcpu }
            .OnAll(FieldReader.Member(nameof(VmEvent.VcpuId))),
        new Field("view", FieldType.Number, "altp2m view of the vCPU") { Style = NumberStyle.Decimal }
            .OnAll(FieldReader.Member(nameof(VmEvent.AltP2mIndex))),
        new Field("sync", FieldType.Boolean, "the vCPU waits for the answer").OnAll(FieldReader.Method(nameof(FieldReaders.Sync))),
        new Field("process", FieldType.Number, "root of the page tables: CR3 without PCID and flags") { Subject = FactSubject.Process }
            .OnAll(FieldReader.Method(nameof(FieldReaders.Process))),
        new Field("cpl", FieldType.Number, "privilege level, 0 to 3") { Style = NumberStyle.Decimal }
            .OnAll(FieldReader.Method(nameof(FieldReaders.Cpl))),
        new Field("time", FieldType.Number, "when the event was taken, in microseconds since 1970 (UTC)") { Style = NumberStyle.Time }
            .OnAll(FieldReader.Method(nameof(FieldReaders.Time))),
        new Field("hour", FieldType.Number, "hour of that time, 0 to 23 (UTC)") { Style = NumberStyle.Decimal }
            .OnAll(FieldReader.Method(nameof(FieldReaders.Hour))),
        new Field("weekday", FieldType.Number, "day of that time (UTC)") { Vocabulary = Vocabulary.Weekday }
            .OnAll(FieldReader.Method(nameof(FieldReaders.Weekday))),
    ];

    private static IEnumerable<Field> OfReasons() =>
    [
        new Field("access", FieldType.Number, "rights that the access needed") { Vocabulary = Vocabulary.Rights, Subject = FactSubject.Rights }
            .On(VmEventReason.MemAccess, FieldReader.Method(nameof(FieldReaders.Rights))),
        new Field("gfn", FieldType.Number, "guest frame") { Subject = FactSubject.Gfn }
            .On(VmEventReason.MemAccess, FieldReader.Member(nameof(VmEvent.MemAccess), nameof(VmEventMemAccess.Gfn)))
            .On(VmEventReason.MemSharing, FieldReader.Member(nameof(VmEvent.MemSharing), nameof(VmEventSharing.Gfn)))
            .On(VmEventReason.MemPaging, FieldReader.Member(nameof(VmEvent.MemPaging), nameof(VmEventPaging.Gfn)))
            .On(VmEventReason.SoftwareBreakpoint, FieldReader.Member(nameof(VmEvent.Debug), nameof(VmEventDebug.Gfn)))
            .On(VmEventReason.DebugException, FieldReader.Member(nameof(VmEvent.Debug), nameof(VmEventDebug.Gfn)))
            .On(VmEventReason.Singlestep, FieldReader.Member(nameof(VmEvent.SinglestepGfn))),
        new Field("offset", FieldType.Number, "offset in the page")
            .On(VmEventReason.MemAccess, FieldReader.Member(nameof(VmEvent.MemAccess), nameof(VmEventMemAccess.Offset))),
        new Field("gpa", FieldType.Number, "guest-physical address: frame and offset") { Subject = FactSubject.GuestPhysical }
            .On(VmEventReason.MemAccess, FieldReader.Method(nameof(FieldReaders.GuestPhysicalAddress))),
        new Field("gla", FieldType.Number, "guest linear address, where it is known")
            .On(VmEventReason.MemAccess, FieldReader.Method(nameof(FieldReaders.GuestLinearAddress), canFail: true)),
        new Field("with_gla", FieldType.Boolean, "the access was to the page that the linear address maps")
            .On(VmEventReason.MemAccess, FieldReader.Method(nameof(FieldReaders.WithGla))),
        new Field("page_walk", FieldType.Boolean, "the access was one of a page-table walk") { Subject = FactSubject.PageWalk }
            .On(VmEventReason.MemAccess, FieldReader.Method(nameof(FieldReaders.PageWalk))),
        new Field("p2m_type", FieldType.Number, "what the page is in the p2m") { Style = NumberStyle.Decimal }
            .On(VmEventReason.MemSharing, FieldReader.Member(nameof(VmEvent.MemSharing), nameof(VmEventSharing.P2mType)))
            .On(VmEventReason.MemPaging, FieldReader.Member(nameof(VmEvent.MemPaging), nameof(VmEventPaging.P2mType))),
        new Field("dropped", FieldType.Boolean, "the page is dropped").On(VmEventReason.MemPaging, FieldReader.Method(nameof(FieldReaders.PagingDropped))),
        new Field("failed", FieldType.Boolean, "evicting the page failed").On(VmEventReason.MemPaging, FieldReader.Method(nameof(FieldReaders.PagingFailed))),
        new Field("register", FieldType.Number, "the register that is written, loaded or stored") { Vocabulary = Vocabulary.Register, Subject = FactSubject.ControlRegister }
            .On(VmEventReason.WriteCtrlreg, FieldReader.Member(nameof(VmEvent.WriteCtrlreg), nameof(VmEventWriteCtrlreg.Index)))
            .On(VmEventReason.DescriptorAccess, FieldReader.Method(nameof(FieldReaders.DescriptorRegister))),
        new Field("msr", FieldType.Number, "number of the MSR that is written") { Vocabulary = Vocabulary.Msr, Subject = FactSubject.Msr }
            .On(VmEventReason.MovToMsr, FieldReader.Member(nameof(VmEvent.MovToMsr), nameof(VmEventMovToMsr.Msr))),
        new Field("old", FieldType.Number, "value before the write") { Subject = FactSubject.Old }
            .On(VmEventReason.WriteCtrlreg, FieldReader.Member(nameof(VmEvent.WriteCtrlreg), nameof(VmEventWriteCtrlreg.OldValue)))
            .On(VmEventReason.MovToMsr, FieldReader.Member(nameof(VmEvent.MovToMsr), nameof(VmEventMovToMsr.OldValue))),
        new Field("new", FieldType.Number, "value that is written") { Subject = FactSubject.New }
            .On(VmEventReason.WriteCtrlreg, FieldReader.Member(nameof(VmEvent.WriteCtrlreg), nameof(VmEventWriteCtrlreg.NewValue)))
            .On(VmEventReason.MovToMsr, FieldReader.Member(nameof(VmEvent.MovToMsr), nameof(VmEventMovToMsr.NewValue))),
        new Field("changed", FieldType.Number, "bits that the write changes: old ^ new") { Subject = FactSubject.Changed }
            .On(VmEventReason.WriteCtrlreg, FieldReader.Method(nameof(FieldReaders.ControlRegisterChange)))
            .On(VmEventReason.MovToMsr, FieldReader.Method(nameof(FieldReaders.MsrChange))),
        new Field("insn_length", FieldType.Number, "bytes of the instruction") { Style = NumberStyle.Decimal }
            .On(VmEventReason.SoftwareBreakpoint, FieldReader.Member(nameof(VmEvent.Debug), nameof(VmEventDebug.InsnLength)))
            .On(VmEventReason.DebugException, FieldReader.Member(nameof(VmEvent.Debug), nameof(VmEventDebug.InsnLength)))
            .On(VmEventReason.Cpuid, FieldReader.Member(nameof(VmEvent.Cpuid), nameof(VmEventCpuid.InsnLength))),
        new Field("trap", FieldType.Number, "how the trap came about") { Vocabulary = Vocabulary.Trap }
            .On(VmEventReason.SoftwareBreakpoint, FieldReader.Member(nameof(VmEvent.Debug), nameof(VmEventDebug.Type)))
            .On(VmEventReason.DebugException, FieldReader.Member(nameof(VmEvent.Debug), nameof(VmEventDebug.Type)))
            .On(VmEventReason.Interrupt, FieldReader.Member(nameof(VmEvent.Interrupt), nameof(VmEventInterrupt.Type))),
        new Field("pending_dbg", FieldType.Number, "pending debug exceptions, as in DR6; no release of Xen fills it")
            .On(VmEventReason.DebugException, FieldReader.Member(nameof(VmEvent.Debug), nameof(VmEventDebug.PendingDbg))),
        new Field("leaf", FieldType.Number, "EAX before CPUID")
            .On(VmEventReason.Cpuid, FieldReader.Member(nameof(VmEvent.Cpuid), nameof(VmEventCpuid.Leaf))),
        new Field("subleaf", FieldType.Number, "ECX before CPUID")
            .On(VmEventReason.Cpuid, FieldReader.Member(nameof(VmEvent.Cpuid), nameof(VmEventCpuid.Subleaf))),
        new Field("vector", FieldType.Number, "vector of the interrupt")
            .On(VmEventReason.Interrupt, FieldReader.Member(nameof(VmEvent.Interrupt), nameof(VmEventInterrupt.Vector))),
        new Field("error_code", FieldType.Number, "error code, where there is one")
            .On(VmEventReason.Interrupt, FieldReader.Method(nameof(FieldReaders.ErrorCode), canFail: true)),
        new Field("access", FieldType.Number, "what is done to the register") { Vocabulary = Vocabulary.Load }
            .On(VmEventReason.DescriptorAccess, FieldReader.Method(nameof(FieldReaders.DescriptorLoad))),
        new Field("instruction_info", FieldType.Number, "VM-exit instruction information (VMX only)")
            .On(VmEventReason.DescriptorAccess, FieldReader.Method(nameof(FieldReaders.InstructionInfo), canFail: true)),
        new Field("exit_reason", FieldType.Number, "basic exit reason (VMX) or exit code (SVM)")
            .On(VmEventReason.VmExit, FieldReader.Member(nameof(VmEvent.VmExit), nameof(VmEventVmExit.ExitReason))),
        new Field("qualification", FieldType.Number, "exit qualification (VMX) or exitinfo1 (SVM, vmexit only)")
            .On(VmEventReason.VmExit, FieldReader.Member(nameof(VmEvent.VmExit), nameof(VmEventVmExit.Qualification)))
            .On(VmEventReason.DescriptorAccess, FieldReader.Method(nameof(FieldReaders.DescriptorQualification), canFail: true)),
        new Field("exit_info2", FieldType.Number, "exitinfo2 (SVM only)")
            .On(VmEventReason.VmExit, FieldReader.Method(nameof(FieldReaders.ExitInfo2), canFail: true)),
        new Field("name", FieldType.Text, "name of the MSR or of the exit, where it has one")
            .On(VmEventReason.MovToMsr, FieldReader.Method(nameof(FieldReaders.MsrName), canFail: true))
            .On(VmEventReason.VmExit, FieldReader.Method(nameof(FieldReaders.ExitName), canFail: true)),
        new Field("direction", FieldType.Number, "which way the port access goes") { Vocabulary = Vocabulary.Direction }
            .On(VmEventReason.IoInstruction, FieldReader.Method(nameof(FieldReaders.IoDirection))),
        new Field("port", FieldType.Number, "number of the port")
            .On(VmEventReason.IoInstruction, FieldReader.Member(nameof(VmEvent.Io), nameof(VmEventIo.Port))),
        new Field("bytes", FieldType.Number, "bytes of the access") { Style = NumberStyle.Decimal }
            .On(VmEventReason.IoInstruction, FieldReader.Member(nameof(VmEvent.Io), nameof(VmEventIo.Bytes))),
        new Field("string", FieldType.Boolean, "the instruction is INS or OUTS")
            .On(VmEventReason.IoInstruction, FieldReader.Method(nameof(FieldReaders.IoString))),
    ];

    private static IEnumerable<Field> Registers()
    {
        string[] general = ["Rax", "Rbx", "Rcx", "Rdx", "Rsi", "Rdi", "Rbp", "Rsp", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"];
        foreach (var name in general)
        {
            yield return Register(name.ToLowerInvariant(), name, "general register");
        }

        yield return new Field("eax", FieldType.Number, "low half of RAX; of CPUID, the result").OnAll(FieldReader.Method(nameof(FieldReaders.Eax)));
        yield return new Field("ebx", FieldType.Number, "low half of RBX; of CPUID, the result").OnAll(FieldReader.Method(nameof(FieldReaders.Ebx)));
        yield return new Field("ecx", FieldType.Number, "low half of RCX; of CPUID, the result").OnAll(FieldReader.Method(nameof(FieldReaders.Ecx)));
        yield return new Field("edx", FieldType.Number, "low half of RDX; of CPUID, the result").OnAll(FieldReader.Method(nameof(FieldReaders.Edx)));
        yield return Register("rip", nameof(VmEventRegisters.Rip), "instruction pointer", FactSubject.InstructionPointer);
        yield return Register("rflags", nameof(VmEventRegisters.Rflags), "flags");
        yield return Register("cr0", nameof(VmEventRegisters.Cr0), "control register");

        // Of an interrupt, the event has a CR2 of its own: the one that the page fault will have.
        yield return Without(new Field("cr2", FieldType.Number, "address of the last page fault; of interrupt, of the one to come"), VmEventReason.Interrupt, nameof(VmEventRegisters.Cr2))
            .On(VmEventReason.Interrupt, FieldReader.Member(nameof(VmEvent.Interrupt), nameof(VmEventInterrupt.Cr2)));
        yield return Register("cr3", nameof(VmEventRegisters.Cr3), "page tables, with PCID and flags", FactSubject.Cr3);
        yield return Register("cr4", nameof(VmEventRegisters.Cr4), "control register");
        yield return Register("dr6", nameof(VmEventRegisters.Dr6), "debug status");
        yield return Register("dr7", nameof(VmEventRegisters.Dr7), "debug control");
        yield return Register("efer", nameof(VmEventRegisters.MsrEfer), "MSR");
        yield return Register("star", nameof(VmEventRegisters.MsrStar), "MSR");
        yield return Register("lstar", nameof(VmEventRegisters.MsrLstar), "MSR");
        yield return Register("sysenter_cs", nameof(VmEventRegisters.SysenterCs), "MSR");
        yield return Register("sysenter_esp", nameof(VmEventRegisters.SysenterEsp), "MSR");
        yield return Register("sysenter_eip", nameof(VmEventRegisters.SysenterEip), "MSR");
        yield return Register("gdtr_base", nameof(VmEventRegisters.GdtrBase), "where the GDT is");
        yield return Register("gdtr_limit", nameof(VmEventRegisters.GdtrLimit), "last byte of the GDT");
        foreach (var segment in Segments)
        {
            var name = segment.ToLowerInvariant();
            yield return Register($"{name}.selector", $"{segment}Sel", "segment selector");
            yield return Register($"{name}.base", $"{segment}Base", "segment base");
            yield return new Field($"{name}.limit", FieldType.Number, "segment limit").OnAll(FieldReader.Method($"{segment}Limit"));
            yield return new Field($"{name}.rights", FieldType.Number, "segment access rights").OnAll(FieldReader.Method($"{segment}Rights"));
        }

        yield return Register("shadow_gs", nameof(VmEventRegisters.ShadowGs), "GS base that SWAPGS brings");
        yield return Register("npt_base", nameof(VmEventRegisters.NptBase), "root of the nested page tables");
        yield return Register("vmtrace_pos", nameof(VmEventRegisters.VmtracePos), "position in the processor trace");
    }

    private static Field Register(string name, string member, string description, FactSubject subject = FactSubject.None) =>
        new Field(name, FieldType.Number, description) { Subject = subject }.OnAll(FieldReader.Member(nameof(VmEvent.Registers), member));

    private static Field Without(Field field, VmEventReason without, string member)
    {
        foreach (var reason in VmEventReasonSet.All.Reasons.Where(r => r != without))
        {
            field.On(reason, FieldReader.Member(nameof(VmEvent.Registers), member));
        }

        return field;
    }
}
