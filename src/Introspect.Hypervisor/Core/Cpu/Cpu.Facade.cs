using Introspect.Hypervisor.Core.Cpu.SystemMode;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>What the handlers of exits do with a CPU that is out of the guest, without pointers.</summary>
internal sealed unsafe partial class Cpu
{
    /// <summary>The architectural state.</summary>
    public ref CpuState Registers => ref *State;

    /// <summary>RFLAGS with the lazy flags folded in.</summary>
    public uint Rflags
    {
        get => Flags.Read(State);
        set
        {
            Flags.Write(State, value, RFlags.All);
            CpuModes.Update(State);
        }
    }

    /// <summary>True when a 64-bit code segment runs.</summary>
    public bool Is64 => CpuModes.Is64(State);

    /// <summary>An interrupt could be taken at this boundary.</summary>
    public bool IsInterruptible =>
        (State->FlagsOther & RFlags.If) != 0 && (State->Shadow & (CpuShadow.Sti | CpuShadow.MovSs)) == 0 && !State->Pending.Valid && State->DueDebug == 0;

    /// <summary>An NMI could be taken at this boundary.</summary>
    public bool IsNmiOpen => State->Shadow == CpuShadow.None && !State->Pending.Valid && State->DueDebug == 0;

    /// <summary>A general register in encoding order (rax rcx rdx rbx rsp rbp rsi rdi r8…).</summary>
    public ref ulong Gpr(int number)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)number, 15u);
        return ref State->Gpr[number];
    }

    /// <summary>A segment register.</summary>
    public ref Segment Segment(SegmentIndex index) => ref *State->Seg(index);

    /// <summary>RIP goes on behind the instruction; a shadow of STI or MOV SS ends with it.</summary>
    public void Advance(int length)
    {
        State->Rip = SystemMode.Registers.NextRip(State, length);
        Retired();
    }

    private void Retired()
    {
        State->Shadow &= CpuShadow.Nmi;
        State->FlagsOther &= ~RFlags.Rf;
        if ((State->FlagsOther & RFlags.Tf) != 0 && !State->Pending.Valid)
        {
            // An instruction that was done outside of the guest is stepped like any other.
            Fault.Raise(State, Vector.Debug);
            State->Pending.Payload = 1 << 14;
        }
    }

    /// <summary>Empties the x87 and vector registers.</summary>
    public void ResetVectorState(ushort controlWord, uint mxcsr)
    {
        var s = State;
        (s->Fcw, s->Fsw, s->FtwAbridged, s->Fop) = (controlWord, 0, 0, 0);
        (s->Fip, s->Fdp, s->Mxcsr) = (0, 0, mxcsr);
        new Span<ulong>(s->X87, 8 * 2).Clear();
        new Span<ulong>(s->Ymm, 16 * 4).Clear();
    }

    /// <summary>Makes an exception pending.</summary>
    public void Raise(byte vector) => Fault.Raise(State, vector);

    /// <summary>Makes an exception with an error code pending.</summary>
    public void Raise(byte vector, uint errorCode) => Fault.Raise(State, vector, errorCode);

    /// <summary>Makes an event pending for the next entry.</summary>
    public void Inject(in PendingEvent pending) => State->Pending = pending;

    /// <summary>Writes CR0; false with #GP pending.</summary>
    public bool WriteCr0(ulong value)
    {
        using var _ = new HostTableScope(this);
        return Applied(ControlRegisters.WriteCr0(State, value, out var effects), effects);
    }

    /// <summary>Writes CR3; false with #GP pending. Translations carry no PCID, so all but global ones go.</summary>
    public bool WriteCr3(ulong value)
    {
        using var scope = new HostTableScope(this);
        State->Stop = StopReason.None;
        if (!ControlRegisters.WriteCr3(State, value, out _))
        {
            return false;
        }

        Tlb.FlushNonGlobal(State);
        return true;
    }

    /// <summary>Writes CR4; false with #GP pending.</summary>
    public bool WriteCr4(ulong value, in ControlLimits limits)
    {
        using var _ = new HostTableScope(this);
        return Applied(ControlRegisters.WriteCr4(State, value, in limits, out var effects), effects);
    }

    /// <summary>Writes CR8; false with #GP pending.</summary>
    public bool WriteCr8(ulong value) => ControlRegisters.WriteCr8(State, value);

    /// <summary>Writes EFER; false with #GP pending.</summary>
    public bool WriteEfer(ulong value, in ControlLimits limits) =>
        Applied(ControlRegisters.WriteEfer(State, value, in limits, out var effects), effects);

    /// <summary>Writes XCR0; false with #GP pending.</summary>
    public bool WriteXcr0(uint index, ulong value, in ControlLimits limits) =>
        ControlRegisters.WriteXcr0(State, index, value, in limits);

    /// <summary>Copies from linear addresses with supervisor rights, faults dropped; false when a page is not there.</summary>
    public bool CopyFromGuest(ulong linear, Span<byte> destination) => Copy(linear, destination, write: false);

    /// <summary>Copies to linear addresses with supervisor rights, faults dropped; false when a page is not there or not writable.</summary>
    public bool CopyToGuest(ulong linear, ReadOnlySpan<byte> source)
    {
        fixed (byte* p = source)
        {
            return Copy(linear, new Span<byte>(p, source.Length), write: true);
        }
    }

    /// <summary>Replaces a machine page's contents; code that was decoded from it is dropped.</summary>
    public void StoreToMachinePage(ulong machineAddress, ReadOnlySpan<byte> page)
    {
        var host = State->MachineBase + machineAddress;
        CodeCache.Stored(State, host);
        page[..Math.Min(page.Length, 4096)].CopyTo(new Span<byte>(host, 4096));
    }

    /// <summary>Guest frame that the next instruction is in, or all ones.</summary>
    public ulong GfnOfRip()
    {
        var pending = State->Pending;
        var stop = State->Stop;
        var exit = State->Exit;
        var how = State->Override;
        State->Stop = StopReason.None;
        State->Override |= AccessOverride.IgnoreP2mRights | AccessOverride.DiscardWrites;
        var p2m = State->P2m;
        State->P2m = _hostP2m;
        var linear = State->CodeBase + State->Rip;
        var mapped = Mmu.Translate(State, linear, AccessKind.Execute, AccessRights.Current, out var page);
        (State->Pending, State->Stop, State->Exit, State->Override) = (pending, stop, exit, how);
        State->P2m = p2m;
        return mapped ? page.Gpa >> 12 : ~0UL;
    }

    /// <summary>Finishes a port access that a device answered. False with a fault or an exit in the state.</summary>
    public bool CompleteIo(in Exit exit, ulong input)
    {
        if (!PortInstructions.Complete(State, in exit, input))
        {
            return false;
        }

        Retired();
        return true;
    }

    /// <summary>
    /// While it lasts the host table is in force: a register write that is done for a PAE guest reads its page-directory
    /// pointers past the altp2m view, which may not even have the page yet.
    /// </summary>
    private readonly ref struct HostTableScope
    {
        private readonly CpuState* _state;
        private readonly ulong* _table;

        public HostTableScope(Cpu cpu)
        {
            _state = cpu.State;
            _table = _state->P2m;
            _state->P2m = cpu._hostP2m;
        }

        public void Dispose() => _state->P2m = _table;
    }

    private bool Applied(bool done, ControlEffects effects)
    {
        if (done)
        {
            Apply(effects);
        }

        return done;
    }

    private bool Copy(ulong linear, Span<byte> buffer, bool write)
    {
        var pending = State->Pending;
        var stop = State->Stop;
        var exit = State->Exit;
        State->Stop = StopReason.None;
        State->Override |= AccessOverride.IgnoreP2mRights;
        var p2m = State->P2m;
        State->P2m = _hostP2m;
        var ok = true;
        fixed (byte* p = buffer)
        {
            for (var done = 0; ok && done < buffer.Length;)
            {
                var address = linear + (ulong)done;
                if (!CpuModes.IsLongMode(State))
                {
                    address = (uint)address;
                }

                var chunk = Math.Min(buffer.Length - done, 4096 - (int)(address & 0xFFF));
                ok = (!CpuModes.IsLongMode(State) || Mmu.IsCanonical(State, address))
                    && Mmu.Translate(State, address, write ? AccessKind.Write : AccessKind.Read, AccessRights.Current, out var page)
                    && CopyPage(page, p + done, chunk, write, address);
                done += chunk;
            }
        }

        State->Override &= ~AccessOverride.IgnoreP2mRights;
        (State->Pending, State->Stop, State->Exit) = (pending, stop, exit);
        State->P2m = p2m;
        return ok;
    }

    private bool CopyPage(in Translation page, byte* buffer, int bytes, bool write, ulong address)
    {
        if (!page.P2m.IsPresent)
        {
            return false;
        }

        var host = State->MachineBase + page.P2m.MachineAddress + (address & 0xFFF);
        if (write)
        {
            if (page.P2m.Type == Memory.P2mType.RamRo)
            {
                return false;
            }

            CodeCache.Stored(State, host);
            Buffer.MemoryCopy(buffer, host, bytes, bytes);
        }
        else
        {
            Buffer.MemoryCopy(host, buffer, bytes, bytes);
        }

        return true;
    }
}
