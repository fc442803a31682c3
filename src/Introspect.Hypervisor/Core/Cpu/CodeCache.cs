using System.Runtime.InteropServices;
using Introspect.Hypervisor.Core.Memory;

namespace Introspect.Hypervisor.Core.Cpu;

/// <summary>
/// Decoded blocks of one vCPU, keyed by machine address and mode, so that they outlive a CR3 switch. A store to
/// a page that has blocks kills them: their handlers are replaced by one that leaves to the run loop, which is
/// safe even for the block that runs. Memory is given back only between blocks, all at once: when there is too much, or
/// when most of it is killed, as where a guest writes code all the time.
/// </summary>
internal sealed unsafe class CodeCache : IDisposable
{
    private const int BucketCount = 1 << 15;
    private const int ChunkBytes = 1 << 20;
    private const long MaxBytes = 512L << 20;
    private const long MaxKilledBytes = 8L << 20;

    private readonly Block** _buckets;
    private readonly Dictionary<ulong, nint> _pages = [];
    private readonly List<nint> _chunks = [];
    private byte* _free;
    private byte* _chunkEnd;
    private long _killedBytes;

    public CodeCache() => _buckets = (Block**)NativeMemory.AllocZeroed(BucketCount, (nuint)sizeof(nint));

    /// <summary>Blocks decoded since the start.</summary>
    public long BlocksDecoded { get; private set; }

    /// <summary>Pages whose blocks were dropped because of a store.</summary>
    public long PagesInvalidated { get; private set; }

    /// <summary>Memory of the blocks, in bytes.</summary>
    public long Bytes => (long)_chunks.Count * ChunkBytes;

    /// <summary>True when the cache has grown so far that it should be emptied at the next opportunity.</summary>
    public bool IsFull => Bytes > MaxBytes || (_killedBytes > MaxKilledBytes && _killedBytes > Bytes / 2);

    /// <summary>The block that starts at a machine address in a mode; null when it was not decoded yet.</summary>
    public Block* Find(ulong address, CpuMode mode)
    {
        for (var block = _buckets[Bucket(address, mode)]; block != null; block = block->NextInBucket)
        {
            if (block->Address == address && block->Mode == mode && !block->Dead)
            {
                return block;
            }
        }

        return null;
    }

    /// <summary>Makes room for a block of at most so many instructions, end marker included.</summary>
    public Block* Reserve(int instructions)
    {
        var bytes = SizeOf(instructions);
        if (_free + bytes > _chunkEnd || _free == null)
        {
            _free = (byte*)NativeMemory.AlignedAlloc(ChunkBytes, 64);
            _chunkEnd = _free + ChunkBytes;
            _chunks.Add((nint)_free);
        }

        var block = (Block*)_free;
        *block = default;
        block->First = (Insn*)(_free + 64);
        return block;
    }

    /// <summary>Keeps the block reserved last, of which so many instructions (end marker included) are used.</summary>
    public void Add(CpuState* s, Block* block, int instructions)
    {
        _free += SizeOf(instructions);
        var bucket = Bucket(block->Address, block->Mode);
        block->NextInBucket = _buckets[bucket];
        _buckets[bucket] = block;
        var page = block->Address >> 12;
        if (_pages.TryGetValue(page, out var head))
        {
            block->NextInPage = (Block*)head;
        }

        _pages[page] = (nint)block;
        BlocksDecoded++;
    }

    /// <summary>Tells of a store to a host address, before it is made. Cheap when the page has no code.</summary>
    public static void Stored(CpuState* s, byte* host)
    {
        var page = (ulong)(host - s->MachineBase) >> 12;
        if ((PageNotes.AboutToStore(ref s->PageInfo[page]) & PageInfoBits.HasCode) != 0)
        {
            Cpu.Of(s).CodePageStored(page);
        }
    }

    /// <summary>Kills the blocks of a machine page.</summary>
    public void InvalidatePage(ulong page)
    {
        if (!_pages.Remove(page, out var head))
        {
            return;
        }

        PagesInvalidated++;
        for (var block = (Block*)head; block != null; block = block->NextInPage)
        {
            Kill(block);
        }
    }

    /// <summary>Empties the cache. No block may be running.</summary>
    public void Reset(CpuState* s)
    {
        new Span<nint>(_buckets, BucketCount).Clear();
        _pages.Clear();
        foreach (var chunk in _chunks)
        {
            NativeMemory.AlignedFree((void*)chunk);
        }

        _chunks.Clear();
        _free = _chunkEnd = null;
        _killedBytes = 0;
        Tlb.BumpJumpGeneration(s);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var chunk in _chunks)
        {
            NativeMemory.AlignedFree((void*)chunk);
        }

        _chunks.Clear();
        NativeMemory.Free(_buckets);
    }

    // Its bytes are no longer what was decoded.
    private void Kill(Block* block)
    {
        block->Dead = true;
        _killedBytes += SizeOf(block->Count + 1);
        for (var n = 0; n <= block->Count; n++)
        {
            block->First[n].Handler = &ControlHandlers.DeadBlock;
        }

        var link = &_buckets[Bucket(block->Address, block->Mode)];
        while (*link != null && *link != block)
        {
            link = &(*link)->NextInBucket;
        }

        if (*link == block)
        {
            *link = block->NextInBucket;
        }
    }

    // With its end marker among the instructions.
    private static int SizeOf(int instructions) => (64 + (instructions * sizeof(Insn)) + 63) & ~63;

    private static uint Bucket(ulong address, CpuMode mode) =>
        (uint)(((address ^ ((ulong)mode << 7)) * 0x9E3779B97F4A7C15UL) >> 49) & (BucketCount - 1);
}
