using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// One virtual CPU: runs guest code until something leaves the guest. Knows nothing of rings or domains; what
/// it cannot do by itself is an <see cref="Exit"/>. Used by one thread; other threads may only
/// <see cref="Kick"/> it.
/// </summary>
internal sealed unsafe partial class Cpu : IDisposable
{
    private readonly GCHandle _self;
    private readonly InsnDecoder _decoder;
    private readonly CodeCache _code = new();
    private readonly Block* _stepBlock;

    // The domain's own table, in force or not: what is done for the guest rather than by it is done on this one.
    private readonly ulong* _hostP2m;
    private readonly ConcurrentQueue<ulong> _codeDrops = new();
    private bool _exclusive;
    private bool _disposed;

    public Cpu(ICpuHost host, CpuMemoryMap memory, CpuVendor vendor)
    {
        Host = host;
        Vendor = vendor;
        State = (CpuState*)NativeMemory.AlignedAlloc((nuint)sizeof(CpuState), 64);
        *State = default;
        _self = GCHandle.Alloc(this, GCHandleType.Weak);
        State->Owner = GCHandle.ToIntPtr(_self);
        State->MachineBase = memory.MachineBase;
        State->PageInfo = memory.PageInfo;
        State->TlbBanks = (TlbEntry*)NativeMemory.AlignedAlloc((nuint)(Tlb.Entries * Tlb.Banks * sizeof(TlbEntry)), 64);
        State->FetchTlb = (FetchEntry*)NativeMemory.AlignedAlloc((nuint)(Tlb.FetchEntries * Tlb.FetchBanks * sizeof(FetchEntry)), 64);
        State->TlbFills = (SlotList*)NativeMemory.Alloc((nuint)(2 * sizeof(SlotList)));
        State->FetchFills = State->TlbFills + 1;
        Tlb.Initialise(State);
        State->JumpCache = (JumpEntry*)NativeMemory.AlignedAlloc((nuint)(ControlHandlers.JumpCacheEntries * sizeof(JumpEntry)), 64);
        new Span<JumpEntry>(State->JumpCache, ControlHandlers.JumpCacheEntries).Clear();
        State->JumpKey = 0x100;
        _stepBlock = (Block*)NativeMemory.AlignedAlloc(64 + (2 * 64), 64);
        *_stepBlock = default;
        _stepBlock->First = (Insn*)((byte*)_stepBlock + 64);
        _decoder = new InsnDecoder(vendor);
        _hostP2m = memory.P2m;
        SetP2m(memory.P2m, memory.P2mEntries);
        Reset();
    }

    /// <summary>A CPU on a domain's memory.</summary>
    public static Cpu Create(ICpuHost host, Memory.MachineMemory machine, Memory.Physmap physmap, CpuVendor vendor) =>
        new(host, new CpuMemoryMap((nint)machine.Base, (nint)machine.PageInfo, (nint)physmap.Entries, physmap.EntryCount), vendor);

    /// <summary>State of the CPU, for those who handle its exits.</summary>
    public CpuState* State { get; }

    /// <summary>What the CPU asks while it runs.</summary>
    public ICpuHost Host { get; }

    /// <summary>Whose instruction set details apply.</summary>
    public CpuVendor Vendor { get; }

    /// <summary>Decode cache, for statistics.</summary>
    public CodeCache Code => _code;

    /// <summary>FEP: accept <c>ud2; .ascii "xen"</c> as a prefix that does nothing.</summary>
    public bool ForcedEmulationPrefix
    {
        get => _decoder.ForcedEmulationPrefix;
        set => _decoder.ForcedEmulationPrefix = value;
    }

    /// <summary>The managed CPU of a state.</summary>
    public static Cpu Of(CpuState* s) => (Cpu)GCHandle.FromIntPtr(s->Owner).Target!;

    /// <summary>State after RESET (Intel SDM vol. 3, table 10-1).</summary>
    public void Reset()
    {
        var s = State;
        for (var n = 0; n < 16; n++)
        {
            s->Gpr[n] = 0;
        }

        s->Rip = 0xFFF0;
        s->FlagsOther = RFlags.Fixed1;
        Flags.WriteArithmetic(s, 0);
        s->Cr0 = 0x60000010;
        s->Cr2 = s->Cr3 = s->Cr4 = s->Cr8 = 0;
        s->Xcr0 = 1;
        s->Efer = 0;
        s->Pat = 0x0007040600070406;
        s->Dr0 = s->Dr1 = s->Dr2 = s->Dr3 = 0;
        s->Dr6 = 0xFFFF0FF0;
        s->Dr7 = 0x400;
        for (var n = SegmentIndex.Es; n <= SegmentIndex.Gs; n++)
        {
            *s->Seg(n) = new Segment { Limit = 0xFFFF, Attributes = n == SegmentIndex.Cs ? 0x9Bu : 0x93 };
        }

        s->Seg(SegmentIndex.Cs)->Selector = 0xF000;
        s->Seg(SegmentIndex.Cs)->Base = 0xFFFF0000;
        *s->Seg(SegmentIndex.Ldtr) = new Segment { Limit = 0xFFFF, Attributes = 0x82 };
        *s->Seg(SegmentIndex.Tr) = new Segment { Limit = 0xFFFF, Attributes = 0x8B };
        s->GdtrBase = s->IdtrBase = 0;
        s->GdtrLimit = s->IdtrLimit = 0xFFFF;
        s->Fcw = 0x37F;
        s->Mxcsr = 0x1F80;
        s->Cpl = 0;
        s->Pending = default;
        s->DueDebug = 0;
        s->Shadow = CpuShadow.None;
        StateChanged();
    }

    /// <summary>Puts a p2m (or altp2m view) in force and flushes what was folded from the old one.</summary>
    public void SetP2m(ulong* entries, ulong count)
    {
        State->P2m = entries;
        State->P2mEntries = count;
        Tlb.FlushAll(State);
    }

    /// <summary>Puts a table in force, as <see cref="SetP2m"/>.</summary>
    public void UseTable(Memory.P2mTable table) => SetP2m(table.Entries, table.EntryCount);

    /// <summary>Recomputes what is derived, after the state was written from outside.</summary>
    public void StateChanged()
    {
        DebugRegisters.Update(State);
        CpuModes.Update(State);
        Tlb.FlushAll(State);
    }

    /// <summary>STAC and CLAC exist (CPUID.7:EBX.SMAP).</summary>
    public bool HasSmap { get; set; } = true;

    /// <summary>Flushes what a control-register write made stale.</summary>
    public void Apply(SystemMode.ControlEffects effects)
    {
        if ((effects & SystemMode.ControlEffects.FlushAll) != 0)
        {
            Tlb.FlushAll(State);
        }
        else if ((effects & SystemMode.ControlEffects.FlushNonGlobal) != 0)
        {
            Tlb.FlushNonGlobal(State);
        }
    }

    /// <summary>Keeps other CPUs out of the guest until <see cref="EndExclusive"/>.</summary>
    internal void BeginExclusive()
    {
        Host.BeginExclusive();
        _exclusive = true;
    }

    /// <summary>Lets other CPUs go on, if they were kept out.</summary>
    internal void EndExclusive()
    {
        if (_exclusive)
        {
            _exclusive = false;
            Host.EndExclusive();
        }
    }

    /// <summary>Bytes that data reads give under <see cref="AccessOverride.ReadData"/>.</summary>
    public ReadOnlyMemory<byte> EmulatedRead { get; set; }

    /// <summary>Where the next element's bytes are: each iteration of REP MOVS takes those behind the last one's.</summary>
    internal int EmulatedReadOffset { get; set; }

    /// <summary>Gives emulated read data; what the response does not carry reads as zero.</summary>
    internal void CopyEmulatedRead(byte* destination, int size)
    {
        var given = EmulatedRead.Span;
        for (var n = 0; n < size; n++)
        {
            var place = EmulatedReadOffset + n;
            destination[n] = place < given.Length ? given[place] : (byte)0;
        }
    }

    /// <summary>Makes the run end at the next block boundary. Callable from every thread.</summary>
    public void Kick() => Interlocked.Or(ref State->Async, (uint)AsyncEvents.Kick);

    /// <summary>Has the TLB flushed before the next block. Callable from every thread.</summary>
    public void RequestTlbFlush() => Interlocked.Or(ref State->Async, (uint)AsyncEvents.FlushTlb);

    /// <summary>A page with decoded code was stored to.</summary>
    internal void CodePageStored(ulong page)
    {
        _code.InvalidatePage(page);

        // In this order: who decodes the page after it was told to drop it finds it unclaimed.
        PageNotes.Change(ref State->PageInfo[page], PageInfoBits.HasCode, PageInfoBits.None);
        CodePageInvalidated?.Invoke(page);
    }

    /// <summary>A page of the guest's was written on its behalf, while it is out of the guest: code in it is stale.</summary>
    public void PageWritten(ulong page)
    {
        if ((State->PageInfo[page] & (byte)PageInfoBits.HasCode) != 0)
        {
            CodePageStored(page);
        }
    }

    /// <summary>Told when this CPU stored to a page that had code, so that other CPUs' caches can drop it.</summary>
    public Action<ulong>? CodePageInvalidated { get; set; }

    /// <summary>Has the decoded blocks of a page dropped before the next block. Callable from every thread.</summary>
    public void QueueCodeDrop(ulong machinePage)
    {
        _codeDrops.Enqueue(machinePage);
        Interlocked.Or(ref State->Async, (uint)AsyncEvents.DropCode);
    }

    /// <summary>Drops the decoded blocks of a page that was written from outside. The CPU must be out of the guest.</summary>
    public void DropCode(ulong machinePage) => _code.InvalidatePage(machinePage);

    /// <summary>Drops the blocks of the pages that were queued.</summary>
    private void DropQueuedCode()
    {
        while (_codeDrops.TryDequeue(out var page))
        {
            _code.InvalidatePage(page);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _code.Dispose();
        NativeMemory.AlignedFree(_stepBlock);
        NativeMemory.AlignedFree(State->JumpCache);
        NativeMemory.Free(State->TlbFills);
        NativeMemory.AlignedFree(State->FetchTlb);
        NativeMemory.AlignedFree(State->TlbBanks);
        NativeMemory.AlignedFree(State);
        _self.Free();
    }
}

/// <summary>The native tables that a CPU works on; they live longer than the CPU.</summary>
/// <param name="MachineBaseAddress">Native address of machine address 0.</param>
/// <param name="PageInfoAddress">Native address of the page information, one byte a machine page.</param>
/// <param name="P2mAddress">Native address of the p2m entries.</param>
/// <param name="P2mEntries">Number of p2m entries.</param>
internal readonly unsafe record struct CpuMemoryMap(nint MachineBaseAddress, nint PageInfoAddress, nint P2mAddress, ulong P2mEntries)
{
    public byte* MachineBase => (byte*)MachineBaseAddress;

    public byte* PageInfo => (byte*)PageInfoAddress;

    public ulong* P2m => (ulong*)P2mAddress;
}
