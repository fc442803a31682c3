using System.Runtime.InteropServices;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Tests.Cpu.SystemMode;

/// <summary>What a test runs: the body of an instruction.</summary>
internal unsafe delegate bool Instruction(CpuState* s);

/// <summary>A CPU with a megabyte of memory, a GDT, an IDT and TSSs, put into the mode that a test needs.</summary>
internal sealed unsafe class SystemMachine : IDisposable
{
    public const uint Gdt = 0x1000;
    public const uint Idt = 0x2000;
    public const uint Ldt = 0x3000;
    public const uint Tss = 0x4000;
    public const uint NewTss = 0x5000;
    public const uint NewTss16 = 0x6000;
    public const uint OuterStack = 0x9000;
    public const uint InnerStack = 0xB000;
    public const uint Rip = 0x10000;
    public const uint PageTables = 0x20000;

    public const ushort Code0 = 0x08;
    public const ushort Data0 = 0x10;
    public const ushort Code16 = 0x18;
    public const ushort Data16 = 0x20;
    public const ushort Code64 = 0x28;
    public const ushort Code3 = 0x3B;
    public const ushort Data3 = 0x43;
    public const ushort Code64User = 0x4B;
    public const ushort Conforming = 0x50;
    public const ushort TssSelector = 0x58;
    public const ushort NewTssSelector = 0x68;
    public const ushort NewTss16Selector = 0x70;
    public const ushort LdtSelector = 0x78;

    /// <summary>Three slots that tests fill themselves.</summary>
    public const ushort Slot = 0x88;
    public const ushort Slot2 = 0x98;
    public const ushort Slot3 = 0xA8;
    public const ushort BeyondGdt = 0x200;

    private const int Pages = 256;
    private readonly byte* _memory;
    private readonly byte* _pageInfo;
    private readonly ulong* _p2m;
    private readonly Core.Cpu.Cpu _cpu;

    public SystemMachine(CpuVendor vendor = CpuVendor.Vmx)
    {
        _memory = (byte*)NativeMemory.AlignedAlloc(Pages * 4096, 4096);
        NativeMemory.Clear(_memory, Pages * 4096);
        _pageInfo = (byte*)NativeMemory.AllocZeroed(Pages);
        _p2m = (ulong*)NativeMemory.AllocZeroed(Pages, 8);
        for (var n = 0; n < Pages; n++)
        {
            _p2m[n] = P2mEntry.Make((ulong)n << 12, P2mType.RamRw, MemoryAccess.Rwx).Raw;
        }

        _cpu = new Core.Cpu.Cpu(new NoDevices(), new CpuMemoryMap((nint)_memory, (nint)_pageInfo, (nint)_p2m, Pages), vendor);
    }

    public CpuState* State => _cpu.State;

    /// <summary>Everything that tests put data into, below the page tables.</summary>
    public ReadOnlySpan<byte> Memory => new(_memory, (int)PageTables);

    /// <summary>Real mode with a stack at 0000:9000 and the vector table at 0.</summary>
    public static SystemMachine Real()
    {
        var m = new SystemMachine();
        var s = m.State;
        *s->Seg(SegmentIndex.Cs) = new Segment { Limit = 0xFFFF, Attributes = 0x9B };
        s->Rip = 0x7C00;
        s->Gpr[4] = OuterStack;
        s->IdtrLimit = 0x3FF;
        m._cpu.StateChanged();
        return m;
    }

    /// <summary>Protected mode without paging, at a level, in a 32-bit code segment.</summary>
    public static SystemMachine Protected(int cpl, CpuVendor vendor = CpuVendor.Vmx)
    {
        var m = new SystemMachine(vendor);
        m.BuildTables(longMode: false);
        m.State->Cr0 |= 1;
        m.EnterLevel(cpl, cpl == 0 ? Code0 : Code3, cpl == 0 ? Data0 : Data3);
        return m;
    }

    /// <summary>Virtual-8086 mode.</summary>
    public static SystemMachine Vm86(int iopl, bool vme = false)
    {
        var m = Protected(3);
        var s = m.State;
        s->FlagsOther |= RFlags.Vm | ((uint)iopl << RFlags.IoplShift) | RFlags.If;
        for (var index = SegmentIndex.Es; index <= SegmentIndex.Gs; index++)
        {
            var selector = (ushort)(0x100 + ((int)index * 0x10));
            *s->Seg(index) = new Segment { Selector = selector, Base = (ulong)selector << 4, Limit = 0xFFFF, Attributes = 0xF3 };
        }

        s->Rip = 0x20;
        s->Gpr[4] = 0x100;
        s->Cr4 |= vme ? 1UL : 0;
        m._cpu.StateChanged();
        return m;
    }

    /// <summary>Long mode with the first 2 MiB mapped to themselves for everybody.</summary>
    public static SystemMachine Long(int cpl, CpuVendor vendor = CpuVendor.Vmx, bool compatibility = false)
    {
        var m = new SystemMachine(vendor);
        m.BuildTables(longMode: true);
        m.Write(PageTables, (PageTables + 0x1000) | 7, 8);
        m.Write(PageTables + 0x1000, (PageTables + 0x2000) | 7, 8);
        m.Write(PageTables + 0x2000, 0x87, 8);
        var s = m.State;
        s->Cr3 = PageTables;
        s->Cr4 |= CpuModes.Cr4Pae;
        s->Efer = CpuModes.EferLme | CpuModes.EferLma | CpuModes.EferSce;
        s->Cr0 |= 1 | CpuModes.Cr0Pg;
        var code = (cpl == 0, compatibility) switch
        {
            (true, true) => Code0,
            (true, false) => Code64,
            (false, true) => Code3,
            _ => Code64User,
        };
        m.EnterLevel(cpl, code, cpl == 0 ? Data0 : Data3);
        return m;
    }

    public void Write(ulong address, ulong value, int size)
    {
        for (var n = 0; n < size; n++)
        {
            _memory[address + (uint)n] = (byte)(value >> (n * 8));
        }
    }

    public ulong Read(ulong address, int size)
    {
        ulong value = 0;
        for (var n = 0; n < size; n++)
        {
            value |= (ulong)_memory[address + (uint)n] << (n * 8);
        }

        return value;
    }

    /// <summary>Puts a descriptor into the GDT, or for a selector with TI set into the LDT.</summary>
    public void Install(ushort selector, ulong low, ulong high = 0, bool wide = false)
    {
        var at = ((selector & 4) != 0 ? Ldt : Gdt) + (uint)(selector & 0xFFF8);
        Write(at, low, 8);
        if (wide)
        {
            Write(at + 8, high, 8);
        }
    }

    /// <summary>Puts a gate into the IDT, of the width that the mode has.</summary>
    public void InstallGate(byte vector, ulong low, ulong high = 0)
    {
        if (CpuModes.IsLongMode(State))
        {
            Write(Idt + (vector * 16u), low, 8);
            Write(Idt + (vector * 16u) + 8, high, 8);
            return;
        }

        Write(Idt + (vector * 8u), low, 8);
    }

    /// <summary>The type byte of an installed descriptor.</summary>
    public int TypeOf(ushort selector) => (int)Read(Gdt + (uint)(selector & 0xFFF8) + 5, 1) & 15;

    /// <summary>Takes the second level's rights to a page away.</summary>
    public void Protect(ulong address, MemoryAccess access)
    {
        _p2m[address >> 12] = P2mEntry.Make(address & ~0xFFFUL, P2mType.RamRw, access).Raw;
        Tlb.FlushAll(State);
    }

    /// <summary>Puts an event on its way.</summary>
    public void Raise(byte vector, EventType type = EventType.HardwareException, uint? errorCode = null, ulong payload = 0, uint length = 0) =>
        State->Pending = new PendingEvent
        {
            Valid = true,
            Vector = vector,
            Type = type,
            HasErrorCode = errorCode is not null,
            ErrorCode = errorCode ?? 0,
            Payload = payload,
            InsnLength = length,
        };

    /// <summary>Runs an instruction that must succeed.</summary>
    public void Succeeds(Instruction instruction)
    {
        var s = State;
        var done = instruction(s);
        Assert.True(done, $"stopped by {s->Stop}, vector {s->Pending.Vector}, error code {s->Pending.ErrorCode:x}");
        Assert.False(s->Pending.Valid);
    }

    /// <summary>Runs an instruction that must fault, and looks that it left the CPU as it was.</summary>
    public void Faults(byte vector, uint? errorCode, Instruction instruction)
    {
        var s = State;
        var before = Visible();
        Assert.False(instruction(s), "no fault was raised");
        Assert.Equal(StopReason.Fault, s->Stop);
        Assert.Equal((vector, errorCode), (s->Pending.Vector, s->Pending.HasErrorCode ? s->Pending.ErrorCode : null));
        Assert.Equal(EventType.HardwareException, s->Pending.Type);
        Assert.Equal(before, Visible());
        s->Stop = StopReason.None;
        s->Pending = default;
    }

    /// <summary>Everything that a failed instruction must not have changed.</summary>
    public string Visible()
    {
        var s = State;
        var text = $"rip {s->Rip:x} flags {Flags.Read(s):x} cpl {s->Cpl} mode {s->Mode} cr0 {s->Cr0:x} cr3 {s->Cr3:x} cr4 {s->Cr4:x} efer {s->Efer:x} dr7 {s->Dr7:x} xcr0 {s->Xcr0:x}";
        for (var n = 0; n < 16; n++)
        {
            text += $" r{n} {s->Gpr[n]:x}";
        }

        for (var index = SegmentIndex.Es; index <= SegmentIndex.Tr; index++)
        {
            var segment = s->Seg(index);
            text += $" {index} {segment->Selector:x}:{segment->Base:x}+{segment->Limit:x}/{segment->Attributes:x}";
        }

        return text;
    }

    public void Dispose()
    {
        _cpu.Dispose();
        NativeMemory.Free(_p2m);
        NativeMemory.Free(_pageInfo);
        NativeMemory.AlignedFree(_memory);
    }

    private void BuildTables(bool longMode)
    {
        var s = State;
        s->GdtrBase = Gdt;
        s->GdtrLimit = 0xFF;
        s->IdtrBase = Idt;
        s->IdtrLimit = longMode ? 0xFFFu : 0x7FF;
        Install(Code0, DescriptorBuilder.Code(0));
        Install(Data0, DescriptorBuilder.Data(0));
        Install(Code16, DescriptorBuilder.Code(0, bits: 16, limit: 0xFFFF, pages: false));
        Install(Data16, DescriptorBuilder.Data(0, big: false, limit: 0xFFFF, pages: false));
        Install(Code64, DescriptorBuilder.Code(0, bits: 64));
        Install(Code3, DescriptorBuilder.Code(3));
        Install(Data3, DescriptorBuilder.Data(3));
        Install(Code64User, DescriptorBuilder.Code(3, bits: 64));
        Install(Conforming, DescriptorBuilder.Code(0, conforming: true, bits: longMode ? 64 : 32));
        Install(TssSelector, DescriptorBuilder.SystemSegment(11, 0, Tss, 0x167), wide: longMode);
        if (!longMode)
        {
            Install(NewTssSelector, DescriptorBuilder.SystemSegment(9, 0, NewTss, 0x67));
            Install(NewTss16Selector, DescriptorBuilder.SystemSegment(1, 0, NewTss16, 0x2B));
            Write(Tss + 4, InnerStack, 4);
            Write(Tss + 8, Data0, 2);
        }
        else
        {
            Write(Tss + 4, InnerStack, 8);
        }

        Install(LdtSelector, DescriptorBuilder.SystemSegment(2, 0, Ldt, 0x7F), wide: longMode);
        Write(Tss + 102, 0x168, 2); // no I/O bitmap
        *s->Seg(SegmentIndex.Tr) = new Segment { Selector = TssSelector, Base = Tss, Limit = 0x167, Attributes = 0x8B };
        *s->Seg(SegmentIndex.Ldtr) = new Segment { Selector = LdtSelector, Base = Ldt, Limit = 0x7F, Attributes = 0x82 };
    }

    private void EnterLevel(int cpl, ushort code, ushort data)
    {
        var s = State;
        s->Cpl = cpl;
        var dpl = (uint)cpl << 5;
        var raw = Read(Gdt + (uint)(code & 0xFFF8), 8);
        var size = ((raw >> 53) & 1) != 0 ? Segment.LongMode : Segment.Default32;
        *s->Seg(SegmentIndex.Cs) = new Segment { Selector = code, Limit = ~0u, Attributes = 0x809B | dpl | size };
        for (var index = SegmentIndex.Es; index <= SegmentIndex.Gs; index++)
        {
            if (index != SegmentIndex.Cs)
            {
                *s->Seg(index) = new Segment { Selector = data, Limit = ~0u, Attributes = 0xC093 | dpl };
            }
        }

        s->Rip = Rip;
        s->Gpr[4] = OuterStack;
        _cpu.StateChanged();
    }

    /// <summary>There are no devices.</summary>
    private sealed class NoDevices : ICpuHost
    {
        public ulong ReadTimestamp(ulong retiredInstructions) => retiredInstructions;

        public bool TryGetRandom(out ulong value)
        {
            value = 0;
            return false;
        }

        public bool ReadDevice(ulong gpa, int size, out ulong value)
        {
            value = 0;
            return false;
        }

        public bool WriteDevice(ulong gpa, int size, ulong value) => false;
    }
}
