using System.Runtime.InteropServices;
using Iced.Intel;
using Introspect.Hypervisor.Abi;
using Introspect.Hypervisor.Core.Cpu;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Tests.Cpu;

/// <summary>A CPU on flat memory without a domain: what instruction tests need and nothing else.</summary>
internal sealed unsafe class BareMachine : ICpuHost, IDisposable
{
    private readonly byte* _ram;
    private readonly byte* _pageInfo;
    private readonly ulong* _p2m;

    public BareMachine(int megabytes = 16, CpuVendor vendor = CpuVendor.Vmx)
    {
        Bytes = megabytes << 20;
        var pages = Bytes >> 12;
        _ram = (byte*)NativeMemory.AlignedAlloc((nuint)Bytes, 4096);
        new Span<byte>(_ram, Bytes).Clear();
        _pageInfo = (byte*)NativeMemory.AllocZeroed((nuint)pages);
        _p2m = (ulong*)NativeMemory.AllocZeroed((nuint)pages, 8);
        for (var n = 0; n < pages; n++)
        {
            _p2m[n] = P2mEntry.Make((ulong)n << 12, P2mType.RamRw, MemoryAccess.Rwx).Raw;
        }

        Cpu = new Core.Cpu.Cpu(this, new CpuMemoryMap((nint)_ram, (nint)_pageInfo, (nint)_p2m, (ulong)pages), vendor);
    }

    public int Bytes { get; }

    public Core.Cpu.Cpu Cpu { get; }

    public CpuState* State => Cpu.State;

    public byte* Ram => _ram;

    public ulong[] DeviceReads { get; } = new ulong[1];

    /// <summary>Identity-mapped long mode with 2 MiB pages, tables from 0x1000, flat segments, CPL 0.</summary>
    public BareMachine EnterLongMode(ulong rip = 0x100000)
    {
        const ulong Tables = 0x1000;
        *(ulong*)(_ram + Tables) = (Tables + 0x1000) | 7;
        *(ulong*)(_ram + Tables + 0x1000) = (Tables + 0x2000) | 7;
        for (ulong n = 0; n < 512; n++)
        {
            *(ulong*)(_ram + Tables + 0x2000 + (n * 8)) = (n << 21) | 0x87;
        }

        var s = State;
        s->Cr3 = Tables;
        s->Cr4 = CpuModes.Cr4Pae;
        s->Efer = CpuModes.EferLme | CpuModes.EferLma | CpuModes.EferSce | CpuModes.EferNxe;
        s->Cr0 = CpuModes.Cr0Pe | CpuModes.Cr0Pg | CpuModes.Cr0Wp | 0x10;
        *s->Seg(SegmentIndex.Cs) = new Segment { Selector = 8, Limit = ~0u, Attributes = 0xA09B };
        for (var n = SegmentIndex.Es; n <= SegmentIndex.Gs; n++)
        {
            if (n != SegmentIndex.Cs)
            {
                *s->Seg(n) = new Segment { Selector = 16, Limit = ~0u, Attributes = 0xC093 };
            }
        }

        s->Rip = rip;
        s->Gpr[4] = 0x80000;
        Cpu.StateChanged();
        return this;
    }

    /// <summary>Assembles code to an address.</summary>
    public BareMachine Code(ulong address, Action<Assembler> write, int bitness = 64)
    {
        var assembler = new Assembler(bitness);
        write(assembler);
        using var stream = new MemoryStream();
        assembler.Assemble(new StreamCodeWriter(stream), address);
        stream.ToArray().CopyTo(new Span<byte>(_ram + address, Bytes - (int)address));
        return this;
    }

    public ulong ReadTimestamp(ulong retiredInstructions) => retiredInstructions;

    /// <summary>What RDRAND and RDSEED give; nothing when null.</summary>
    public ulong? Random { get; set; }

    /// <summary>Called when the guest asks for a random number: what comes from outside in the middle of a block.</summary>
    public Action? RandomRead { get; set; }

    public bool TryGetRandom(out ulong value)
    {
        RandomRead?.Invoke();
        value = Random ?? 0;
        return Random != null;
    }

    public bool ReadDevice(ulong gpa, int size, out ulong value)
    {
        value = DeviceReads[0];
        return true;
    }

    public bool WriteDevice(ulong gpa, int size, ulong value)
    {
        DeviceReads[0] = value;
        return true;
    }

    public void Dispose()
    {
        Cpu.Dispose();
        NativeMemory.AlignedFree(_ram);
        NativeMemory.Free(_pageInfo);
        NativeMemory.Free(_p2m);
    }
}
