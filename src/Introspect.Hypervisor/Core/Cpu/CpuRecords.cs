using Introspect.Hypervisor.Abi;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>A vCPU's state in the shapes in which Xen hands it out: the hvm context's CPU record and an event's registers.</summary>
internal static unsafe class CpuRecords
{
    private const int FxTop = 11;
    private const int FxRegisters = 32;
    private const int FxVectors = 160;
    private const int VectorRegisters = 16;

    /// <summary>Fills an event's registers (<c>vm_event_fill_regs</c>).</summary>
    public static void FillEvent(ref CpuState state, ulong rflags, ref VmEventRegisters registers)
    {
        // SAFETY: the state lives in native memory, so that fixing it costs nothing and its segments stay in place.
        fixed (CpuState* cpu = &state)
        {
            registers.Rax = cpu->Gpr[0];
            registers.Rcx = cpu->Gpr[1];
            registers.Rdx = cpu->Gpr[2];
            registers.Rbx = cpu->Gpr[3];
            registers.Rsp = cpu->Gpr[4];
            registers.Rbp = cpu->Gpr[5];
            registers.Rsi = cpu->Gpr[6];
            registers.Rdi = cpu->Gpr[7];
            registers.R8 = cpu->Gpr[8];
            registers.R9 = cpu->Gpr[9];
            registers.R10 = cpu->Gpr[10];
            registers.R11 = cpu->Gpr[11];
            registers.R12 = cpu->Gpr[12];
            registers.R13 = cpu->Gpr[13];
            registers.R14 = cpu->Gpr[14];
            registers.R15 = cpu->Gpr[15];
            registers.Rip = cpu->Rip;
            registers.Rflags = rflags;
            // No release fills DR6 from 4.12 on, in which it came, to this day: it takes it from a record in which nobody put it.
            registers.Dr6 = 0;
            registers.Dr7 = cpu->SavedDr7;
            registers.Cr0 = cpu->Cr0;
            registers.Cr2 = cpu->Cr2;
            registers.Cr3 = cpu->Cr3;
            registers.Cr4 = cpu->Cr4;
            registers.SysenterCs = cpu->SysenterCs;
            registers.SysenterEsp = cpu->SysenterEsp;
            registers.SysenterEip = cpu->SysenterEip;
            registers.MsrEfer = cpu->Efer;
            registers.MsrStar = cpu->Star;
            registers.MsrLstar = cpu->Lstar;
            registers.GdtrBase = cpu->GdtrBase;
            registers.GdtrLimit = (ushort)cpu->GdtrLimit;
            registers.ShadowGs = cpu->KernelGsBase;
            registers.VmtracePos = ~0UL;
            registers.NptBase = 0;

            var es = cpu->Seg(SegmentIndex.Es);
            var cs = cpu->Seg(SegmentIndex.Cs);
            var ss = cpu->Seg(SegmentIndex.Ss);
            var ds = cpu->Seg(SegmentIndex.Ds);
            var fs = cpu->Seg(SegmentIndex.Fs);
            var gs = cpu->Seg(SegmentIndex.Gs);
            registers.EsBase = (uint)es->Base;
            registers.CsBase = (uint)cs->Base;
            registers.SsBase = (uint)ss->Base;
            registers.DsBase = (uint)ds->Base;
            registers.FsBase = fs->Base;
            registers.GsBase = gs->Base;
            registers.Es = Pack(es);
            registers.Cs = Pack(cs);
            registers.Ss = Pack(ss);
            registers.Ds = Pack(ds);
            registers.Fs = Pack(fs);
            registers.Gs = Pack(gs);
            registers.EsSel = es->Selector;
            registers.CsSel = cs->Selector;
            registers.SsSel = ss->Selector;
            registers.DsSel = ds->Selector;
            registers.FsSel = fs->Selector;
            registers.GsSel = gs->Selector;
        }
    }

    /// <summary>Saves into the hvm context's CPU record (<c>hvm_save_cpu_ctxt</c>).</summary>
    public static void Save(ref CpuState state, ulong rflags, ulong tsc, out HvmHwCpu record)
    {
        record = default;

        // SAFETY: as in FillEvent.
        fixed (CpuState* cpu = &state)
        fixed (HvmHwCpu* r = &record)
        {
            (r->Rax, r->Rcx, r->Rdx, r->Rbx) = (cpu->Gpr[0], cpu->Gpr[1], cpu->Gpr[2], cpu->Gpr[3]);
            (r->Rsp, r->Rbp, r->Rsi, r->Rdi) = (cpu->Gpr[4], cpu->Gpr[5], cpu->Gpr[6], cpu->Gpr[7]);
            (r->R8, r->R9, r->R10, r->R11) = (cpu->Gpr[8], cpu->Gpr[9], cpu->Gpr[10], cpu->Gpr[11]);
            (r->R12, r->R13, r->R14, r->R15) = (cpu->Gpr[12], cpu->Gpr[13], cpu->Gpr[14], cpu->Gpr[15]);
            (r->Rip, r->Rflags) = (cpu->Rip, rflags);
            (r->Cr0, r->Cr2, r->Cr3, r->Cr4) = (cpu->Cr0, cpu->Cr2, cpu->Cr3, cpu->Cr4);
            (r->Dr0, r->Dr1, r->Dr2, r->Dr3) = (cpu->Dr0, cpu->Dr1, cpu->Dr2, cpu->Dr3);
            (r->Dr6, r->Dr7) = (cpu->Dr6, cpu->Dr7);
            (r->SysenterCs, r->SysenterEsp, r->SysenterEip) = (cpu->SysenterCs, cpu->SysenterEsp, cpu->SysenterEip);
            (r->ShadowGs, r->MsrLstar, r->MsrStar, r->MsrCstar) = (cpu->KernelGsBase, cpu->Lstar, cpu->Star, cpu->Cstar);
            (r->MsrSyscallMask, r->MsrEfer, r->MsrTscAux) = (cpu->SyscallMask, cpu->Efer, cpu->TscAux);
            (r->IdtrBase, r->IdtrLimit, r->GdtrBase, r->GdtrLimit) = (cpu->IdtrBase, cpu->IdtrLimit, cpu->GdtrBase, cpu->GdtrLimit);
            r->Tsc = tsc;

            SaveSegment(cpu->Seg(SegmentIndex.Es), out r->EsSel, out r->EsLimit, out r->EsBase, out r->EsArbytes);
            SaveSegment(cpu->Seg(SegmentIndex.Cs), out r->CsSel, out r->CsLimit, out r->CsBase, out r->CsArbytes);
            SaveSegment(cpu->Seg(SegmentIndex.Ss), out r->SsSel, out r->SsLimit, out r->SsBase, out r->SsArbytes);
            SaveSegment(cpu->Seg(SegmentIndex.Ds), out r->DsSel, out r->DsLimit, out r->DsBase, out r->DsArbytes);
            SaveSegment(cpu->Seg(SegmentIndex.Fs), out r->FsSel, out r->FsLimit, out r->FsBase, out r->FsArbytes);
            SaveSegment(cpu->Seg(SegmentIndex.Gs), out r->GsSel, out r->GsLimit, out r->GsBase, out r->GsArbytes);
            SaveSegment(cpu->Seg(SegmentIndex.Ldtr), out r->LdtrSel, out r->LdtrLimit, out r->LdtrBase, out r->LdtrArbytes);
            SaveSegment(cpu->Seg(SegmentIndex.Tr), out r->TrSel, out r->TrLimit, out r->TrBase, out r->TrArbytes);

            if (cpu->Pending.Valid)
            {
                r->PendingEvent = HvmHwCpu.PendingValid | cpu->Pending.Vector
                    | ((uint)cpu->Pending.Type << HvmHwCpu.PendingTypeShift)
                    | (cpu->Pending.HasErrorCode ? HvmHwCpu.PendingErrorValid : 0);
                r->ErrorCode = cpu->Pending.ErrorCode;
            }

            SaveFpu(cpu, r->FpuRegs);
            r->Flags = HvmHwCpu.FpuInitialised;
        }
    }

    /// <summary>
    /// Loads from the hvm context's CPU record. RFLAGS and the TSC are the caller's to set; what is derived from
    /// the state is made anew by <c>IVcpuRunner.StateReplaced</c>.
    /// </summary>
    public static void Load(ref CpuState state, in HvmHwCpu record)
    {
        // SAFETY: as in FillEvent.
        fixed (CpuState* cpu = &state)
        fixed (HvmHwCpu* r = &record)
        {
            (cpu->Gpr[0], cpu->Gpr[1], cpu->Gpr[2], cpu->Gpr[3]) = (r->Rax, r->Rcx, r->Rdx, r->Rbx);
            (cpu->Gpr[4], cpu->Gpr[5], cpu->Gpr[6], cpu->Gpr[7]) = (r->Rsp, r->Rbp, r->Rsi, r->Rdi);
            (cpu->Gpr[8], cpu->Gpr[9], cpu->Gpr[10], cpu->Gpr[11]) = (r->R8, r->R9, r->R10, r->R11);
            (cpu->Gpr[12], cpu->Gpr[13], cpu->Gpr[14], cpu->Gpr[15]) = (r->R12, r->R13, r->R14, r->R15);
            cpu->Rip = r->Rip;
            (cpu->Cr0, cpu->Cr2, cpu->Cr3, cpu->Cr4) = (r->Cr0, r->Cr2, r->Cr3, r->Cr4);
            (cpu->Dr0, cpu->Dr1, cpu->Dr2, cpu->Dr3) = (r->Dr0, r->Dr1, r->Dr2, r->Dr3);
            (cpu->Dr6, cpu->Dr7, cpu->SavedDr7) = (r->Dr6, r->Dr7, r->Dr7);
            (cpu->SysenterCs, cpu->SysenterEsp, cpu->SysenterEip) = (r->SysenterCs, r->SysenterEsp, r->SysenterEip);
            (cpu->KernelGsBase, cpu->Lstar, cpu->Star, cpu->Cstar) = (r->ShadowGs, r->MsrLstar, r->MsrStar, r->MsrCstar);
            (cpu->SyscallMask, cpu->Efer, cpu->TscAux) = (r->MsrSyscallMask, r->MsrEfer, r->MsrTscAux);
            (cpu->IdtrBase, cpu->IdtrLimit, cpu->GdtrBase, cpu->GdtrLimit) = (r->IdtrBase, r->IdtrLimit, r->GdtrBase, r->GdtrLimit);

            LoadSegment(cpu->Seg(SegmentIndex.Es), r->EsSel, r->EsLimit, r->EsBase, r->EsArbytes);
            LoadSegment(cpu->Seg(SegmentIndex.Cs), r->CsSel, r->CsLimit, r->CsBase, r->CsArbytes);
            LoadSegment(cpu->Seg(SegmentIndex.Ss), r->SsSel, r->SsLimit, r->SsBase, r->SsArbytes);
            LoadSegment(cpu->Seg(SegmentIndex.Ds), r->DsSel, r->DsLimit, r->DsBase, r->DsArbytes);
            LoadSegment(cpu->Seg(SegmentIndex.Fs), r->FsSel, r->FsLimit, r->FsBase, r->FsArbytes);
            LoadSegment(cpu->Seg(SegmentIndex.Gs), r->GsSel, r->GsLimit, r->GsBase, r->GsArbytes);
            LoadSegment(cpu->Seg(SegmentIndex.Ldtr), r->LdtrSel, r->LdtrLimit, r->LdtrBase, r->LdtrArbytes);
            LoadSegment(cpu->Seg(SegmentIndex.Tr), r->TrSel, r->TrLimit, r->TrBase, r->TrArbytes);

            cpu->Pending = default;
            if ((r->PendingEvent & HvmHwCpu.PendingValid) != 0)
            {
                cpu->Pending.Valid = true;
                cpu->Pending.Vector = (byte)r->PendingEvent;
                cpu->Pending.Type = (EventType)((r->PendingEvent >> HvmHwCpu.PendingTypeShift) & 7);
                cpu->Pending.HasErrorCode = (r->PendingEvent & HvmHwCpu.PendingErrorValid) != 0;
                cpu->Pending.ErrorCode = r->ErrorCode;
            }

            cpu->Shadow = CpuShadow.None;
            if ((r->Flags & HvmHwCpu.FpuInitialised) != 0)
            {
                LoadFpu(cpu, r->FpuRegs);
            }
            else
            {
                ResetFpu(cpu);
            }
        }
    }

    /// <summary>Xen's 12-bit form of access rights (no unusable bit: not present) from VMX's.</summary>
    public static uint PackRights(uint attributes) =>
        ((attributes & 0x7f) | ((attributes & Segment.Unusable) == 0 ? attributes & Segment.Present : 0)) | ((attributes >> 4) & 0xf00);

    /// <summary>
    /// VMX's form of access rights from Xen's. A segment that is not present is unusable. The records of old
    /// releases have VMX's form already.
    /// </summary>
    public static uint UnpackRights(uint rights)
    {
        if ((rights & 0xf000) != 0 && (rights & 0x0f00) == 0)
        {
            rights = (rights & 0xff) | ((rights >> 4) & 0xf00);
        }

        return (rights & 0xff) | ((rights & 0xf00) << 4) | ((rights & Segment.Present) == 0 ? Segment.Unusable : 0);
    }

    private static VmEventSegment Pack(Segment* segment)
    {
        var limit = (segment->Attributes & Segment.Granularity) != 0 ? segment->Limit >> 12 : segment->Limit;
        return VmEventSegment.Pack(limit, PackRights(segment->Attributes));
    }

    private static void SaveSegment(Segment* segment, out uint selector, out uint limit, out ulong address, out uint rights)
    {
        selector = segment->Selector;
        limit = segment->Limit;
        address = segment->Base;
        rights = PackRights(segment->Attributes);
    }

    private static void LoadSegment(Segment* segment, uint selector, uint limit, ulong address, uint rights)
    {
        segment->Selector = (ushort)selector;
        segment->Limit = limit;
        segment->Base = address;
        segment->Attributes = UnpackRights(rights);
    }

    // The image of FXSAVE64: x87 registers from the top of the stack on, the tag word by physical number.
    private static void SaveFpu(CpuState* cpu, byte* image)
    {
        *(ushort*)image = cpu->Fcw;
        *(ushort*)(image + 2) = cpu->Fsw;
        image[4] = cpu->FtwAbridged;
        *(ushort*)(image + 6) = cpu->Fop;
        *(ulong*)(image + 8) = cpu->Fip;
        *(ulong*)(image + 16) = cpu->Fdp;
        *(uint*)(image + 24) = cpu->Mxcsr;
        *(uint*)(image + 28) = 0xffff;
        var top = (cpu->Fsw >> FxTop) & 7;
        for (var i = 0; i < 8; i++)
        {
            new ReadOnlySpan<byte>(&cpu->X87[((top + i) & 7) * 2], 10).CopyTo(new(image + FxRegisters + (i * 16), 10));
        }

        for (var i = 0; i < VectorRegisters; i++)
        {
            new ReadOnlySpan<byte>(&cpu->Ymm[i * 4], 16).CopyTo(new(image + FxVectors + (i * 16), 16));
        }
    }

    private static void LoadFpu(CpuState* cpu, byte* image)
    {
        cpu->Fcw = *(ushort*)image;
        cpu->Fsw = *(ushort*)(image + 2);
        cpu->FtwAbridged = image[4];
        cpu->Fop = *(ushort*)(image + 6);
        cpu->Fip = *(ulong*)(image + 8);
        cpu->Fdp = *(ulong*)(image + 16);
        cpu->Mxcsr = *(uint*)(image + 24) & 0xffff;
        var top = (cpu->Fsw >> FxTop) & 7;
        for (var i = 0; i < 8; i++)
        {
            new ReadOnlySpan<byte>(image + FxRegisters + (i * 16), 10).CopyTo(new(&cpu->X87[((top + i) & 7) * 2], 10));
        }

        for (var i = 0; i < VectorRegisters; i++)
        {
            new ReadOnlySpan<byte>(image + FxVectors + (i * 16), 16).CopyTo(new(&cpu->Ymm[i * 4], 16));
        }
    }

    private static void ResetFpu(CpuState* cpu)
    {
        cpu->Fcw = 0x37f;
        cpu->Fsw = 0;
        cpu->FtwAbridged = 0;
        cpu->Fop = 0;
        cpu->Fip = cpu->Fdp = 0;
        cpu->Mxcsr = 0x1f80;
        new Span<ulong>(cpu->X87, 16).Clear();
        new Span<ulong>(cpu->Ymm, VectorRegisters * 4).Clear();
    }
}
